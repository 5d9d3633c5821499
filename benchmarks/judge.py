"""Compare what the spectrum says of a run's kernels, of the true ones, and of no blur.

    python benchmarks/judge.py results/lai_fast --data_path ../shared/data/lai/uniform \\
        --kernels ../shared/data/lai/kernel

The run's folder holds NAME_k.png. Where the kernel was refused, that is a point, as of no blur.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.catalog import LAI, true_kernel_name
from utils.engine.likelihood import NO_BLUR, is_trusted
from utils.engine.stages.estimate import judge
from utils.errors import DataError
from utils.images.reading import find_image, read_color, read_kernel
from utils.terminal.program import Parser, run_program


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of estimated kernels, NAME_k.png")
    parser.add_argument("--data_path", type=Path, required=True, help="the blurry images")
    parser.add_argument("--kernels", type=Path, required=True, help="the true kernels")
    given = parser.parse_args(arguments)
    names = [path.stem.removesuffix("_k") for path in sorted(given.run.glob("*_k.png"))]
    if not names:
        raise DataError(f"{given.run}: no NAME_k.png in it; give the folder of a run")
    folders = [(given.run, given.data_path, given.kernels)] * len(names)
    with ProcessPoolExecutor() as pool:
        rows = list(tqdm(pool.map(misfits_of, folders, names), total=len(names)))
    print("| image | misfit of the run's kernel | of the true one | of no blur | trusted |")
    print("| --- | --- | --- | --- | --- |")
    for name, misfits in zip(names, rows, strict=True):
        if misfits:
            trusted = "yes" if is_trusted(misfits[0], misfits[2]) else "no"
            print(f"| {name} |", *(f"{misfit:.3f} |" for misfit in misfits), trusted, "|")
    return 0


def misfits_of(folders: tuple[Path, Path, Path], name: str) -> list[float]:
    """The misfits of an image's kernels; none if it is too small to be judged by."""
    run, data_path, kernels = folders
    path = find_image(data_path, name)
    if path is None:
        raise DataError(f"{data_path}: no image {name} in it; give the run's --data_path")
    blurry = LAI.luma.luminance(read_color(path))
    found = read_kernel(run / f"{name}_k.png")
    true = read_kernel(kernels / f"{true_kernel_name(name)}.png")
    return judge(blurry, found / found.sum(), true / true.sum(), NO_BLUR)


if __name__ == "__main__":
    run_program(main)
