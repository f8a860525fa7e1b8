"""An image of 2 GiB from a loopback nginx into the store, against a shell pipe on the same bytes and the same disk.

Ours is what a pass does for an image that is passed through: download with the SHA-512 on the way, entry into the
cache, inspection; and, as a target does, fsync. The reference is ``curl | tee FILE | openssl dgst -sha512`` and ``sync FILE``. Before each,
everything is written back, so that none pays for the other.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import harness

from imagesync.backend import Format
from imagesync.http import HttpPolicy
from imagesync.images.download import DownloadRequest, download
from imagesync.images.entries import sync
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest

SIZE = 2 << 30
_BLOCK = 1 << 20

_CONFIGURATION = """
daemon off;
master_process off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}/www; }}
}}
"""
_PIPE = 'set -o pipefail; curl -sS "$1" | tee "$2" | openssl dgst -sha512 -r; sync "$2"'


def measure() -> harness.Measurement:
    """Return our seconds divided by those of the shell pipe."""
    with tempfile.TemporaryDirectory(prefix="bench-download-") as folder:
        root = Path(folder)
        digest = _make_image(root / "www" / "image")
        with _nginx(root) as base:
            url = f"{base}/image"
            return harness.ratio(
                "download + verify 2 GiB / curl | tee | openssl dgst, sync",
                lambda: _ours(url, digest, root / "store"),
                lambda: _reference(url, digest, root / "reference"),
                at_most=1.05,
                rounds=7,
            )


def _ours(url: str, digest: Digest, root: Path) -> float:
    source = DownloadRequest(url, SIZE, digest, HttpPolicy(allow_private=True), attempts=1)
    request = ArtifactRequest(digest, SIZE, (Format.RAW,))
    store = Store(root)
    os.sync()
    try:
        return harness.wall(lambda: _prepare(request, store, source))
    finally:
        shutil.rmtree(root)


def _prepare(request: ArtifactRequest, store: Store, source: DownloadRequest) -> None:
    with prepare(request, store, partial(download, source), lambda _: None) as artifact:
        if (artifact.digest, artifact.downloaded, artifact.converted) != (request.sha512, SIZE, False):
            raise RuntimeError(f"it was not just downloaded: {artifact}")
        sync(artifact.path)  # the cache leaves that to the target, but here both have to bring the bytes to the disk


def _reference(url: str, digest: Digest, into: Path) -> float:
    os.sync()
    try:
        return harness.wall(lambda: _pipe(url, digest, into))
    finally:
        into.unlink()


def _pipe(url: str, digest: Digest, into: Path) -> None:
    done = subprocess.run(["bash", "-c", _PIPE, "bash", url, str(into)], check=True, capture_output=True, text=True)
    if done.stdout.split()[0] != digest or into.stat().st_size != SIZE:
        raise RuntimeError("the shell pipe did not verify")


def _make_image(path: Path) -> Digest:
    """Write a raw disk that does not compress and return its SHA-512."""
    path.parent.mkdir()
    sha512 = hashlib.sha512()
    with path.open("wb") as file:
        for number in range(SIZE // _BLOCK):
            block = bytearray(os.urandom(_BLOCK))
            if not number:
                block[:512] = _boot_record()
            sha512.update(block)
            file.write(block)
    return Digest(sha512.hexdigest())


def _boot_record() -> bytes:
    partition = bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    return bytes(446) + partition + bytes(48) + b"\x55\xaa"


@contextlib.contextmanager
def _nginx(root: Path) -> Iterator[str]:
    """Serve ``root``/www on a free loopback port; yield the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = root / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(root=root, port=port))
    root.chmod(0o755)  # nginx drops root's rights where it was started with them
    command = [_program(), "-p", str(root), "-c", str(configuration), "-e", str(root / "error.log")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _program() -> str:
    """Return nginx, which Debian keeps where only root's PATH leads."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError("nginx is not installed: apt-get install --no-install-recommends nginx-light")
    return found


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx does not answer")
