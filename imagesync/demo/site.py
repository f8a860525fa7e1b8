"""The places of the demonstration: what the publisher has, and how the site is configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from imagesync.demo.images import COMPUTE, DESKTOP, STORAGE, WEB, DemoImage
from imagesync.lists.seal import SigningIdentity
from imagesync.model import ImageId
from imagesync.testing import pki
from imagesync.testing.list_server import ListServer, PublishedList, identity_of

VO = "demo.example.org"

_CA = "/DC=org/DC=example/CN=imagesync demonstration CA"
_ENDORSER = "/DC=org/DC=example/O=Robots/CN=Robot - images of demo.example.org"


@dataclass(frozen=True, slots=True)
class Site:
    """Paths below the demonstration's directory."""

    directory: Path

    @property
    def images(self) -> Path:
        """Return where the publisher keeps its files."""
        return self.directory / "publisher"

    @property
    def anchors(self) -> Path:
        """Return the site's directory of trusted certificate authorities."""
        return self.directory / "certificates"

    @property
    def config(self) -> Path:
        """Return the site's configuration file."""
        return self.directory / "imagesync.yaml"

    @property
    def target(self) -> Path:
        """Return the folder that is the site's catalogue."""
        return self.directory / "catalogue"


def trust(site: Site, now: datetime) -> SigningIdentity:
    """Make a certificate authority that the site trusts, and return an endorser with a certificate of it."""
    authority = pki.Authority(_CA, now)
    pki.write_anchors(site.anchors, [authority])
    return authority.issue(_ENDORSER)


def publish(server: ListServer, site: Site) -> tuple[PublishedList, dict[str, ImageId]]:
    """Publish the first version of the list; return it with the identifiers of its images by file name.

    Raises:
        ToolMissingError: qemu-img is not installed.
    """
    site.images.mkdir()
    published = server.add_list(VO, "Images of the demonstration")
    identifiers = {image.file: offer(published, site, image) for image in (WEB, COMPUTE, STORAGE, DESKTOP)}
    published.publish()
    return published, identifiers


def offer(published: PublishedList, site: Site, image: DemoImage) -> ImageId:
    """Make ``image`` and put it into the list, not published yet."""
    return published.add(image.write(site.images), title=image.title)


def configure(site: Site, published: PublishedList) -> Path:
    """Write the site's configuration and return its path."""
    endorser = identity_of(published.signer)
    config = {
        "instance": "imagesync-demo",
        "state": f"sqlite:///{site.directory / 'state.db'}",
        "cache": str(site.directory / "cache"),
        "trust": {"anchors": str(site.anchors), "crl": "require"},
        "subscriptions": [
            {
                "name": "demo",
                "vo": VO,
                "url": published.url,
                "endorsers": [{"dn": endorser.dn, "ca": endorser.ca}],
                "allow_private_addresses": True,  # the publisher is on this machine
            }
        ],
        "targets": [{"name": "demo", "backend": "directory", "path": str(site.target), "formats": ["qcow2", "raw"]}],
    }
    site.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return site.config
