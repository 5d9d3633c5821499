"""PSNR, SSIM, alignment and error ratio, as the published MATLAB scripts compute them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft, linalg

BORDER = 15  # pixels of the truth that are not compared, on every side
STEP = 4  # shifts to a pixel: the search goes by quarters
MAXSHIFT = 10

SSIM_WINDOW = 11


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two images on the scale of 8 bits.

    The peak is always 255. The published script takes 1 for a restored image that nowhere exceeds
    2, so that a black result scores 48 dB less.

    Parameters
    ----------
    a, b : (H, W) arrays
        The images, scaled to 0..255.

    Returns
    -------
    float
        In dB; infinite for equal images.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    a, b = _equal_shapes(a=a, b=b)
    mse = np.mean((a - b) ** 2)
    return math.inf if mse == 0 else float(10 * np.log10(255**2 / mse))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two images on the scale of 8 bits, with automatic downsampling.

    Images whose shorter side has 384 pixels or more are first averaged and decimated by
    ``round(side / 256)``. The window is an 11 x 11 Gaussian of sigma 1.5, K is (0.01, 0.03), and
    only windows inside the image count.

    Parameters
    ----------
    a, b : (H, W) arrays
        The images, scaled to 0..255, at least 11 x 11.

    Returns
    -------
    float
        Mean of the SSIM map, 1 for equal images.

    Raises
    ------
    ValueError
        If the shapes differ or a side is shorter than the window.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
    similarity. IEEE Transactions on Image Processing 13(4), 2004.
    """
    a, b = _equal_shapes(a=a, b=b)
    if min(a.shape) < SSIM_WINDOW:
        raise ValueError(
            f"a and b are {_size(a)}: SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels"
        )
    factor = max(1, math.floor(min(a.shape) / 256 + 0.5))
    if factor > 1:
        a, b = _downsample(a, factor), _downsample(b, factor)
    from skimage.metrics import structural_similarity  # a quarter of a second to import

    # A Gaussian of sigma 1.5 has 11 x 11 pixels there, and K is (0.01, 0.03).
    return float(
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
    )


@dataclass(frozen=True)
class Alignment:
    """A restored image at the shift where it fits the truth best."""

    psnr: float
    ssim: float
    aligned: np.ndarray  # (H - 30, W - 30), in [0, 1]: compare it with ``crop(truth)``
    # Rows and columns in pixels by which the restored image lies further down and right than the
    # truth: the truth's content at (y, x) is at (y + rows, x + columns) in the restored image.
    shift: tuple[float, float]


def comp_upto_shift(
    restored: np.ndarray, truth: np.ndarray, maxshift: int = MAXSHIFT
) -> tuple[float, float, np.ndarray]:
    """Score a restored image as `align` does; returns psnr, ssim and the aligned image."""
    found = align(restored, truth, maxshift)
    return found.psnr, found.ssim, found.aligned


def align(restored: np.ndarray, truth: np.ndarray, maxshift: int = MAXSHIFT) -> Alignment:
    """Score a restored image at the shift where it fits the truth best.

    Blind deblurring cannot distinguish a shifted image with an oppositely shifted kernel from the
    right ones. So the shift with the smallest sum of squared differences counts, out of all shifts
    by quarters of a pixel up to `maxshift` in each direction; of equally good ones, the first by
    rows, then by columns. A border of `BORDER` pixels of the truth is not compared.

    Parameters
    ----------
    restored : (H, W) array
        The restored image in [0, 1], as read from its 8-bit file.
    truth : (H, W) array
        The sharp image in [0, 1], at least 41 x 41. Sizes may differ by the ``BORDER - maxshift``
        pixels that no shift reaches; the upper left corners then coincide.
    maxshift : int
        Largest shift in pixels, 0 to 15: 10 in the published scripts, 5 in those of the paper's
        time.

    Returns
    -------
    Alignment
        The scores, the aligned image and the shift.

    Raises
    ------
    ValueError
        If an argument is not as described.

    References
    ----------
    Levin, Weiss, Durand, Freeman: Understanding and evaluating blind deconvolution algorithms.
    CVPR 2009.
    """
    if maxshift not in range(BORDER + 1):
        raise ValueError(f"maxshift is {maxshift}: give a whole number from 0 to {BORDER}")
    maxshift = int(maxshift)
    restored, truth = _image(restored=restored), _image(truth=truth)
    if min(truth.shape) < 2 * BORDER + SSIM_WINDOW:
        raise ValueError(
            f"truth is {_size(truth)}: it must be at least 41 x 41, of which {BORDER} pixels on "
            "each side are not compared"
        )
    margin = BORDER - maxshift
    if max(abs(np.subtract(restored.shape, truth.shape))) > margin:
        raise ValueError(
            f"restored is {_size(restored)}, but truth is {_size(truth)}: at maxshift {maxshift} "
            f"they may differ by at most {margin} pixels"
        )
    reference = 255 * crop(truth)
    rows, columns = np.add(reference.shape, 2 * maxshift)
    window = 255 * restored[margin : margin + rows, margin : margin + columns]
    best = search_shift(window, reference)
    aligned = shifted(window, best, reference.shape)
    return Alignment(
        psnr=psnr(aligned, reference),
        ssim=ssim(aligned, reference),
        aligned=aligned / 255,
        shift=(best[0] / STEP - maxshift, best[1] / STEP - maxshift),
    )


