"""The pieces of a photograph's restoration: windows, the kernel's size, tiles, and its stages."""

import numpy as np
import pytest
from scipy.signal import correlate

from statistic.metrics import comp_upto_shift
from tests.pictures import blurred, hook, line, psnr, sharp_scene
from tests.runs import checkpoint_in
from utils.engine.deconvolution import deconvolve
from utils.engine.kernel_size import Candidate, find_kernel_size, largest_kernel_size
from utils.engine.methods import PHOTOGRAPH, find_size_first, look_in
from utils.engine.restore import Task, restore
from utils.engine.stage import UNKNOWN_SIZE, Restoration
from utils.engine.stages import photograph
from utils.engine.stages.photograph import CompareParts, Deconvolve, FindKernelSize, WindowKernel
from utils.engine.tiles import count_tiles, interpolate, restore_tiles, tile_for
from utils.engine.windows import best_window, windows_beside
from utils.errors import DataError
from utils.images.colors import FULL_RANGE
from utils.images.opencv import cv2

# Windows


def test_the_best_window_has_edges_in_all_directions():
    image = np.full((120, 400), 0.5)
    image[:, 140:260] += 0.3 * (np.arange(120) // 8 % 2)  # strong edges, all of them vertical
    image[:, 280:] = 0.4 + 0.3 * sharp_scene(120, 120)
    rows, columns = best_window(image, (100, 100))
    assert columns.start >= 270 and (rows.stop - rows.start, columns.stop - columns.start) == (
        100,
        100,
    )


def test_the_best_window_avoids_highlights_and_fine_texture():
    scene = sharp_scene(120, 120)
    highlights = np.where(sharp_scene(120, 120, seed=1) > 0.5, 1.0, 0.0)
    texture = np.random.default_rng(0).random((120, 120))
    image = np.hstack([highlights, 0.2 + 0.5 * scene, 0.3 + 0.4 * texture])
    _, columns = best_window(image, (100, 100))
    assert 100 <= columns.start <= 160


@pytest.mark.parametrize("shape", [(64, 64_100), (64_100, 70)])
def test_a_very_long_image_has_a_best_window(shape):
    rows, columns = best_window(np.full(shape, 0.5), (100, 100))
    assert (rows.stop - rows.start, columns.stop - columns.start) == tuple(np.minimum(shape, 100))
    assert 0 <= rows.start < rows.stop <= shape[0] and 0 <= columns.start < columns.stop <= shape[1]


def test_windows_beside_the_first_have_edges_and_lie_apart():
    image = np.full((120, 500), 0.5)
    image[:, 260:] = 0.3 + 0.4 * sharp_scene(120, 240)
    none = np.zeros(image.shape, bool)
    first = best_window(image, (100, 100))
    found = windows_beside(image, first, 3, clipped=none)
    starts = [place[1].start for place in [first, *found]]
    assert len(found) in (1, 2) and min(starts) > 200
    assert np.diff(sorted(starts)).min() >= 25
    assert (
        windows_beside(image[:, 260:360], (slice(0, 120), slice(0, 100)), 3, clipped=none[:, :100])
        == []
    )


@pytest.mark.parametrize("shape", [(80, 90), (3001, 1999)])
def test_a_window_lies_inside_the_image_whatever_its_size(shape):
    image = np.random.default_rng(0).random(shape)
    for size in ((64, 64), (200, 5000), (3001, 70)):
        rows, columns = best_window(image, size)
        for part, side, wanted in zip((rows, columns), shape, size, strict=True):
            assert 0 <= part.start < part.stop <= side
            assert part.stop - part.start == min(side, wanted)


# The kernel's size


@pytest.mark.parametrize(("kernel", "least", "most"), [(hook(7, 7), 7, 15), (line(15, 15), 15, 29)])
def test_the_size_of_a_kernel_is_found(kernel, least, most):
    blurry, _ = blurred(kernel, 180, 200)
    size, candidates, found = find_kernel_size(blurry)
    assert found and size % 2 == 1 and least <= size <= most
    tried = [candidate.size for candidate in candidates]
    assert tried == sorted(tried) and tried[0] == 9
    again, of_two_threads, _ = find_kernel_size(blurry, workers=2)
    assert again == size
    np.testing.assert_array_equal(of_two_threads[-1].kernel, candidates[-1].kernel)


def test_a_candidate_knows_its_extent_at_full_size_and_what_lies_on_its_frame():
    inner, touching = Candidate(21, line(7, 11), 0.5), Candidate(11, line(11, 11), 1.0)
    assert inner.extent == 14 and inner.on_frame == 0
    assert touching.extent == 11 and touching.on_frame == pytest.approx(2 / 11)
    shifted = Candidate(11, np.roll(line(7, 11), (2, 1), (0, 1)), 0.5)
    assert inner.similarity(shifted) == pytest.approx(1)
    across = Candidate(11, line(7, 11).T, 0.5)
    assert inner.similarity(across) < 0.6


def test_the_largest_size_looked_for_is_odd_and_leaves_most_of_the_image():
    assert largest_kernel_size((3000, 4000)) == 151
    for side in range(64, 300):
        size = largest_kernel_size((side, 400))
        assert size % 2 == 1 and size < side / 2


# Tiles


@pytest.mark.parametrize("levels", [(), (0.02, 0.01)])
def test_tiles_equal_the_whole_image(levels):
    blurry, truth = blurred(hook(9, 7), 200, 150)
    whole = restore_tiles(blurry, hook(9, 7), 0.005, levels)
    tiles = restore_tiles(blurry, hook(9, 7), 0.005, levels, tile=80)
    assert psnr(tiles, truth) > psnr(whole, truth) - 0.05
    seam = slice(70, 80)  # where two columns of tiles meet
    assert psnr(tiles[:, seam], truth[:, seam]) > psnr(whole[:, seam], truth[:, seam]) - 1
    if not levels:
        expected = deconvolve(blurry, hook(9, 7), 8000 * (0.0046 / 0.005) ** 2)
        assert psnr(whole, expected) > 45


def test_the_number_of_threads_does_not_change_the_tiles():
    blurry, _ = blurred(hook(5, 5), 150, 150)
    seen = []
    one, two = (
        restore_tiles(
            blurry,
            hook(5, 5),
            0.005,
            tile=60,
            workers=workers,
            on_tile=lambda *step: seen.append(step),
        )
        for workers in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert seen == [(done, 9) for done in range(1, 10)] * 2
    assert count_tiles((150, 150), 60) == 9


def test_a_field_of_kernels_restores_what_one_kernel_cannot():
    shape, size = (180, 320), 11
    kernels = [line(11, size), line(11, size).T]
    scene = sharp_scene(shape[0] + size - 1, shape[1] + size - 1)
    parts = [correlate(scene, kernel, "valid") for kernel in kernels]
    share = np.linspace(0, 1, shape[1])[None, :]
    blurry = (1 - share) * parts[0] + share * parts[1]
    truth = scene[5:-5, 5:-5]
    columns = 5
    places = (np.arange(columns) + 0.5) / columns
    field = np.stack([(1 - place) * kernels[0] + place * kernels[1] for place in places])[None]
    of_field = restore_tiles(blurry, field, 0.005, tile=64)
    of_one = max(psnr(restore_tiles(blurry, kernel, 0.005), truth) for kernel in field[0])
    assert psnr(of_field, truth) > of_one + 2


def test_a_field_is_interpolated_between_its_middles():
    field = np.stack([np.full((3, 3), value) for value in range(6)]).reshape(2, 3, 3, 3)
    assert interpolate(field, 0.25, 1 / 6)[0, 0] == pytest.approx(0)
    assert interpolate(field, 0.75, 5 / 6)[0, 0] == pytest.approx(5)
    assert interpolate(field, 0.5, 0.5)[0, 0] == pytest.approx(2.5)
    assert interpolate(field, 0, 1)[0, 0] == pytest.approx(2)


# Chroma


def test_chroma_is_split_and_joined_without_loss():
    image = np.random.default_rng(0).random((5, 6, 3))
    again = FULL_RANGE.join_chroma(FULL_RANGE.luminance(image), FULL_RANGE.split_chroma(image))
    np.testing.assert_allclose(again, image, atol=1e-6)


# Stages


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ((-80, 0, 70, 70), "--window -80 0 70 70: reaches beyond the image"),
        ((50, 10, 80, 80), "--window 50 10 80 80: reaches beyond the image, which is 110 x 100"),
        ((0, 0, 63, 80), "--window 0 0 63 80: give one of at least 64 x 64 pixels"),
    ],
)
def test_a_wrong_window_is_refused(window, fault):
    blurry, _ = blurred(hook(5, 5), 100, 110)
    for stage in look_in(find_size_first(PHOTOGRAPH), window)[:2]:
        with pytest.raises(ValueError, match=fault):
            stage.check(Restoration(blurry, (5, 5)))


