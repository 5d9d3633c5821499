"""Download a data set: levin (the 32 images with their truths and kernels) or real (3 photographs).

The files come from the authors' repository, github.com/csdwren/SelfDeblur, and are checked against
datasets/SHA256SUMS. What is there already is kept, so an interrupted download can be repeated.

Examples:
    python datasets/fetch.py levin
    python datasets/fetch.py real --base_url https://mirror.example.org/datasets
"""

import sys
from pathlib import Path

import pooch
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    HTTPError,
    RequestException,
)
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.errors import DataError, UsageError
from utils.terminal.program import Parser, run_program

BASE_URL = "https://raw.githubusercontent.com/csdwren/SelfDeblur/master/datasets"
SUMS = Path(__file__).resolve().parent / "SHA256SUMS"
SILENCE = 30  # seconds without a byte from the server until the download counts as failed


def read_sums(name: str) -> dict[str, str]:
    """Read which files a data set has.

    Parameters
    ----------
    name : str
        The data set's folder in SHA256SUMS, ``levin`` or ``real``.

    Returns
    -------
    dict of str to str
        Paths inside the folder, with their SHA-256 sums.
    """
    sums = {}
    for line in SUMS.read_text().splitlines():
        digest, path = line.split()
        folder, _, file = path.partition("/")
        if folder == name:
            sums[file] = digest
    return sums


def fetch(name: str, folder: Path, base_url: str = BASE_URL) -> int:
    """Download what is missing of a data set.

    Parameters
    ----------
    name : str
        ``levin`` or ``real``.
    folder : Path
        Where the files go; made if need be.
    base_url : str
        What stands before ``/levin/im1_kernel1_img.png``.

    Returns
    -------
    int
        The number of files that were downloaded.

    Raises
    ------
    DataError
        If a download fails, or a file, downloaded or on disk, is not the published one. Complete
        files stay in either case; of the others nothing is left, and a file that was on disk is
        not touched.
    """
    pooch.get_logger().setLevel("ERROR")  # it would write a line for every file into the bar
    sums = read_sums(name)
    missing = [file for file in sums if not (folder / file).exists()]
    for file in tqdm(missing, desc=name, unit="file", dynamic_ncols=True):
        url = f"{base_url.rstrip('/')}/{name}/{file}"
        try:
            pooch.retrieve(
                url,
                known_hash=sums[file],
                fname=Path(file).name,
                path=(folder / file).parent,
                downloader=pooch.HTTPDownloader(timeout=SILENCE),
            )
        except HTTPError as error:
            status = f"{error.response.status_code} {error.response.reason}"
            raise DataError(f"{url}: the server answered {status}; check --base_url") from error
        except RequestException as error:
            fault = {
                ConnectionError: "the server cannot be reached or fell silent",
                ChunkedEncodingError: "it was cut off",
            }.get(type(error), str(error))
            raise DataError(
                f"{url}: the download failed, {fault}; run this again later, it goes on where it "
                "stopped, or name a mirror by --base_url"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{url}: not the published file (its SHA-256 sum is another), so it was not kept; "
                "name another server by --base_url"
            ) from error
    wrong = [file for file in sums if pooch.file_hash(str(folder / file)) != sums[file]]
    if wrong:
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DataError(
            f"{folder / wrong[0]}{others}: not the published file (its SHA-256 sum is another); "
            "move it away and run this again"
        )
    return len(missing)


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("name", choices=("levin", "real"), help="the data set")
    parser.add_argument(
        "--save_path", type=Path, metavar="FOLDER", help="where to write (default: datasets/NAME)"
    )
    parser.add_argument(
        "--base_url", default=BASE_URL, metavar="URL", help="a mirror with folders levin and real"
    )
    options = parser.parse_args(arguments)
    if not options.base_url.startswith(("http://", "https://")):
        raise UsageError(f"--base_url {options.base_url}: must start with http:// or https://")
    folder = options.save_path or Path("datasets") / options.name

    new = fetch(options.name, folder, options.base_url)
    print(f"{folder} is complete: {len(read_sums(options.name))} files, {new} of them new")
    return 0


if __name__ == "__main__":
    run_program(main)
