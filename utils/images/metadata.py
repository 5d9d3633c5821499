"""What an image file holds besides pixels: its color profile, and what the camera recorded (EXIF).

The files come from anywhere, so whatever is damaged counts as absent.

References
----------
.. [1] International Color Consortium, "Specification ICC.1:2010", section 7: the profile's format.
.. [2] CIPA DC-008, "Exchangeable image file format", version 2.32, section 4.6: the tags.
.. [3] Adobe Systems, "TIFF, Revision 6.0", 1992, section 2: the directories that hold them.
"""

import zlib
from dataclasses import dataclass
from typing import Literal

MAX_PROFILE_BYTES = 2**22  # those of printers have about two million
MAX_EXIF_BYTES = 2**22  # a JPEG has room for 2^16
EXIF_CHOICES = ("drop", "private", "keep")

PROFILE, EXIF_DIRECTORY, GPS_DIRECTORY, INTEROPERABILITY = 34675, 0x8769, 0x8825, 0xA005
ORIENTATION, WIDTH, HEIGHT, EXIF_WIDTH, EXIF_HEIGHT = 0x0112, 0x0100, 0x0101, 0xA002, 0xA003
MAKE, MODEL, DATE = 0x010F, 0x0110, 0x0132
# What describes the photograph, in the first directory of a TIFF; the others describe the file.
# Description, resolution and its unit, software, artist, computer, copyright.
DESCRIPTIVE = {MAKE, MODEL, DATE, 0x010E, 0x011A, 0x011B, 0x0128, 0x0131, 0x013B, 0x013C, 0x8298}
# Exposure, sensitivity, dates, lens; no serial number, no name, no comment, no time zone.
IMPERSONAL = {
    *(0x829A, 0x829D, 0x8822, 0x8827, *range(0x8830, 0x8836)),
    *(0x9000, 0x9003, 0x9004, *range(0x9201, 0x920B)),
    *(0xA001, 0xA215, 0xA217, *range(0xA402, 0xA407)),
    *(0xA432, 0xA433, 0xA434),
}
SHORT, LONG = 3, 4
# The bytes of each type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def usable_profile(profile: bytes, color: bool) -> bytes:
    """Return a color profile if it is whole and made for such pixels, otherwise nothing.

    Parameters
    ----------
    profile : bytes
        An ICC profile; of one for inks (CMYK) the pixels have been converted already.
    color : bool
        Whether the pixels have red, green and blue, or gray alone.
    """
    length = int.from_bytes(profile[:4])
    if not 132 <= length <= min(len(profile), MAX_PROFILE_BYTES) or profile[36:40] != b"acsp":
        return b""
    table_end = 132 + 12 * int.from_bytes(profile[128:132])
    if table_end > length or profile[16:20] != (b"RGB " if color else b"GRAY"):
        return b""
    for place in range(132, table_end, 12):
        offset, size = (int.from_bytes(profile[p : p + 4]) for p in (place + 4, place + 8))
        if offset + size > length:
            return b""
    return profile[:length]


def unpacks_to_a_profile(chunk: bytes) -> bool:
    """Whether a PNG's iCCP chunk unpacks to no more than a profile may have."""
    packed = chunk.partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES + 1)) <= (
            MAX_PROFILE_BYTES
        )
    except zlib.error:
        return False


def kept_exif(exif: bytes, choice: str) -> bytes:
    """Reduce an EXIF block to what may be written beside pixels that are stored upright.

    Parameters
    ----------
    exif : bytes
        The block, as in the file.
    choice : str
        One of `EXIF_CHOICES`: nothing; the camera, its lens, the date and the exposure; or all,
        with the place, the thumbnail and the serial numbers.

    Returns
    -------
    bytes
        A block whose orientation is upright; empty if the given one is damaged.
    """
    if choice == "drop" or not 8 <= len(exif) <= MAX_EXIF_BYTES:
        return b""
    try:
        return _impersonal(exif) if choice == "private" else _made_upright(exif)
    except ValueError:
        return b""


def tiff_metadata(content: bytes) -> tuple[bytes, bytes]:
    """Collect a TIFF file's description as an upright EXIF block, and read its color profile."""
    try:
        tags = _Tags(content)
        main = tags.directory(tags.first)
        profile = tags.value(main[PROFILE]) if PROFILE in main else b""
        return _rebuilt(tags, main, DESCRIPTIVE), profile
    except ValueError:
        return b"", b""


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    place: int  # of the entry
    start: int  # of its value
    size: int