def test_a_kernel_larger_than_the_window_is_refused():
    blurry, _ = blurred(hook(5, 5), 100, 110)
    with pytest.raises(ValueError, match="smaller than the image, 64 x 70, not 65 x 5"):
        WindowKernel((20, 10, 70, 64)).check(Restoration(blurry, (65, 5)))


@pytest.mark.parametrize("noise", [0, 0.02])
def test_an_image_without_any_edge_is_refused(noise):
    flat = 0.5 + noise * np.random.default_rng(0).standard_normal((100, 120))
    with pytest.raises(DataError, match="no blur can be estimated here"):
        FindKernelSize().check(Restoration(flat, UNKNOWN_SIZE))


def test_the_size_is_looked_for_in_the_window_that_was_given():
    method = find_size_first(look_in(PHOTOGRAPH, (1, 2, 70, 80)))
    assert method[0] == FindKernelSize((1, 2, 70, 80)) and method[1].window == (1, 2, 70, 80)
    assert find_size_first(PHOTOGRAPH)[0] == FindKernelSize(None)


@pytest.mark.parametrize("stop", ["kernel size", "kernel estimate", "deconvolution"])
def test_a_photograph_is_restored_and_resumed_to_the_same_bits(stop):
    blurry, truth = blurred(hook(7, 7), 100, 110)
    chroma = np.stack([0.2 * blurry, -0.1 * blurry], axis=-1).astype(np.float32)
    task = Task(find_size_first(PHOTOGRAPH), Restoration(blurry, UNKNOWN_SIZE, chroma=chroma))
    saved = []
    whole = restore(task, device="cpu", on_save=lambda found, records: saved.append(found))
    assert whole.kernel_size == whole.kernel.shape and whole.kernel_size[0] <= 15
    before, after = (comp_upto_shift(image, truth)[0] for image in (blurry, whole.registered_image))
    assert after > before + 3
    first = comp_upto_shift(saved[0].registered_image, truth)[0]
    assert len(saved) >= 3 and first > before  # a first picture, before all else is done
    left, top, width, height = whole.window
    assert 0 <= left <= left + width <= 110 and 0 <= top <= top + height <= 100
    assert whole.sharp_chroma.shape == chroma.shape
    red = (5 * whole.sharp_chroma[..., 0]).clip(0, 1)
    assert comp_upto_shift(red, truth)[0] > before + 2

    resumed = restore(task, device="cpu", checkpoint=checkpoint_in(task, stop))
    np.testing.assert_array_equal(resumed.sharp, whole.sharp)
    np.testing.assert_array_equal(resumed.sharp_chroma, whole.sharp_chroma)
    np.testing.assert_array_equal(resumed.kernel, whole.kernel)


