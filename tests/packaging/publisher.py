"""A publisher of images for a booted host, run in the host's network: ``python publisher.py DIRECTORY``.

It prints one line of JSON with what a site needs to know. Then each line of input is the title of another image to
publish, or empty to publish nothing, and is answered by the headers of the messages that came so far. It ends with its
input.
"""

import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer, PublishedList, identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors


class Messages(BaseHTTPRequestHandler):
    """Where a site sends its notifications."""

    came: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def publish(published: PublishedList, directory: Path, title: str) -> None:
    """Put another image on the list, in a form that sites convert. Started, it shows a prompt, unless it is broken."""
    words = "Operating system not found" if title == "broken" else "guest login:"
    disk = Disk(f"{title}\r\n{words}", virtual_size=8 << 20, data=1 << 20)
    published.add(write_disk(directory / f"{title}.vmdk", Kind.VMDK_STREAM, disk), title=title)
    published.publish()


def main(directory: Path) -> None:
    """Serve until the input ends."""
    now = datetime.now(UTC).replace(microsecond=0)
    authority = Authority("/DC=org/DC=example/CN=Test CA", now, key=ec_key())
    write_anchors(directory / "anchors", [authority])
    hook = ThreadingHTTPServer(("127.0.0.1", 0), Messages)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    with hook, ListServer(authority.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key()), now) as server:
        published = server.add_list("vo.example.org")
        publish(published, directory, "first")
        endorser = identity_of(published.signer)
        tell(
            {
                "hook": f"http://127.0.0.1:{hook.server_address[1]}/",
                "url": published.url,
                "dn": endorser.dn,
                "ca": endorser.ca,
            }
        )
        for line in sys.stdin:
            if line.strip():
                publish(published, directory, line.strip())
            tell(Messages.came)
        hook.shutdown()


def tell(value: object) -> None:
    """Write a line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
