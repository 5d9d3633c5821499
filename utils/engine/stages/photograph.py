"""The stages of a photograph: its kernel, in size, place and form, and the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from utils.engine.memory import MOTION_BYTES, affordable_threads, windows_bytes
from utils.engine.stage import Restoration, Stage, Work
from utils.engine.stages.estimate import deconvolved
from utils.engine.stages.refine import Refine
from utils.errors import DataError
from utils.images.kernels import pad_to_sharp

# Pixels a side in which the kernel and its size are looked for.
REGION = 2048

# An edge that shows a blur is this many times as strong as the noise, and at least this strong.
EDGE_TO_NOISE = 1.0
FAINTEST_EDGE = 0.004

# A kernel is nearly a point if this share of it lies in one pixel.
POINT = 0.5

# The kernels of an image's parts are compared in outline, with at most 15 pixels a side, if the
# image has at least 300 a side.
OUTLINE = 15
SMALLEST_COMPARED = 300

# Of a motion, the kernels at so many places are shown.
SHOWN = 5, 5

# What a kernel leaves unexplained of a photograph, more than of Levin's images, whose blur is the
# same everywhere: with less, dark places rippled.
KERNEL_ERROR = 0.007

# What a round of the refinement takes, as the kernel estimate counts its work.
REFINE_WORK = 50

# The first picture has at most this many pixels. That of a large image is made before the kernel's
# size is known, with a kernel of 55 pixels a side.
PREVIEW = 400_000
FIRST_SIZE = 55

Box = tuple[int, int, int, int]
Levels = Sequence[float] | np.ndarray


def rows_and_columns(box: Box) -> tuple[slice, slice]:
    left, top, width, height = box
    return slice(top, top + height), slice(left, left + width)


@dataclass(frozen=True)
class InWindow(Stage):
    """A stage that looks at a part of the image.

    Parameters
    ----------
    window : (int, int, int, int), optional
        Left, top, width and height in pixels; by default the image decides.
    """

    window: Box | None = None

    def check(self, restoration: Restoration) -> None:
        from utils.engine.estimate_kernel import SMALLEST_IMAGE

        height, width = restoration.blurry.shape
        if self.window is not None:
            left, top, wide, high = self.window
            if min(left, top) < 0 or left + wide > width or top + high > height:
                raise ValueError(
                    f"--window {left} {top} {wide} {high}: reaches beyond the image, which is "
                    f"{width} x {height}; give left, top, width and height within it"
                )
            if min(wide, high) < SMALLEST_IMAGE:
                raise ValueError(
                    f"--window {left} {top} {wide} {high}: give one of at least "
                    f"{SMALLEST_IMAGE} x {SMALLEST_IMAGE} pixels"
                )
        elif min(height, width) < SMALLEST_IMAGE:
            raise ValueError(
                f"the image has {width} x {height} pixels: a kernel's estimate takes at least "
                f"{SMALLEST_IMAGE} x {SMALLEST_IMAGE}"
            )
        check_edges(restoration.blurry[self.region(restoration.blurry)])

    def region(self, blurry: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns to look at."""
        from utils.engine.windows import best_window

        if self.window is not None:
            return rows_and_columns(self.window)
        return best_window(blurry, (REGION, REGION))