def test_a_large_photograph_is_shown_before_its_kernels_size_is_known(monkeypatch):
    monkeypatch.setattr(photograph, "REGION", 150)
    monkeypatch.setattr(photograph, "PREVIEW", 200 * 220 / 4)
    blurry, truth = blurred(line(15, 15), 200, 220)
    sizes, saved = [], []

    class StopError(Exception):
        pass

    def save(found, records):
        saved.append(found)
        raise StopError

    task = Task((FindKernelSize(),), Restoration(blurry, UNKNOWN_SIZE))
    with pytest.raises(StopError):
        restore(task, device="cpu", on_step=lambda *step: sizes.append(step), on_save=save)
    assert sizes == []
    before, after = (comp_upto_shift(image, truth)[0] for image in (blurry, saved[0].image))
    assert after > before + 1


def test_what_is_doubtful_is_noted(monkeypatch):
    from utils.engine import kernel_size

    monkeypatch.setattr(kernel_size, "_ON_FRAME", -1)  # nothing settles
    sharp = sharp_scene(90, 90)
    task = Task(find_size_first(PHOTOGRAPH), Restoration(sharp, UNKNOWN_SIZE))
    records, steps = [], []
    restore(
        task,
        device="cpu",
        on_save=lambda found, stages: records.append(stages),
        on_step=lambda done, total, detail: steps.append((done, total)),
    )
    assert steps[0] == (1, 0)  # how many sizes it takes is unknown until the last
    tried = [step for step in steps if step[1] == 0]
    assert steps[len(tried)] == (len(tried), len(tried))
    of_size, of_kernel, _ = records[-1]
    assert "no size settled" in of_size["doubt"]
    assert "nearly a point" in of_kernel["doubt"]


