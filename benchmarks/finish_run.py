"""Finish what another run of SelfDeblur restored, from its images and kernels alone.

    python benchmarks/finish_run.py ../shared/data/original_run/levin \\
        --data_path ../shared/data/levin --save_path results/levin/original_finished
    python statistic/statistic_levin.py

The run's folder holds NAME_x.png and NAME_k.png, as the authors' scripts write them.
"""

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils.engine.finish import finish
from utils.errors import DataError
from utils.images.kernels import crop_to_blurry, pad_to_sharp
from utils.images.reading import read_gray, read_kernel
from utils.images.writing import write_png
from utils.terminal.program import Parser, run_program


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of restored images and kernels")
    parser.add_argument("--data_path", type=Path, required=True, help="the blurry images")
    parser.add_argument("--save_path", type=Path, required=True, help="for the finished images")
    given = parser.parse_args(arguments)
    names = [path.stem.removesuffix("_x") for path in sorted(given.run.glob("*_x.png"))]
    if not names:
        raise DataError(f"{given.run}: no NAME_x.png in it; give the folder of a run")
    given.save_path.mkdir(parents=True, exist_ok=True)
    folders = [(given.run, given.data_path, given.save_path)] * len(names)
    with ProcessPoolExecutor() as pool:
        seconds = list(tqdm(pool.map(finish_image, folders, names), total=len(names)))
    print(f"{len(names)} images, {statistics.median(seconds):.1f} s each on one core")
    return 0


def finish_image(folders: tuple[Path, Path, Path], name: str) -> float:
    """Finish one image, and return the seconds that it took."""
    run, data_path, save_path = folders
    blurry = read_gray(data_path / f"{name}.png")
    kernel = read_kernel(run / f"{name}_k.png")
    start = time.perf_counter()
    # The file has only the part that the blurry image shows.
    sharp = pad_to_sharp(read_gray(run / f"{name}_x.png"), kernel.shape)
    finished, _ = finish(blurry, sharp, kernel)
    image = crop_to_blurry(finished, kernel.shape).clip(0, 1)
    write_png(save_path / f"{name}_x.png", image)
    return time.perf_counter() - start


if __name__ == "__main__":
    run_program(main)
