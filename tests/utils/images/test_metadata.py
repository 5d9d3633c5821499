"""Color profiles and EXIF blocks: what comes through, what is left out, what is damaged."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from utils.engine.stage import Restoration
from utils.errors import DataError
from utils.images.colors import FULL_RANGE
from utils.images.metadata import EXIF_CHOICES, MAX_PROFILE_BYTES, kept_exif, usable_profile
from utils.images.reading import read_photograph
from utils.images.writing import _chunk, add_metadata, encode_png
from utils.runs.experiment import Experiment

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# As for gray, whatever its tables say.
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]
COLORS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
Tag, Directory = ExifTags.Base, ExifTags.IFD
MAIN = {Tag.Make: "Maker", Tag.Model: "Box 1", Tag.DateTime: "2024:05:06 07:08:09",
        Tag.Artist: "A. Person", Tag.Copyright: "A. Person"}  # fmt: skip
SHOT = {Tag.ExposureTime: IFDRational(1, 100), Tag.ISOSpeedRatings: 800,
        Tag.LensModel: "Lens 2", Tag.BodySerialNumber: "SN 12345", Tag.UserComment: b"my home",
        Tag.CameraOwnerName: "A. Person", Tag.MakerNote: b"secret notes"}  # fmt: skip
PLACE = {1: "N", 2: (IFDRational(48), IFDRational(1), IFDRational(2))}
PERSONAL = (b"A. Person", b"SN 12345", b"my home", b"secret notes", b"thumbnail")


def camera_exif(orientation=6):
    exif = Image.Exif()
    exif.update(MAIN | {Tag.Orientation: orientation})
    exif.get_ifd(Directory.Exif).update(SHOT)
    exif.get_ifd(Directory.GPSInfo).update(PLACE)
    return exif


def block(orientation=6):
    return camera_exif(orientation).tobytes().removeprefix(b"Exif\0\0")


def photograph_file(folder, kind, mode="RGB", profile=SRGB):
    path = folder / f"a.{kind.lower()}"
    image = Image.fromarray(COLORS).convert(mode)
    if kind == "TIFF":
        tags = ImageFileDirectory_v2()
        for tag, value in (MAIN | {Tag.Orientation: 6}).items():
            tags[tag] = value
        tags[int(Directory.Exif)] = {int(tag): value for tag, value in SHOT.items()}
        tags[int(Directory.GPSInfo)] = PLACE
        image.save(path, kind, icc_profile=profile, tiffinfo=tags)
    else:
        # At the end of a block lies the thumbnail.
        exif = camera_exif().tobytes() + b"thumbnail"
        image.save(path, kind, icc_profile=profile, exif=exif)
    return path


def written(photograph, exif="drop"):
    """The restored photograph as Pillow reads it, where restoring changes nothing."""
    luminance = FULL_RANGE.luminance(photograph.pixels)
    kernel = np.ones((1, 1))
    same = Restoration(luminance, (1, 1), kernel, luminance)
    experiment = Experiment(lambda name: (1, 1), color_suffix="_x.png", registered=True, exif=exif)
    files = experiment.render(photograph, same)
    image = Image.open(io.BytesIO(files["_x.png"]))
    image.load()
    return image, files["_x.png"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("choice", EXIF_CHOICES)
def test_profile_and_exif_of_each_format(tmp_path, kind, choice):
    image, content = written(read_photograph(photograph_file(tmp_path, kind)), choice)
    assert image.size == (20, 30)  # upright
    assert image.info["icc_profile"] == SRGB
    exif = image.getexif()
    if choice == "drop":
        assert not exif and b"eXIf" not in content
        return
    assert exif[Tag.Orientation] == 1
    assert exif[Tag.Model] == "Box 1" and exif[Tag.DateTime] == MAIN[Tag.DateTime]
    shot, place = exif.get_ifd(Directory.Exif), exif.get_ifd(Directory.GPSInfo)
    assert shot[Tag.ExposureTime] == 0.01 and shot[Tag.LensModel] == "Lens 2"
    if choice == "private":
        assert not place and not exif.get_ifd(Directory.IFD1)
        assert not any(word in content for word in PERSONAL)
    else:
        assert place == PLACE
        assert exif[Tag.Artist] == "A. Person"
        assert shot[Tag.BodySerialNumber] == "SN 12345"
        assert all(word in content for word in PERSONAL[: 4 if kind == "TIFF" else 5])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("choice", ["private", "keep"])
def test_both_byte_orders(order, choice):
    exif = camera_exif()
    exif.endian = order
    kept = Image.Exif()
    kept.load(kept_exif(exif.tobytes().removeprefix(b"Exif\0\0"), choice))
    assert kept[Tag.Orientation] == 1 and kept[Tag.Make] == "Maker"
    assert kept.get_ifd(Directory.Exif)[Tag.ISOSpeedRatings] == 800


def test_a_turned_photograph_has_its_sides_exchanged():
    exif = camera_exif()
    exif.get_ifd(Directory.Exif).update({Tag.ExifImageWidth: 30, Tag.ExifImageHeight: 20})
    kept = Image.Exif()
    kept.load(kept_exif(exif.tobytes().removeprefix(b"Exif\0\0"), "keep"))
    shot = kept.get_ifd(Directory.Exif)
    assert (shot[Tag.ExifImageWidth], shot[Tag.ExifImageHeight]) == (20, 30)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_depth_and_alpha_with_a_profile(tmp_path, depth, channels):
    rng, color = np.random.default_rng(1), channels > 2
    profile = SRGB if color else GRAY
    pixels = rng.integers(0, np.iinfo(depth).max, (9, 8, 3 if color else 1), dtype=depth)
    scaled = pixels.squeeze() / np.iinfo(depth).max
    alpha = rng.random((9, 8)) if channels in (2, 4) else None
    png = add_metadata(encode_png(scaled, np.dtype(depth), alpha), profile, block())
    (tmp_path / "a.png").write_bytes(png)
    photograph = read_photograph(tmp_path / "a.png")
    # Of 16-bit gray with alpha OpenCV makes color, which a profile for gray does not fit.
    kept = b"" if depth == np.uint16 and channels == 2 else profile
    assert photograph.profile == kept
    image, content = written(photograph, "private")
    assert image.info.get("icc_profile", b"") == kept
    assert image.getexif()[Tag.Orientation] == 1
    (tmp_path / "a_x.png").write_bytes(content)
    restored = read_photograph(tmp_path / "a_x.png")
    assert restored.depth == depth
    assert np.array_equal(restored.pixels, np.rot90(scaled, 3))


def test_gray_that_is_stored_in_color_keeps_its_profile(tmp_path):
    gray = np.dstack([COLORS[..., :1]] * 3 + [COLORS[..., 1]])
    Image.fromarray(gray).save(tmp_path / "a.png", icc_profile=SRGB)
    image, _ = written(read_photograph(tmp_path / "a.png"))
    assert image.mode == "RGBA" and image.info["icc_profile"] == SRGB


@pytest.mark.parametrize(
    ("mode", "profile"), [("L", SRGB), ("RGB", GRAY), ("CMYK", CMYK), ("CMYK", SRGB[:300])]
)
def test_a_profile_of_other_channels_is_left_out(tmp_path, mode, profile, capfd):
    path = photograph_file(tmp_path, "JPEG", mode, profile)
    image, _ = written(read_photograph(path))
    assert "icc_profile" not in image.info
    assert capfd.readouterr().err == ""


# Named, because a profile holds the time it was made at, and a test's name must not.
DAMAGED = {
    "empty": b"",
    "end cut off": SRGB[:-9],
    "header cut off": SRGB[:100],
    "zeros": bytes(300),
    "count of tags": SRGB[:130] + b"\xff" + SRGB[131:],
    "place of a tag": SRGB[:137] + b"\xff" + SRGB[138:],
    "signature": SRGB[:36] + b"????" + SRGB[40:],
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_damaged_profile_is_ignored(tmp_path, kind, damaged, capfd):
    assert usable_profile(damaged, color=True) == b""
    photograph = read_photograph(photograph_file(tmp_path, kind, profile=damaged))
    assert photograph.profile == b""
    assert photograph.pixels.shape == (30, 20, 3)
    assert capfd.readouterr().err == ""


def test_a_damaged_block_is_ignored_and_never_fatal(tmp_path):
    whole, rng = block(), np.random.default_rng(0)
    for choice in ("private", "keep"):
        assert kept_exif(b"", choice) == kept_exif(b"nonsense" * 9, choice) == b""
        for length in range(len(whole)):
            assert len(kept_exif(whole[:length], choice)) <= len(whole)
        for _ in range(3000):
            changed = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                changed[place] = rng.integers(256)
            kept = kept_exif(bytes(changed), choice)
            assert len(kept) < 100 * len(whole)
    Image.fromarray(COLORS).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\0\0")
    image, _ = written(read_photograph(tmp_path / "a.jpg"), "keep")
    assert not image.getexif()


def test_a_block_whose_parts_point_to_themselves_ends():
    looped = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\0"
    for choice in ("private", "keep"):
        assert len(kept_exif(looped, choice)) < 100


def test_a_png_without_profile_and_exif_is_what_the_encoder_gives():
    for depth in (np.uint8, np.uint16):
        png = encode_png(COLORS / 255, np.dtype(depth))
        assert add_metadata(png) == png
        assert add_metadata(png, SRGB) != png


def test_a_profile_that_unpacks_to_too_much_is_left_out(tmp_path):
    long = (2**23).to_bytes(4) + SRGB[4:] + bytes(2**23 - len(SRGB))
    assert usable_profile(long, color=True) == b"" and len(long) > MAX_PROFILE_BYTES
    packed = _chunk(b"iCCP", b"x\0\0" + zlib.compress(long))
    png = encode_png(COLORS / 255)
    (tmp_path / "a.png").write_bytes(png[:33] + packed + png[33:])
    photograph = read_photograph(tmp_path / "a.png")
    assert photograph.profile == b"" and photograph.pixels.shape == (20, 30, 3)


def test_the_second_profile_of_a_png_is_left_out(tmp_path):
    other = SRGB[:-1] + b"?"
    twice = add_metadata(add_metadata(encode_png(COLORS / 255), other), SRGB)
    (tmp_path / "a.png").write_bytes(twice)
    assert twice.count(b"iCCP") == 2
    assert read_photograph(tmp_path / "a.png").profile == SRGB


HEADERS = {
    "a.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif-convert"),
    "b.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif-convert"),
    "c.avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "heif-convert"),
    "d.CR2": (b"II*\0\x10\0\0\0CR\x02\0", "16-bit TIFF"),
    "e.nef": (b"MM\0*\0\0\0\x08", "16-bit TIFF"),
    "f.dng": (b"II*\0\x08\0\0\0", "16-bit TIFF"),
    "g.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\x01", "16-bit TIFF"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_phones_and_cameras_own_formats_are_named_with_a_remedy(tmp_path, name):
    header, remedy = HEADERS[name]
    (tmp_path / name).write_bytes(header + bytes(500))
    with pytest.raises(DataError, match=f"{name}: a .*, which is not supported; .*{remedy}"):
        read_photograph(tmp_path / name)


def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), COLORS)
    (tmp_path / "a.tif").rename(tmp_path / "a.dng")
    with pytest.raises(DataError, match="develop it to a 16-bit TIFF"):
        read_photograph(tmp_path / "a.dng")


def test_a_video_is_just_no_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0" + bytes(500))
    with pytest.raises(DataError, match="not an image"):
        read_photograph(tmp_path / "a.jpg")