@dataclass(frozen=True)
class FindKernelSize(InWindow):
    """Find the kernel's size (see `utils.engine.kernel_size.find_kernel_size`)."""

    name: ClassVar[str] = "kernel size"

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return windows_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        import torch

        from utils.engine.kernel_size import (
            Candidate,
            estimate_outline,
            find_kernel_size,
            largest_kernel_size,
        )
        from utils.engine.windows import part_of

        done = 0

        def show(candidate: Candidate) -> None:
            sized = replace(restoration, kernel_size=(candidate.size, candidate.size))
            work.save(preview(sized, candidate.kernel, candidate.scale))

        def tell(candidate: Candidate) -> None:
            nonlocal done
            done += 1
            # How many sizes it takes, and so the time left, is unknown.
            work.step(done, 0, f"tried {candidate.size} x {candidate.size}")

        region = self.region(restoration.blurry)
        blurry, doubtful = restoration.blurry[region], part_of(restoration.doubtful, region)
        if restoration.blurry.size > REGION**2:
            # The first picture shows no more of the kernel than its outline, to which a frame that
            # is too large does little harm.
            usual = min(FIRST_SIZE, largest_kernel_size(blurry.shape))
            most = round(usual * preview_scale(restoration.blurry))
            show(estimate_outline(blurry, usual, most, doubtful=doubtful))
        size, candidates, found = find_kernel_size(
            blurry,
            doubtful=doubtful,
            workers=torch.get_num_threads(),
            on_size=tell,
        )
        work.step(done, done, f"{size} x {size}")
        work.note(kernel_size=size)
        if not found:
            work.note(
                doubt=f"no size settled, and {size} is the likeliest; try others by --kernel_size"
            )
        best = min(candidates, key=lambda candidate: abs(candidate.size - size))
        show(best)
        return replace(
            restoration,
            kernel_size=(size, size),
            candidates=[(f"{each.size} x {each.size}", each.kernel) for each in candidates],
        )


