"""Which messages were accepted, by what they were verified, and what was done: the same on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from imagesync.model import Accepted, Digest, Fingerprint, Format
from imagesync.state import ArtifactRecord, Evidence, EvidenceKind, StoredList
from imagesync.state.repository import Repository

Make = Callable[..., Accepted]
CHAIN = (Evidence(EvidenceKind.CERTIFICATE, b"signer"), Evidence(EvidenceKind.CERTIFICATE, b"root"))


def signed(blob: bytes, crl: bytes = b"crl") -> StoredList:
    return StoredList(blob, evidence=(*CHAIN, Evidence(EvidenceKind.CRL, crl)))


def test_a_message_comes_back_with_what_verified_it_first(repository: Repository, make_accepted: Make) -> None:
    value = make_accepted()
    repository.accept(value, signed(b"one"))
    later = make_accepted(accepted_at=value.accepted_at + timedelta(days=1))
    repository.accept(later, signed(b"one", b"a newer crl"))

    (version,) = repository.versions()

    assert (version.subscription, version.version, version.signer) == ("fedcloud", value.version, value.signer.identity)
    assert (version.first_seen, version.last_seen) == (value.accepted_at, later.accepted_at)
    assert repository.message(version.message) == b"one"
    found = repository.evidence(version.message)
    assert [piece.der for piece in found] == [b"signer", b"root", b"crl"]
    assert {piece.at for piece in found} == {value.accepted_at}


def test_versions_come_newest_first(repository: Repository, make_accepted: Make) -> None:
    first = make_accepted()
    repository.accept(first, signed(b"one"))
    repository.accept(make_accepted(version="2027", accepted_at=first.accepted_at + timedelta(days=1)), signed(b"two"))

    assert [one.version for one in repository.versions()] == ["2027", first.version]


def test_of_what_was_never_accepted_nothing_is_known(repository: Repository) -> None:
    assert (repository.versions(), repository.message("0" * 64), repository.evidence("0" * 64)) == ((), None, ())


def test_evidence_goes_with_its_message_unless_another_needs_it(repository: Repository, make_accepted: Make) -> None:
    first = make_accepted()
    repository.accept(first, signed(b"one", b"old crl"))
    later = first.accepted_at + timedelta(days=9)
    repository.accept(make_accepted(version="2027", accepted_at=later), signed(b"two", b"new crl"))
    old, new = (one.message for one in reversed(repository.versions()))

    repository.prune(later - timedelta(days=1))

    assert (repository.message(old), repository.evidence(old)) == (None, ())
    assert [piece.der for piece in repository.evidence(new)] == [b"signer", b"root", b"new crl"]


def test_what_files_were_made_from_is_found_by_their_digest(repository: Repository) -> None:
    made = Digest("b" * 128)
    for name, source in (("x", "1" * 128), ("y", "2" * 128)):
        repository.remember(ArtifactRecord(Fingerprint(name), Digest(source), Format.VMDK, made, Format.QCOW2, 1, 1))

    assert repository.sources({made, Digest("c" * 128)}) == {made: frozenset({"1" * 128, "2" * 128})}


def test_actions_are_found_whoever_owns_the_image(repository: Repository, now: datetime) -> None:
    keys = ("list/a_b", "project:list/a_b", "project:list/aXb", "project:other-list/a_b")
    report = {"targets": [{"name": "t", "actions": [{"kind": "register", "key": key} for key in keys]}]}
    repository.begin_run("run", "sync", now)
    repository.finish_run("run", now, 0, report)

    assert {event.key for event in repository.actions_about("list/a_b")} == {"list/a_b", "project:list/a_b"}
