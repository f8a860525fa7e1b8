"""Measure download + verify against a shell pipe on the same bytes, the same server, the same disk.

Ours is ``imagesync.images.download`` with its fsync. Theirs is ``curl | tee FILE | openssl dgst -sha512`` and then
``sync FILE``. The runs alternate, and who goes first alternates too; what counts is the ratio of the medians.

    python tests/bench/bench_download.py [--size MIB] [--runs N] [--directory DIR] [--out FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imagesync.http import HttpPolicy
from imagesync.images.download import DownloadRequest, download
from imagesync.model import Digest

LIMIT = 1.1
_MIB = 1 << 20

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


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serve ``root``/www on a free loopback port; yield the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = root / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(root=root, port=port))
    command = ["nginx", "-p", str(root), "-c", str(configuration), "-e", str(root / "error.log")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    message = "nginx does not answer; is it installed? (apt-get install nginx-light)"
    raise RuntimeError(message)


def make_image(path: Path, mib: int) -> Digest:
    """Write ``mib`` MiB that do not compress; return their SHA-512."""
    sha512 = hashlib.sha512()
    with path.open("wb") as file:
        for _ in range(mib):
            block = os.urandom(_MIB)
            sha512.update(block)
            file.write(block)
    return Digest(sha512.hexdigest())


def ours(url: str, size: int, digest: Digest, into: Path) -> None:
    """Download and verify with imagesync."""
    request = DownloadRequest(url, size, digest, HttpPolicy(allow_private=True), attempts=1)
    download(request, into, lambda _count: None)


def theirs(url: str, size: int, digest: Digest, into: Path) -> None:
    """Download and verify with a shell pipe."""
    script = 'set -o pipefail; curl -sS "$1" | tee "$2" | openssl dgst -sha512 -r; sync "$2"'
    command = ["bash", "-c", script, "bash", url, str(into)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    if found != digest or into.stat().st_size != size:
        message = "the shell pipe did not verify"
        raise RuntimeError(message)


def timed(work: Callable[[str, int, Digest, Path], None], url: str, digest: Digest, into: Path, size: int) -> float:
    """Return the seconds of one run into a file that does not exist yet, with nothing else to be written back."""
    into.unlink(missing_ok=True)
    os.sync()
    began = time.perf_counter()
    work(url, size, digest, into)
    seconds = time.perf_counter() - began
    into.unlink()
    return seconds


def measure(root: Path, mib: int, runs: int) -> dict[str, object]:
    """Return all times, their medians and the ratio."""
    (root / "www").mkdir()
    digest = make_image(root / "www" / "image", mib)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    with nginx(root) as base:
        for run in range(runs):
            pair = [("ours", ours), ("theirs", theirs)]
            for name, work in pair if run % 2 else reversed(pair):
                times[name].append(timed(work, f"{base}/image", digest, root / "downloaded", mib * _MIB))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["ours"] / medians["theirs"]
    rounded = {name: [round(value, 3) for value in values] for name, values in times.items()}
    return {
        "bench": "download",
        "mib": mib,
        "runs": runs,
        "seconds": rounded,
        "median": {name: round(value, 3) for name, value in medians.items()},
        "ratio": round(ratio, 3),
        "limit": LIMIT,
        "ok": ratio <= LIMIT,
    }


def main() -> int:
    """Measure, write the JSON, and return 0 if the ratio is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, metavar="MIB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to work; needs twice the size")
    parser.add_argument("--out", type=Path, help="write the JSON there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-download-", dir=options.directory) as root:
        result = measure(Path(root), options.size, options.runs)
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