@dataclass(frozen=True)
class WindowKernel(InWindow):
    """Estimate the kernel in a window of the image, and refine it there.

    See `utils.engine.estimate_kernel.estimate_kernel` and `Refine`.
    """

    name: ClassVar[str] = "kernel estimate"

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return windows_bytes(image_size, kernel_size)

    def check(self, restoration: Restoration) -> None:
        super().check(restoration)
        from utils.engine.estimate_kernel import check_arguments

        region = self.region(restoration.blurry)
        check_arguments(restoration.blurry[region], restoration.kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        from utils.engine.estimate_kernel import check_arguments, estimate_kernel, window_for
        from utils.engine.kernel_fit import centre
        from utils.engine.noise import estimate_noise
        from utils.engine.windows import part_of

        size = restoration.kernel_size
        region = self.region(restoration.blurry)
        blurry, doubtful = restoration.blurry[region], part_of(restoration.doubtful, region)
        check_arguments(blurry, size)
        work.note(noise=round(estimate_noise(blurry), 5))
        # Of photographs, mostly in JPEG, the spectrum says too little to judge the refined kernel.
        refine, before = Refine(judged=False), 0  # and the work before it
        refinement = refine.rounds * REFINE_WORK

        def show(done: int, total: int, detail: str) -> None:
            nonlocal before
            before = total
            work.show(done, total + refinement, detail)

        def show_refinement(done: int, total: int, detail: str) -> None:
            work.show(before + done * REFINE_WORK, before + refinement, detail)

        kernel = estimate_kernel(
            blurry, size, doubtful=doubtful, on_step=replace(work, show=show).step
        )
        place = window_for(blurry, size)
        window = blurry[place]
        top, left = (outer.start + own.start for outer, own in zip(region, place, strict=True))
        found = replace(
            restoration,
            kernel=kernel,
            window=(left, top, window.shape[1], window.shape[0]),
        )
        work.save(preview(found, kernel, 1.0))

        known = Restoration(window, size, doubtful=part_of(doubtful, place))
        # The window's image is no result.
        in_silence = replace(work, show=show_refinement, save=lambda found: None)
        refined = refine.run(deconvolved(known, kernel), in_silence).kernel
        assert refined is not None
        if refined.max() > POINT:
            work.note(
                doubt="the kernel is nearly a point: there is hardly any blur, or none that is the "
                "same in the whole window; another part of the image may show one"
            )
        return replace(found, kernel=centre(refined))


@dataclass(frozen=True)
class CompareParts(Stage):
    """Compare the kernels of the image's parts; where the blur varies, find the camera's motion.

    In outline, under a uniform blur, the kernels agree. Where they do not, the turns and shifts of
    the camera that may have made them are estimated, and refined if they explain the spectra of
    many small windows at least as well as the one kernel does; if then they do so clearly better,
    the image is restored with their kernels.
    See `utils.engine.kernel_field.estimate_field`, `utils.engine.camera_motion.estimate_motion` and
    `utils.engine.camera_motion.refine_motion`.

    Parameters
    ----------
    alike : float
        What the outlines of neighbors, and those of distant parts, correlate to under a uniform
        blur, in the median and at least.
    clearly : float
        The share of the one kernel's misfit, on average over the windows, that a motion may have.
    """

    name: ClassVar[str] = "parts"
    alike: float = 0.92
    clearly: float = 0.9

    def applies(self, restoration: Restoration) -> bool:
        return min(restoration.blurry.shape) >= SMALLEST_COMPARED

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        from utils.engine.camera_motion import frame_for

        needed = windows_bytes(image_size, kernel_size)
        if min(image_size) < SMALLEST_COMPARED:
            return needed
        return needed + int(MOTION_BYTES * max(frame_for(kernel_size, image_size)))

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        import torch

        from utils.engine.camera_motion import (
            REFINE_ROUNDS,
            CameraMotion,
            count_rounds,
            estimate_motion,
            frame_for,
            misfits_of_windows,
            refine_motion,
        )
        from utils.engine.estimate_kernel import at_scales, list_scales
        from utils.engine.kernel_field import ROUNDS, estimate_field
        from utils.engine.noise import estimate_noise

        kernel, blurry, size = restoration.kernel, restoration.blurry, restoration.kernel_size
        assert kernel is not None
        scales = [each for each in list_scales(size) if max(each[1]) <= OUTLINE]
        workers = torch.get_num_threads()
        at = at_scales(blurry, restoration.doubtful)
        done, total, detail = 0, ROUNDS * len(scales), "outlines"

        def tell() -> None:
            nonlocal done
            done += 1
            work.step(done, total, detail)

        field = estimate_field(at, scales, workers=workers, on_round=tell)
        beside, far = field.similarities()
        work.note(neighbors=round(beside, 3), distant=round(far, 3))
        if min(beside, far) >= self.alike:
            return restoration
        noise = estimate_noise(blurry)

        def judge(motion: CameraMotion) -> list[float]:
            misfits = misfits_of_windows(blurry, motion, kernel, noise, workers=workers)
            return misfits.mean(axis=0).tolist()

        frame = frame_for(size, blurry.shape)
        total, detail = total + count_rounds(frame) + REFINE_ROUNDS, "motion"
        motion = estimate_motion(at, frame, workers=workers, on_round=tell)
        of_motion, of_one = judge(motion)
        if of_motion <= of_one:
            motion = refine_motion(at, motion, workers=workers, on_round=tell)
            of_motion, of_one = judge(motion)
        work.note(misfit=[round(of_motion, 3), round(of_one, 3)])
        if of_motion > self.clearly * of_one:
            work.note(
                doubt="the kernels of the image's parts differ, as where things move or lie out of "
                "focus, or few edges show the blur; no turn of the camera explains it clearly "
                "better than the window's kernel, with which all of it is restored"
            )
            return replace(restoration, kernel_map=field.kernels)
        work.note(
            doubt="the blur differs from place to place, as the camera turned by "
            f"{np.degrees(motion.turn):.1f} degrees; each part is restored with its own kernel"
        )
        return replace(
            restoration,
            kernel_map=motion.field(blurry.shape, SHOWN),
            kernel_field=motion.field(blurry.shape),
        )


@dataclass(frozen=True)
class Deconvolve(Stage):
    """Restore the whole image with the kernel, or those, found, in tiles, and its chroma if given.

    See `utils.engine.tiles.restore_tiles`.

    Parameters
    ----------
    kernel_error : float
        What the kernel leaves unexplained, a standard deviation in [0, 1] units.
    highest, lowest : float
        Levels to restore the luminance by, in units of the residual's standard deviation.
    rounds : int
        Number of levels, geometrically spaced.
    many : int
        With more pixels than that, an image is restored by the last level only, and where the blur
        varies in larger tiles (see `utils.engine.tiles.tile_for`).
    chroma_weight : float
        Weight of the data in chroma, relative to that in luminance.
    """

    name: ClassVar[str] = "deconvolution"
    kernel_error: float = KERNEL_ERROR
    highest: float = 5.0
    lowest: float = 1.5
    rounds: int = 4
    many: int = 4_000_000
    chroma_weight: float = 0.25

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        from utils.engine.tiles import tiles_bytes

        return tiles_bytes(image_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        import torch

        from utils.engine.deconvolution import EXPONENT
        from utils.engine.noise import estimate_noise
        from utils.engine.tiles import count_tiles, restore_tiles, tile_bytes, tile_for

        blurry, chroma = restoration.blurry, restoration.chroma
        field = restoration.kernel_field
        kernel = restoration.kernel if field is None else field
        assert kernel is not None
        residual = float(np.hypot(estimate_noise(blurry), self.kernel_error))
        levels = residual * np.geomspace(self.highest, self.lowest, self.rounds)
        in_haste = blurry.size > self.many
        if in_haste:
            levels = levels[-1:]
        grid = (1, 1) if field is None else field.shape[:2]
        tile = tile_for(blurry.shape, grid, in_haste=in_haste)
        workers = affordable_threads(torch.get_num_threads(), tile_bytes(tile, kernel.shape[-2:]))
        total = count_tiles(blurry.shape, tile) * (1 if chroma is None else 3)
        steps = iter(range(1, total + 1))

        def tell(done: int, tiles: int) -> None:
            step = next(steps)
            work.step(step, total, f"tile {step}")

        def restore(channel: np.ndarray, noise: float, levels: Levels) -> np.ndarray:
            return restore_tiles(
                channel,
                kernel,
                noise,
                levels,
                tile=tile,
                workers=workers,
                on_tile=tell,
            )

        found = with_image(restoration, restore(blurry, residual, levels))
        if chroma is not None:
            work.save(found)
            # Differences of channels lie in [-1, 1]; halved, their weight is to be this.
            weight = self.chroma_weight * 2 ** (2 - EXPONENT)
            restored = [
                2 * restore((channel + 1) / 2, residual / weight**0.5, ()) - 1
                for channel in np.moveaxis(chroma, -1, 0)
            ]
            found = replace(found, sharp_chroma=np.stack(restored, axis=-1))
        return found


def with_image(restoration: Restoration, image: np.ndarray) -> Restoration:
    """Add a restored image, (H, W), which lies on the blurry one."""
    from utils.engine.kernel_fit import centre

    assert restoration.kernel is not None
    kernel = centre(restoration.kernel)
    return replace(restoration, kernel=kernel, sharp=pad_to_sharp(image, kernel.shape))


def preview(restoration: Restoration, kernel: np.ndarray, scale: float) -> Restoration:
    """Restore a reduced image, for a first picture within seconds.

    Parameters
    ----------
    restoration : Restoration
        What is known.
    kernel : (kh, kw) array
        The kernel at a scale.
    scale : float
        That scale.
    """
    from utils.engine.deconvolution import deconvolve, noise_weight
    from utils.engine.estimate_kernel import resample, shrink_image
    from utils.engine.kernel_fit import centre
    from utils.engine.kernel_size import at_scale
    from utils.engine.noise import estimate_residual

    blurry = restoration.blurry
    smaller = min(scale, preview_scale(blurry))
    kernel = centre(at_scale(kernel, smaller / scale))
    shrunk = shrink_image(blurry, smaller).astype(np.float32)
    weight = noise_weight(estimate_residual(blurry))
    restored = resample(deconvolve(shrunk, kernel, weight), blurry.shape, 1 / smaller)
    shown = replace(restoration, kernel=resample(kernel, restoration.kernel_size, 1 / smaller))
    return with_image(shown, restored)


def preview_scale(blurry: np.ndarray) -> float:
    """The scale of an image's first picture."""
    return float(min(1, (PREVIEW / blurry.size) ** 0.5))


def check_edges(window: np.ndarray) -> None:
    """Raise a DataError if a part of an image has no edge that could show its blur."""
    from scipy import ndimage

    from utils.engine.noise import estimate_noise

    smooth = ndimage.gaussian_filter(window, 1.0)
    edges = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)) / 8
    strongest = float(np.quantile(edges, 0.995))
    if strongest < max(FAINTEST_EDGE, EDGE_TO_NOISE * estimate_noise(window)):
        raise DataError(
            "no blur can be estimated here: there is no edge that stands out of the noise; "
            "give another part of the image"
        )