def crop(truth: np.ndarray) -> np.ndarray:
    """Crop the truth to the part that is compared: all but a border of `BORDER` pixels."""
    return truth[BORDER:-BORDER, BORDER:-BORDER]


def search_shift(image: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """Find the shift by quarters of a pixel at which an image differs least from a reference.

    The search is exhaustive. At a quarter-pixel shift, the bilinear sample is a fixed combination
    of four copies of the image shifted by whole pixels, so its sum of squared differences follows
    from the correlation of image and reference and from window sums of products of neighboring
    pixels, all at whole-pixel shifts. Sums that rounding may have put in the wrong order are
    computed again from the differences themselves.

    Parameters
    ----------
    image : (H + 2 m, W + 2 m) float array
        Where to search: the reference's size and m more pixels, the largest shift, on all sides.
    reference : (H, W) float array
        What to search for.

    Returns
    -------
    (int, int)
        Rows and columns in quarters of a pixel, 0..8 m, from the image's upper left corner. Of
        equally good shifts, the first by rows, then by columns; this is exact for 8-bit images.
    """
    if np.ptp(image) == 0:
        return 0, 0
    sums, error = _sums_of_squares(image, reference)
    # A shift that is truly the best lies at most twice the error above the smallest sum.
    rows, columns = np.nonzero(sums <= sums.min() + 2 * error)
    candidates = list(zip(rows.tolist(), columns.tolist(), strict=True))
    if len(candidates) == 1:
        return candidates[0]
    return min(
        candidates,
        key=lambda shift: np.sum((shifted(image, shift, reference.shape) - reference) ** 2),
    )


def shifted(image: np.ndarray, shift: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Cut a window out of an image at a shift by quarters of a pixel, bilinearly.

    `shift` is in quarters of a pixel from the upper left corner, `shape` is the window's. Where
    the image is constant, so is the window, to the last bit.
    """
    for axis in (0, 1):
        first, quarters = divmod(shift[axis], STEP)
        near = np.take(image, range(first, first + shape[axis]), axis)
        if quarters:
            far = np.take(image, range(first + 1, first + 1 + shape[axis]), axis)
            near += quarters / STEP * (far - near)
        image = near
    return image


def error_ratio(aligned: np.ndarray, aligned_known: np.ndarray, truth: np.ndarray) -> float:
    """Error of a restored image relative to the one restored with the true kernel, as published.

    The published scripts apply MATLAB's matrix ``norm`` to the differences, which is their
    largest singular value. `error_ratio_levin` is the ratio as originally defined.

    Parameters
    ----------
    aligned : (H, W) array
        The restored image as aligned by `align`.
    aligned_known : (H, W) array
        The image restored with the true kernel, likewise.
    truth : (H, W) array
        The truth without its border, see `crop`.

    Returns
    -------
    float
        1 if both are equally far from the truth; infinite if only the restored image differs
        from it.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    return _ratio(_largest_singular_value, aligned, aligned_known, truth)


def error_ratio_levin(aligned: np.ndarray, aligned_known: np.ndarray, truth: np.ndarray) -> float:
    """Error ratio by sums of squared differences, as defined by Levin et al. (CVPR 2009).

    Parameters, return value and errors are those of `error_ratio`.
    """
    return _ratio(lambda difference: float(np.sum(difference**2)), aligned, aligned_known, truth)


def _ratio(
    size: Callable[[np.ndarray], float],
    aligned: np.ndarray,
    aligned_known: np.ndarray,
    truth: np.ndarray,
) -> float:
    aligned, aligned_known, truth = _equal_shapes(
        aligned=aligned, aligned_known=aligned_known, truth=truth
    )
    error, error_known = size(aligned - truth), size(aligned_known - truth)
    if error_known == 0:
        return 1.0 if error == 0 else math.inf
    return error / error_known


def _largest_singular_value(matrix: np.ndarray) -> float:
    # The largest eigenvalue of the Gram matrix takes a tenth of the time of an SVD.
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    last = matrix.shape[0] - 1
    largest = linalg.eigh(matrix @ matrix.T, eigvals_only=True, subset_by_index=(last, last))
    return math.sqrt(max(largest[0], 0.0))


def _sums_of_squares(image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
    """Sums of squared differences at all quarter-pixel shifts, and a bound on their error."""
    rows, columns = image.shape
    count = rows - reference.shape[0] + 1

    shape = [fft.next_fast_len(size, real=True) for size in image.shape]
    spectrum = fft.rfft2(image, shape)
    spectrum *= fft.rfft2(reference, shape).conj()
    correlation = fft.irfft2(spectrum, shape)[:count, :count]

    # One more row and column give the last window neighbors, which always get weight 0.
    image = np.pad(image, ((0, 1), (0, 1)))
    here, right = image[:-1, :-1], image[:-1, 1:]
    below, across = image[1:, :-1], image[1:, 1:]
    energy = _window_sums(here * here, count)
    along_row = _window_sums(here * right, count)
    along_column = _window_sums(here * below, count)
    diagonals = _window_sums(here * across + right * below, count)

    first, quarters = np.divmod(np.arange(STEP * (count - 1) + 1), STEP)
    second = np.minimum(first + 1, count - 1)
    far = quarters / STEP
    near = 1 - far

    # Interpolation along the rows, then the same along the columns.
    correlation = near * correlation[:, first] + far * correlation[:, second]
    energy = (
        near**2 * energy[:, first]
        + 2 * near * far * along_row[:, first]
        + far**2 * energy[:, second]
    )
    mixed = (
        near**2 * along_column[:, first]
        + near * far * diagonals[:, first]
        + far**2 * along_column[:, second]
    )
    near, far = near[:, None], far[:, None]
    correlation = near * correlation[first] + far * correlation[second]
    energy = near**2 * energy[first] + 2 * near * far * mixed[first] + far**2 * energy[second]

    total = np.vdot(reference, reference)
    sums = energy - 2 * correlation + total
    # A sum of n terms errs by at most n eps times their absolute sum, FFTs by far less.
    error = 8 * (rows + columns) * np.finfo(float).eps * (np.vdot(image, image) + total)
    return sums, float(error)


def _window_sums(values: np.ndarray, count: int) -> np.ndarray:
    """Sums over all windows that are ``count - 1`` rows and columns smaller than the array."""
    for _axis in (0, 1):
        offset = np.arange(len(values)) - np.arange(count)[:, None]
        inside = (offset >= 0) & (offset <= len(values) - count)
        values = (inside.astype(float) @ values).T
    return values


def _downsample(image: np.ndarray, factor: int) -> np.ndarray:
    """Average over factor x factor pixels with symmetric borders, at every factor-th pixel."""
    # imfilter centres an even window at its upper left half.
    before = (factor - 1) // 2
    padded = np.pad(image, ((before, factor), (before, factor)), "symmetric")
    rows, columns = (-(-size // factor) for size in image.shape)
    blocks = padded[: rows * factor, : columns * factor]
    return blocks.reshape(rows, factor, columns, factor).mean((1, 3))


def _image(**named: np.ndarray) -> np.ndarray:
    ((name, image),) = named.items()
    image = np.asarray(image, np.float64)
    if image.ndim != 2:
        raise ValueError(f"{name} has shape {image.shape}: give a gray image, (H, W)")
    # In this form, NaN fails too.
    if image.size and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"{name} has values from {image.min():g} to {image.max():g}: scale it to [0, 1]"
        )
    return image


def _equal_shapes(**images: np.ndarray) -> list[np.ndarray]:
    arrays = {name: np.asarray(image, np.float64) for name, image in images.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or len(shapes.pop()) != 2:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"the shapes are {found}: they must be equal and two-dimensional")
    return list(arrays.values())


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape))