class _Tags:
    """The directories of a TIFF file, or of an EXIF block, which is made like one.

    All methods raise a ValueError if what they read lies outside of the content.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        if content[:2] not in (b"II", b"MM"):
            raise ValueError("no byte order")
        self.order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"
        version = self.number(2, 2)
        if version not in (42, 43):
            raise ValueError("no TIFF")
        self.word = 8 if version == 43 else 4  # the bytes of an offset; 8 in a BigTIFF
        self.first = self.number(self.word, self.word)

    def number(self, place: int, size: int) -> int:
        piece = self.content[place : place + size]
        if len(piece) < size:
            raise ValueError("a number outside of the content")
        return int.from_bytes(piece, self.order)

    def value(self, entry: _Entry) -> bytes:
        return self.content[entry.start : entry.start + entry.size]

    def directory(self, place: int) -> dict[int, _Entry]:
        """The entries of a directory by their tags, without those that are damaged."""
        head = 8 if self.word == 8 else 2
        entries = {}
        for index in range(min(self.number(place, head), 2**16)):
            at = place + head + index * (4 + 2 * self.word)
            tag, kind = self.number(at, 2), self.number(at + 2, 2)
            count = self.number(at + 4, self.word)
            size, start = SIZES.get(kind, 0) * count, at + 4 + self.word
            if size > self.word:
                start = self.number(start, self.word)
            if 0 < size <= MAX_EXIF_BYTES and start + size <= len(self.content):
                entries[tag] = _Entry(kind, count, at, start, size)
        return entries

    def inner(self, main: dict[int, _Entry], tag: int) -> dict[int, _Entry]:
        """The directory that an entry of another one points to; empty if there is none."""
        if tag not in main:
            return {}
        try:
            return self.directory(int.from_bytes(self.value(main[tag]), self.order))
        except ValueError:
            return {}


def _impersonal(exif: bytes) -> bytes:
    tags = _Tags(exif)
    main = tags.directory(tags.first)
    shot = tags.inner(main, EXIF_DIRECTORY)
    return _packed(
        tags,
        {tag: main[tag] for tag in main.keys() & {MAKE, MODEL, DATE}},
        {EXIF_DIRECTORY: {tag: shot[tag] for tag in shot.keys() & IMPERSONAL}},
    )


def _rebuilt(tags: _Tags, main: dict[int, _Entry], wanted: set[int]) -> bytes:
    shot = tags.inner(main, EXIF_DIRECTORY)
    shot.pop(INTEROPERABILITY, None)  # it would point to where nothing is
    inner = {EXIF_DIRECTORY: shot, GPS_DIRECTORY: tags.inner(main, GPS_DIRECTORY)}
    return _packed(tags, {tag: main[tag] for tag in main.keys() & wanted}, inner)


def _made_upright(exif: bytes) -> bytes:
    """Set the orientation in its place, so that what points into the block stays true."""
    tags, block = _Tags(exif), bytearray(exif)
    main = tags.directory(tags.first)
    turn = main.get(ORIENTATION)
    if turn is None:
        return exif
    orientation = int.from_bytes(tags.value(turn)[:2], tags.order)
    upright = (SHORT, 1, 1)
    block[turn.place + 2 : turn.place + 12] = b"".join(
        number.to_bytes(size, tags.order) for number, size in zip(upright, (2, 4, 2), strict=True)
    ) + bytes(2)
    if orientation in (5, 6, 7, 8):
        shot = tags.inner(main, EXIF_DIRECTORY)
        for entries, width, height in ((main, WIDTH, HEIGHT), (shot, EXIF_WIDTH, EXIF_HEIGHT)):
            if width in entries and height in entries:
                one, other = (
                    slice(entries[tag].place + 2, entries[tag].place + 12)
                    for tag in (width, height)
                )
                block[one], block[other] = block[other], block[one]
    return bytes(block)


def _packed(tags: _Tags, main: dict[int, _Entry], inner: dict[int, dict[int, _Entry]]) -> bytes:
    """Make an upright EXIF block of entries; nothing if there are none."""
    order = tags.order
    inner = {tag: entries for tag, entries in inner.items() if entries}
    if not main and not inner:
        return b""

    def values(entries: dict[int, _Entry]) -> dict[int, tuple[int, int, bytes]]:
        return {tag: (e.kind, e.count, tags.value(e)) for tag, e in entries.items()}

    def directory(place: int, entries: dict[int, tuple[int, int, bytes]]) -> bytes:
        table, data = len(entries).to_bytes(2, order), b""
        place += 2 + 12 * len(entries) + 4
        for tag, (kind, count, value) in sorted(entries.items()):
            table += tag.to_bytes(2, order) + kind.to_bytes(2, order) + count.to_bytes(4, order)
            if len(value) > 4:
                table += (place + len(data)).to_bytes(4, order)
                data += value + bytes(len(value) % 2)
            else:
                table += value.ljust(4, b"\0")
        return table + bytes(4) + data

    first = values(main) | {ORIENTATION: (SHORT, 1, (1).to_bytes(2, order))}
    first |= {tag: (LONG, 1, bytes(4)) for tag in inner}
    place, others = 8 + len(directory(8, first)), b""
    for tag, entries in inner.items():
        first[tag] = (LONG, 1, (place + len(others)).to_bytes(4, order))
        others += directory(place + len(others), values(entries))
    header = tags.content[:2] + (42).to_bytes(2, order) + (8).to_bytes(4, order)
    return header + directory(8, first) + others
