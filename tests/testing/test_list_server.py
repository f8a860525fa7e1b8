import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest

from imagesync.lists.seal import SigningIdentity
from imagesync.model import Identity
from imagesync.testing import faults, pki
from imagesync.testing.list_server import ListServer, PublishedList

VO = "vo.example.org"


@pytest.fixture
def server(endorser: SigningIdentity, now: datetime) -> Iterator[ListServer]:
    with ListServer(endorser, now) as server:
        yield server


@pytest.fixture
def published(server: ListServer) -> PublishedList:
    return server.add_list(VO)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "alma 9.qcow2"
    path.write_bytes(b"alma" * 1000)
    return path


@pytest.fixture
def anchors(tmp_path: Path, authority: pki.Authority) -> Path:
    return pki.write_anchors(tmp_path / "certificates", [authority])


def fetch(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as response:
        body: bytes = response.read()
    return body


def verified(message: bytes, anchors: Path, now: datetime) -> dict[str, Any]:
    command = [
        "openssl", "cms", "-verify", "-CApath", str(anchors), "-no-CAfile", "-no-CAstore", "-crl_check_all",
        "-x509_strict", "-attime", str(int(now.timestamp())),
    ]  # fmt: skip
    done = subprocess.run(command, input=message, capture_output=True, check=True, timeout=60)
    content: dict[str, Any] = json.loads(done.stdout)["hv:imagelist"]
    return content


def test_a_published_list_is_served_signed(published: PublishedList, image: Path, anchors: Path, now: datetime) -> None:
    identifier = published.add(image, title="AlmaLinux 9")
    published.publish()

    content = verified(fetch(published.url), anchors, now)

    assert content["ad:vo"] == VO
    assert content["dc:identifier"] == str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list:{VO}"))
    assert content["dc:date:created"] == "2026-03-01T12:00:00Z"
    assert content["dc:date:expires"] == "2026-03-29T12:00:00Z"
    assert content["hv:uri"] == published.url
    assert content["hv:endorser"]["hv:x509"]["hv:dn"] == "/DC=org/DC=example/CN=Robot - images"
    assert content["hv:endorser"]["hv:x509"]["hv:ca"] == "/DC=org/DC=example/CN=Example CA"
    entry = content["hv:images"][0]["hv:image"]
    assert entry["dc:identifier"] == identifier
    assert entry["dc:title"] == "AlmaLinux 9"
    assert entry["hv:size"] == "4000"
    assert entry["sl:checksum:sha512"] == sha512(b"alma" * 1000).hexdigest()
    assert fetch(entry["hv:uri"]) == b"alma" * 1000


def test_identifiers_are_those_that_appdb_derives(published: PublishedList, image: Path) -> None:
    identifier = published.add(image)
    published.publish()

    entry = entries(published)[0]
    guid = entry["ad:base_mpuri"].rstrip("/").split("/")[-1].split(":")[0]
    assert identifier == str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list_image:{VO}:{guid}"))


def test_nothing_is_served_before_publication(published: PublishedList, server: ListServer, image: Path) -> None:
    published.add(image)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(published.url)
    published.publish()
    before = fetch(published.url)
    published.images.clear()

    assert fetch(published.url) == before
    assert server.requests_for(published.path)[-1].status == 200


def test_each_publication_has_a_higher_version_and_new_mpuris(published: PublishedList, image: Path) -> None:
    published.add(image)
    published.publish()
    first = entries(published)[0]
    published.publish()
    second = entries(published)[0]

    assert published.version == 2
    assert first["ad:mpuri"] != second["ad:mpuri"]
    assert first["ad:base_mpuri"] == second["ad:base_mpuri"]
    assert first["hv:version"] == second["hv:version"]


def test_a_version_can_be_chosen(published: PublishedList) -> None:
    published.publish(version=7)
    published.publish(version=3)

    assert b'"hv:version": "3"' in published.content


def test_a_replaced_image_keeps_its_identifier(published: PublishedList, image: Path, tmp_path: Path) -> None:
    identifier = published.add(image)
    newer = tmp_path / "newer.qcow2"
    newer.write_bytes(b"newer")

    published.replace(identifier, newer)
    published.publish()

    entry = entries(published)[0]
    assert (entry["dc:identifier"], entry["hv:size"], entry["hv:version"]) == (identifier, "5", "2.0")
    assert fetch(entry["hv:uri"]) == b"newer"


def test_a_withdrawn_image_is_gone_from_the_list(published: PublishedList, image: Path) -> None:
    identifier = published.add(image)
    published.withdraw(identifier)
    published.publish()

    assert entries(published) == []


def test_images_have_different_identifiers(published: PublishedList, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(b"x")

    assert len({published.add(image), published.add(other), published.add(image)}) == 3


def test_keys_can_be_set_and_taken_out(published: PublishedList, image: Path) -> None:
    identifier = published.add(image, sl_arch="i686", dc_title=None)
    published.images[identifier].keys["hv:size"] = 3
    published.extra = {"ad:vo": None, "dc:source": "elsewhere"}
    published.publish()

    entry = entries(published)[0]
    assert (entry["sl:arch"], entry["hv:size"], "dc:title" in entry) == ("i686", 3, False)
    content = json.loads(published.content)["hv:imagelist"]
    assert ("ad:vo" in content, content["dc:source"]) == (False, "elsewhere")


def test_dates_can_be_wrong(published: PublishedList, image: Path, now: datetime) -> None:
    published.add(image, expires=now - timedelta(days=1))
    published.created, published.expires = now + timedelta(days=1), now - timedelta(hours=1)
    published.publish()

    content = json.loads(published.content)["hv:imagelist"]
    assert content["dc:date:created"] == "2026-03-02T12:00:00Z"
    assert content["dc:date:expires"] == "2026-03-01T11:00:00Z"
    assert entries(published)[0]["dc:date:expires"] == "2026-02-28T12:00:00Z"


def test_somebody_else_can_sign(
    published: PublishedList, authority: pki.Authority, anchors: Path, now: datetime
) -> None:
    published.publish(signer=authority.issue("/CN=Somebody else", key=pki.ec_key()))

    names = verified(published.message, anchors, now)["hv:endorser"]["hv:x509"]
    assert names["hv:dn"] == "/CN=Somebody else"


def test_the_list_can_claim_another_endorser(published: PublishedList, anchors: Path, now: datetime) -> None:
    published.claims = Identity("/CN=Claimed", "/CN=Claimed CA")
    published.publish()

    names = verified(published.message, anchors, now)["hv:endorser"]["hv:x509"]
    assert (names["hv:dn"], names["hv:ca"]) == ("/CN=Claimed", "/CN=Claimed CA")


def test_a_tampered_list_does_not_verify(
    published: PublishedList, server: ListServer, image: Path, anchors: Path, now: datetime
) -> None:
    published.add(image)
    published.publish()
    server.misbehave(published.path, faults.Tampered())

    with pytest.raises(subprocess.CalledProcessError):
        verified(fetch(published.url), anchors, now)


def test_anything_can_be_served_as_the_list(published: PublishedList) -> None:
    published.publish()
    published.publish_bytes(published.content)

    assert fetch(published.url) == published.content


def test_an_image_can_fail_alone(published: PublishedList, server: ListServer, image: Path) -> None:
    identifier = published.add(image)
    published.publish()
    server.misbehave(published.image_path(identifier), faults.Status(404))

    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(entries(published)[0]["hv:uri"])
    assert fetch(published.url) == published.message


def test_lists_of_several_vos_stand_side_by_side(server: ListServer) -> None:
    urls = [server.add_list(vo).url for vo in ("a.example.org", "b.example.org")]

    for vo, url in zip(server.lists, urls, strict=True):
        server.lists[vo].publish()
        assert f'"ad:vo": "{vo}"'.encode() in fetch(url)


def entries(published: PublishedList) -> list[dict[str, Any]]:
    return [holder["hv:image"] for holder in json.loads(published.content)["hv:imagelist"]["hv:images"]]
