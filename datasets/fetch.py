"""Download a data set: levin (the 32 images with their truths and kernels) or real (3 photographs).

The files come from the authors' repository, github.com/csdwren/SelfDeblur, and are checked against
datasets/SHA256SUMS. Existing files are kept, so an interrupted download can be repeated.

Examples:
    python datasets/fetch.py levin
    python datasets/fetch.py real --base_url https://mirror.example.org/datasets
"""

import sys
from pathlib import Path

import pooch
import requests
from requests.exceptions import ChunkedEncodingError, ConnectionError, RequestException
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.errors import DataError, UsageError, printable
from utils.terminal.program import Parser, run_program

BASE_URL = "https://raw.githubusercontent.com/csdwren/SelfDeblur/master/datasets"
SUMS = Path(__file__).resolve().parent / "SHA256SUMS"
TIMEOUT = 30  # seconds without a byte from the server until the download counts as failed
MAX_BYTES = 2**24  # of a file: a hundred times the largest one
CHUNK_BYTES = 2**16


def read_sums(name: str) -> dict[str, str]:
    """Read the SHA-256 sums of a data set's files, by their paths inside its folder."""
    sums = {}
    for line in SUMS.read_text().splitlines():
        digest, path = line.split()
        folder, _, file = path.partition("/")
        if folder == name:
            sums[file] = digest
    return sums


def fetch(name: str, folder: Path, base_url: str = BASE_URL) -> int:
    """Download the missing files of a data set.

    Parameters
    ----------
    name : str
        ``levin`` or ``real``.
    folder : Path
        Where the files go; created if necessary.
    base_url : str
        What precedes ``/levin/im1_kernel1_img.png``.

    Returns
    -------
    int
        The number of files that were downloaded.

    Raises
    ------
    DataError
        If a download fails, or if a file, downloaded or on disk, is not the published one. In
        either case complete files stay, nothing is left of incomplete ones, and a file that was
        on disk is not touched.
    """
    pooch.get_logger().setLevel("ERROR")  # else a line for every file breaks the bar
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
                downloader=_download,
            )
        except RequestException as error:
            fault = {
                ConnectionError: "the server cannot be reached or stopped answering",
                ChunkedEncodingError: "it was cut off",
            }.get(type(error), str(error))
            raise DataError(
                f"{url}: the download failed, {fault}; run this again later to continue, or give a "
                "mirror with --base_url"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{url}: not the published file (its SHA-256 sum differs), so it was not kept; "
                "give another server with --base_url"
            ) from error
    wrong = [file for file in sums if pooch.file_hash(str(folder / file)) != sums[file]]
    if wrong:
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DataError(
            f"{folder / wrong[0]}{others}: not the published file (its SHA-256 sum differs); "
            "move it away and run this again"
        )
    return len(missing)


def _download(url: str, file: str, pooch: object) -> None:
    """Download a file for pooch, whose own downloader has no limit of size."""
    with (
        requests.get(url, stream=True, timeout=TIMEOUT) as response,
        open(file, "wb") as output,
    ):
        if not response.ok:
            status = f"{response.status_code} {response.reason}"
            raise DataError(f"{url}: the server answered {status}; check --base_url")
        length = 0
        for chunk in response.iter_content(CHUNK_BYTES):
            length += len(chunk)
            if length > MAX_BYTES:
                raise DataError(
                    f"{url}: not the published file (larger than {MAX_BYTES >> 20} MiB), so it "
                    "was not kept; give another server with --base_url"
                )
            output.write(chunk)


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("name", choices=("levin", "real"), help="the data set")
    parser.add_argument(
        "--save_path", type=Path, metavar="FOLDER", help="where to write (default: datasets/NAME)"
    )
    parser.add_argument(
        "--base_url", default=BASE_URL, metavar="URL", help="a mirror with folders levin and real"
    )
    given = parser.parse_args(arguments)
    if not given.base_url.startswith(("http://", "https://")):
        raise UsageError(f"--base_url {given.base_url}: must start with http:// or https://")
    folder = given.save_path or Path("datasets") / given.name

    new = fetch(given.name, folder, given.base_url)
    count = len(read_sums(given.name))
    print(printable(f"{folder} is complete: {count} files, {new} of them new"))
    return 0


if __name__ == "__main__":
    run_program(main)
