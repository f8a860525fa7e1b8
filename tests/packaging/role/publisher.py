"""A publisher of one list, on the loopback interface of the network that it is started in.

``python publisher.py DIRECTORY`` writes trust anchors into ``DIRECTORY/anchors``, prints where the list is and who signs
it, as JSON on one line, and publishes another version with one image more for each line on standard input, until that
ends.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer, identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(directory: Path) -> None:
    """Publish until standard input ends."""
    now = datetime.now(UTC)
    authority = Authority("/DC=org/DC=example/CN=Test CA", now, key=ec_key())
    write_anchors(directory / "anchors", [authority])
    with ListServer(authority.issue("/DC=org/DC=example/CN=endorser", key=ec_key()), now) as server:
        published = server.add_list("vo.example.org")
        published.add(write_disk(directory / "0.qcow2", Kind.QCOW2, Disk("image 0")), title="image 0")
        published.publish()
        signer = identity_of(published.signer)
        endorser = {"dn": signer.dn, "ca": signer.ca}
        _say(json.dumps({"url": published.url, "endorser": endorser}))
        for number, _ in enumerate(sys.stdin, 1):
            file = write_disk(directory / f"{number}.qcow2", Kind.QCOW2, Disk(f"image {number}"))
            published.add(file, title=f"image {number}")
            published.publish()
            _say("published")


main(Path(sys.argv[1]))