def test_the_blocks_of_a_jpeg_do_not_become_texture():
    sky = np.linspace(0.2, 0.7, 176)[:, None] + np.linspace(0, 0.2, 192)
    sharp = (sky + 0.3 * (sharp_scene(176, 192) - 0.5)).clip(0, 1)
    kernel = line(9, 9)
    pixels = np.rint(255 * correlate(np.pad(sharp, 4, "edge"), kernel, "valid"))
    _, coded = cv2.imencode(".jpg", pixels.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])
    blurry = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE) / 255
    task = Task((Deconvolve(),), Restoration(blurry, kernel.shape, kernel))
    restored = restore(task, device="cpu").registered_image

    def across_blocks(image):
        steps = np.abs(np.diff(image, axis=0)).mean(axis=1)
        return steps[7::8].mean() / np.delete(steps, np.s_[7::8]).mean()

    assert across_blocks(restored) < across_blocks(blurry)
    assert psnr(restored, sharp) > psnr(blurry, sharp) + 2


@pytest.mark.parametrize(
    ("grid", "usual", "in_haste"),
    [((1, 1), 768, 768), ((10, 13), 150, 300), ((20, 30), 128, 133), ((40, 60), 66, 66)],
)
def test_tiles_are_smaller_where_the_kernel_varies(grid, usual, in_haste):
    assert tile_for((3000, 4000), grid) == usual
    assert tile_for((3000, 4000), grid, in_haste=True) == in_haste


@pytest.mark.parametrize(("many", "levels"), [(100, 1), (10**6, 4)])
def test_only_the_last_level_is_left_for_a_very_large_image(many, levels, monkeypatch):
    from utils.engine import tiles

    seen = []

    def restore_nothing(image, kernel, noise, levels, **options):
        seen.append(list(levels))
        return image

    monkeypatch.setattr(tiles, "restore_tiles", restore_nothing)
    blurry, _ = blurred(hook(5, 5), 70, 80)
    restore(Task((Deconvolve(many=many),), Restoration(blurry, (5, 5), hook(5, 5))), device="cpu")
    ratios = np.array(seen[0]) / seen[0][-1]
    assert len(ratios) == levels
    assert ratios[0] == pytest.approx(Deconvolve.highest / Deconvolve.lowest if levels > 1 else 1)


def test_the_stages_of_a_photograph_need_little_memory_at_any_size():
    assert Deconvolve.rounds > 1
    assert Deconvolve().bytes_needed((3000, 4000), (31, 31)) < 4e9
    for stage in find_size_first(PHOTOGRAPH)[:3]:
        assert stage.bytes_needed((100, 110), (31, 31)) < 3e8
    for stage in find_size_first(PHOTOGRAPH)[:2]:
        assert stage.bytes_needed((3000, 4000), (151, 151)) < 2e9
    assert CompareParts().bytes_needed((3000, 4000), (151, 151)) < 3e9
    turned = CompareParts().bytes_needed((700, 1000), (59, 59))
    assert turned > CompareParts().bytes_needed((700, 1000), (31, 31)) > 5e8
