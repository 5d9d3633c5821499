"""The download of the data sets, from a local server with good and bad files."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datasets.fetch import fetch, read_sums
from utils.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "levin/a.png": b"first" * 5000,
    "levin/b.png": b"second" * 5000,
    "levin/gt/a.png": b"third" * 5000,
    "real/fish.jpg": b"fish",
}


class Server(ThreadingHTTPServer):
    """Serves `content`; says in `answers` which paths get something else than their file."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.answers, self.asked = dict(FILES), {}, []
        self.url = f"http://127.0.0.1:{self.server_port}/mirror"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/mirror/")
        self.server.asked.append(name)
        answer = self.server.answers.get(name)
        content = self.server.content.get(name)
        if content is None or answer == "missing":
            self.send_error(404)
            return
        if answer == "other":
            content = content[::-1]
        self.send_response(200)
        if answer != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if answer == "endless":
            for _ in range(1000):
                self.wfile.write(bytes(2**16))
            return
        self.wfile.write(content[: len(content) // 2] if answer == "cut" else content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sums = tmp_path / "SUMS"
    sums.write_text(
        "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items())
    )
    monkeypatch.setattr("datasets.fetch.SUMS", sums)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def on_disk(folder):
    """What a folder holds; the parts of interrupted downloads would show up too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


LEVIN = {name.removeprefix("levin/"): data for name, data in FILES.items() if "levin" in name}


def test_published_sums_cover_both_sets():
    levin, real = read_sums("levin"), read_sums("real")
    blurry = {f"im{i}_kernel{k}_img.png" for i in range(1, 5) for k in range(1, 9)}
    gt = {f"gt/im{i}.png" for i in range(1, 5)} | {f"gt/kernel{k}.png" for k in range(1, 9)}
    assert set(levin) == blurry | gt
    assert set(real) == {"fishes.jpg", "flower.jpg", "house.jpg"}
    assert all(len(digest) == 64 for digest in (levin | real).values())


def test_published_sums_are_those_of_the_real_files():
    folder = ROOT / "datasets" / "levin"
    if not folder.is_dir():
        folder = ROOT.parent / "shared" / "data" / "levin"
    if not folder.is_dir():
        pytest.skip("Levin's images are not here")
    for name, digest in read_sums("levin").items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_fetches_all_files_of_one_set_and_then_nothing(server, tmp_path):
    assert fetch("levin", tmp_path / "levin", server.url) == 3
    assert on_disk(tmp_path / "levin") == LEVIN
    server.asked.clear()
    assert fetch("levin", tmp_path / "levin", server.url + "/") == 0
    assert server.asked == []


def test_fetches_only_what_is_missing(server, tmp_path):
    (tmp_path / "a.png").write_bytes(FILES["levin/a.png"])
    assert fetch("levin", tmp_path, server.url + "/") == 2
    assert server.asked == ["levin/b.png", "levin/gt/a.png"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("missing", "404 Not Found"),
        ("cut", "cut off"),
        ("other", "not the published file"),
        ("endless", "larger than 16 MiB"),
    ],
)
def test_bad_answer_is_named_and_leaves_only_complete_files(server, tmp_path, answer, reason):
    server.answers["levin/b.png"] = answer
    folder = tmp_path / "levin"
    with pytest.raises(DataError, match=reason) as error:
        fetch("levin", folder, server.url)
    assert f"{server.url}/levin/b.png" in str(error.value)
    assert on_disk(folder) == {"a.png": FILES["levin/a.png"]}

    server.answers.clear()
    assert fetch("levin", folder, server.url) == 2
    assert on_disk(folder) == LEVIN


def test_wrong_file_on_disk_is_named_and_kept(server, tmp_path):
    folder = tmp_path / "levin"
    folder.mkdir()
    (folder / "b.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"b\.png: not the published file") as error:
        fetch("levin", folder, server.url)
    assert "move it away" in str(error.value)
    assert on_disk(folder) == LEVIN | {"b.png": b"mine"}


def run_fetch(*arguments):
    command = [sys.executable, "datasets/fetch.py", *map(str, arguments)]
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_no_server_gives_one_line_and_status_1(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = run_fetch("real", "--base_url", url, "--save_path", tmp_path / "real")
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith(f"fetch.py: error: {url}/real/fishes.jpg: ")
    assert "cannot be reached" in message
    assert "Traceback" not in result.stderr
    assert on_disk(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["lai"], "levin"), ([], "name"), (["real", "--base_url", "mirror.org"], "--base_url")],
)
def test_wrong_command_gives_status_2(arguments, named):
    result = run_fetch(*arguments)
    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
