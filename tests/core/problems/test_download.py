"""The download: complete data or none, whatever the server, the archive or the disk do."""

from __future__ import annotations

import errno
import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from cflows_core.errors import DataError
from cflows_core.problems import datasets
from cflows_core.problems.cifar10 import FILES, FOLDER, RECORD

Files = dict[str, bytes]


def archive(files: dict[str, bytes], extra: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra is not None:
            extra(tar)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Server:
    """Serves `pages` on 127.0.0.1; a page in `broken` announces its full length and sends half of it."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.broken: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server.pages.get(self.path)
                self.send_response(200 if content is not None else 404)
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in server.broken else content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def serve(self, path: str, content: bytes) -> str:
        self.pages[path] = content
        return f"http://127.0.0.1:{self._http.server_port}{path}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # where a proxy is set for the outside world
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def test_download(server: Server, nowhere: Path, capsys: pytest.CaptureFixture[str], batches: Files) -> None:
    content = archive(batches)
    url = server.serve("/cifar.tar.gz", content)
    target = nowhere / "new" / "data"
    folder = datasets.download_cifar10(target, url, sha256(content))
    assert folder == target / FOLDER
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == batches
    assert list(target.iterdir()) == [folder]
    assert len(datasets.load("cifar10", n_train=30, data_dir=target).labels) == 30
    printed = capsys.readouterr()
    assert "CIFAR-10" in printed.out
    assert printed.err == ""
    server.pages.clear()
    assert datasets.download_cifar10(target, url, sha256(content)) == folder  # there already: no server is asked


def test_download_goes_where_load_looks(
    server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], batches: Files
) -> None:
    content = archive(batches)
    url = server.serve("/cifar.tar.gz", content)
    assert datasets.download_cifar10(None, url, sha256(content), progress=False) == nowhere / "cache" / FOLDER
    assert datasets.find_cifar10() == nowhere / "cache" / FOLDER
    monkeypatch.setenv("CFLOWS_DATA_DIR", str(nowhere / "mine"))
    datasets.download_cifar10(None, url, sha256(content), progress=False)
    assert datasets.find_cifar10() == nowhere / "mine" / FOLDER
    assert capsys.readouterr().out == ""


def test_the_official_address_is_the_default(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def retrieve(url: str, known_hash: str, **kwargs: object) -> str:
        asked.append((url, known_hash))
        raise OSError("no network in this test")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataError, match="no network"):
        datasets.download_cifar10(nowhere / "data", progress=False)
    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530")]


def gone() -> str:
    """An address of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/cifar.tar.gz"


def one_sentence(error: BaseException) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message


# What is served instead of a good archive, and what the sentence then says.
FAILURES: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "broken off": (lambda files: archive(files), "got a connection that broke off from http"),
    "wrong checksum": (lambda files: archive(files), "got another one"),
    "no such page": (lambda files: b"", "got status 404 from http"),
    "nobody there": (lambda files: b"", "got no connection from http"),
    "half an archive": (lambda files: archive(files)[:20_000], "breaks off or is damaged"),
    "no archive": (lambda files: b"<html>sign in</html>", "breaks off or is damaged"),
    "label out of range": (
        lambda files: archive({**files, FILES[1]: b"\x0a" + files[FILES[1]][1:]}),
        "Labels in the archive's data_batch_2.bin must be 0 to 9, got 10 in record 0",
    ),
    "cut record": (lambda files: archive({**files, FILES[0]: bytes(RECORD + 1)}), "multiple of 3,073"),
    "a file missing": (lambda files: archive({name: files[name] for name in FILES[:5]}), "without test_batch.bin"),
    "too large": (lambda files: archive({**files, FILES[0]: bytes(RECORD * 10_001)}), "without data_batch_1.bin"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_download_leaves_nothing(server: Server, nowhere: Path, batches: Files, failure: str, existing: bool) -> None:
    make, says = FAILURES[failure]
    content = make(batches)
    url = server.serve("/cifar.tar.gz", content)
    checksum = sha256(content if failure != "wrong checksum" else b"something else")
    if failure == "broken off":
        server.broken.add("/cifar.tar.gz")
    elif failure == "no such page":
        server.pages.clear()
    elif failure == "nobody there":
        url = gone()
    target = nowhere / "new" / "data"
    if existing:
        target.mkdir(parents=True)
    with pytest.raises(DataError, match=says) as caught:
        datasets.download_cifar10(target, url, checksum, progress=False)
    one_sentence(caught.value)
    assert target.exists() == existing == (nowhere / "new").exists()
    assert not existing or not list(target.iterdir())
    assert datasets.find_cifar10(target) is None


def test_an_archive_cannot_write_elsewhere(server: Server, nowhere: Path, batches: Files) -> None:
    """Members are chosen by their last name, whatever path, link or kind they claim."""
    outside = nowhere / "outside.bin"
    outside.write_bytes(b"before")

    def add_traps(tar: tarfile.TarFile) -> None:
        for name in ("../../evil.txt", f"{nowhere}/absolute.txt", "../data_batch_9.bin"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{FOLDER}/{FILES[0]}")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)

    content = archive(batches, add_traps)
    folder = datasets.download_cifar10(nowhere / "deep" / "data", server.serve("/a", content), sha256(content), progress=False)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert outside.read_bytes() == b"before"
    assert sorted(path.name for path in nowhere.rglob("*.txt")) == []


def test_a_full_disk_leaves_nothing(server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch, batches: Files) -> None:
    content = archive(batches)
    url = server.serve("/cifar.tar.gz", content)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"No space left.*free some space") as caught:
        datasets.download_cifar10(nowhere / "data", url, sha256(content), progress=False)
    one_sentence(caught.value)
    assert not (nowhere / "data").exists()


def test_a_target_that_is_a_file(server: Server, nowhere: Path, batches: Files) -> None:
    (nowhere / "data").write_text("mine")
    content = archive(batches)
    with pytest.raises(DataError, match="can be written"):
        datasets.download_cifar10(nowhere / "data", server.serve("/a", content), sha256(content), progress=False)
    assert (nowhere / "data").read_text() == "mine"


def test_damaged_data_is_not_overwritten(nowhere: Path) -> None:
    (nowhere / FOLDER).mkdir()
    (nowhere / FOLDER / FILES[0]).write_bytes(b"mine")
    with pytest.raises(DataError, match="never overwrites"):
        datasets.download_cifar10(nowhere)
    assert (nowhere / FOLDER / FILES[0]).read_bytes() == b"mine"


def test_a_mirror_needs_a_checksum(nowhere: Path) -> None:
    with pytest.raises(DataError, match="checksum") as caught:
        datasets.download_cifar10(nowhere, "http://127.0.0.1/cifar.tar.gz")
    one_sentence(caught.value)
