"""Show that speed does not cost quality: restore the same images by the authors' code and by ours.

    python benchmarks/quality.py --recipe quick
    python benchmarks/quality.py --recipe quick --crop 128 --only 'im[1-4]_kernel5_img'
    python benchmarks/quality.py --only im1_kernel1_img --device cuda

The authors' code is benchmarks/baseline.py, in float32; both start from the same seed. PSNR and
SSIM are computed up to a shift. Each restoration is kept in --save_path with its scores, and the
current one has a checkpoint every minute, so the same command resumes where it stopped; another
seed or precision is another restoration.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.baseline import baseline
from benchmarks.machine import chosen, describe_machine
from selfdeblur_levin import kernel_size
from statistic.metrics import comp_upto_shift
from utils.engine.blur import crop_to_blurry
from utils.engine.checkpoint import CheckpointError, pack_checkpoint, resume, unpack_checkpoint
from utils.engine.deblur import State, deblur, draw_start
from utils.engine.precision import PRECISIONS
from utils.engine.recipe import LEVIN, Recipe, recipes
from utils.errors import DataError, UsageError
from utils.images.files import sha256, write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import find_truth, read_gray
from utils.images.writing import to_uint8, write_png
from utils.terminal.options import find_images
from utils.terminal.program import Parser, run_program

CHECKPOINT_SECONDS = 60


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--data_path", default="datasets/levin", help="images, gt/ beside them")
    parser.add_argument("--save_path", type=Path, default=Path("results/quality"))
    parser.add_argument("--only", metavar="GLOB", help="only the names that match")
    parser.add_argument("--recipe", choices=recipes(LEVIN), default="default")
    parser.add_argument("--num_iter", type=int, help="change the recipe's length")
    parser.add_argument("--crop", type=int, help="take so many pixels square from the middle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of ours (auto)")
    options = parser.parse_args(arguments)
    if options.crop is not None and options.crop < 64:
        raise UsageError(f"--crop {options.crop}: must be 64 or more")
    if options.num_iter is not None and options.num_iter < 1:
        raise UsageError(f"--num_iter {options.num_iter}: must be 1 or more")
    device, precision = chosen(options)
    recipe = recipes(LEVIN)[options.recipe]
    recipe = replace(recipe, num_iter=options.num_iter or recipe.num_iter)
    images = find_images([options.data_path], options.only, "give another --data_path")
    options.save_path.mkdir(parents=True, exist_ok=True)

    print(f"{describe_machine(device)}; {options.recipe}, {recipe.num_iter} iterations\n")
    print(f"| image | PSNR baseline | {precision} | SSIM baseline | {precision} | s | s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    scores = []
    for path in images:
        pair = [
            restored(path, which, recipe, options, str(device)) for which in ("baseline", precision)
        ]
        scores.append([*(r["psnr"] for r in pair), *(r["ssim"] for r in pair)])
        seconds = [f"{r['seconds']:.0f}" for r in pair]
        print(f"| {path.stem} | {cells(scores[-1])} | {' | '.join(seconds)} |", flush=True)
    mean = np.mean(scores, axis=0)
    print(f"| mean of {len(scores)} | {cells(mean)} | | |")
    print(f"\nmean difference: {mean[1] - mean[0]:+.2f} dB, {mean[3] - mean[2]:+.4f} SSIM")
    return 0


def restored(
    path: Path, which: str, recipe: Recipe, options: argparse.Namespace, device: str
) -> dict[str, Any]:
    """Restore and score one image in one way, or read what is there of it."""
    crop = f"_crop{options.crop}" if options.crop else ""
    name = f"{path.stem}{crop}_{which}_{options.recipe}{recipe.num_iter}_seed{options.seed}"
    file = options.save_path / f"{name}.json"
    decides = {
        "image_sha256": sha256(path),
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "device": torch.device(device).type,
    }
    differing = "image, recipe or device"
    if file.exists():
        record = json.loads(file.read_text())
        if any(record.get(key) != value for key, value in decides.items()):
            raise DataError(f"{file}: of another {differing}; give another --save_path")
        return record
    truth_path = find_truth(path)
    if truth_path is None:
        raise DataError(f"{path}: no truth in gt/ beside it")
    blurry, truth = (middle(read_gray(p), options.crop) for p in (path, truth_path))
    size = kernel_size(path.stem)
    start = draw_start(blurry.shape, size, recipe, options.seed)
    checkpoint = file.with_name(f"{name}_checkpoint.pth")
    began = last_checkpoint = time.perf_counter()
    if checkpoint.exists():
        try:
            earlier = unpack_checkpoint(checkpoint.read_bytes())
            if earlier.settings != decides:
                raise DataError(f"{checkpoint}: of another {differing}; give another --save_path")
            resume(start, earlier)
        except CheckpointError as error:
            raise DataError(f"{checkpoint}: {error}; remove it to start over") from error
        began -= earlier.seconds

    def checkpoint_due() -> bool:
        return time.perf_counter() - last_checkpoint > CHECKPOINT_SECONDS

    def keep(state: State) -> None:
        nonlocal last_checkpoint
        last_checkpoint = time.perf_counter()
        content = pack_checkpoint(state, decides, last_checkpoint - began, None)
        write_whole(checkpoint, content)

    with tqdm(
        total=recipe.num_iter, initial=len(start.losses), desc=name, leave=False, mininterval=5
    ) as bar:
        if which == "baseline":
            for x, k, _ in baseline(blurry, recipe, start, device, checkpoint_due, keep):
                latest = x, k
                bar.update()
            image = crop_to_blurry(latest[0], size)[0, 0].cpu().numpy()
            kernel = latest[1][0, 0].cpu().numpy()
        else:

            def show(done: int, loss: float) -> None:
                bar.update(done - bar.n)

            result = deblur(
                blurry,
                size,
                recipe,
                device=device,
                precision=which,
                start=start,
                checkpoint_due=checkpoint_due,
                on_checkpoint=keep,
                on_progress=show,
            )
            image, kernel = result.image, result.kernel
    seconds = time.perf_counter() - began
    image = to_uint8(image) / 255
    psnr, ssim, *_ = comp_upto_shift(image, truth)
    write_png(file.with_suffix(".png"), image)
    write_png(file.with_name(f"{name}_k.png"), scale_kernel(kernel))
    record = {"psnr": psnr, "ssim": ssim, "seconds": round(seconds, 1), **decides}
    write_json(file, record)
    checkpoint.unlink(missing_ok=True)
    return record


def middle(image: np.ndarray, size: int | None) -> np.ndarray:
    """Cut a square out of the middle of an image."""
    if size is None:
        return image
    if size > min(image.shape):
        raise UsageError(f"--crop {size}: larger than an image of {image.shape}")
    top, left = ((length - size) // 2 for length in image.shape)
    return image[top : top + size, left : left + size]


def cells(scores: list[float]) -> str:
    """Format PSNR and SSIM of both ways for the table."""
    psnrs, ssims = scores[:2], scores[2:]
    return " | ".join([*(f"{psnr:.2f}" for psnr in psnrs), *(f"{ssim:.4f}" for ssim in ssims)])


if __name__ == "__main__":
    run_program(main)
