"""Revocation lists that imagesync fetches itself, where a site asks for it: beside those of the anchors directory.

In IGTF layout a CA's ``.crl_url`` says where its list is. Fetched are those of the authorities that vouch for
endorsers, within the bounds of an image list, into a directory of our own. What is not a complete, current list by that
very CA is thrown away, and so is one that is older than what is there: whatever fails, the old one stays. The anchors
directory is never written to. Verification judges every list again when it is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from imagesync.errors import SourceError, TrustError, UnreachableError
from imagesync.files import replace_file
from imagesync.http import HttpPolicy
from imagesync.lists.anchors import (
    MAX_CA_BYTES,
    MAX_CRL_BYTES,
    NOT_UNDERSTOOD,
    Anchors,
    crl_blocks,
    load_crl,
    serial_zero_tolerated,
)
from imagesync.lists.names import comparable, render
from imagesync.lists.revocation import fault_of
from imagesync.lists.source import Fetched, ListRequest, fetch

log = structlog.get_logger(__name__)

AGAIN_AFTER = timedelta(hours=6)
"""How old a fetched list may be before it is fetched again."""

_MAX_URLS = 8
_CA_SUFFIXES = (".0", ".pem", ".crt")


@dataclass(frozen=True, slots=True)
class CrlStore:
    """Where fetched lists are kept, and what getting one may cost. ``max_bytes`` bounds each."""

    directory: Path
    policy: HttpPolicy
    max_bytes: int

    def path(self, authority: x509.Certificate) -> Path:
        """Return the file for the list of an authority."""
        return self.directory / f"{authority.fingerprint(hashes.SHA256()).hex()[:32]}.crl"


def refresh(anchors: Anchors, names: Collection[str], store: CrlStore, now: datetime) -> None:
    """Fetch what is due of the lists of the authorities called ``names`` and of all above them; failures are logged."""
    with serial_zero_tolerated():
        needed = _lineage(anchors, names)
        due = [one for one in needed if _is_due(store.path(one), one, now)]
        urls = _urls(Path(anchors.directory), due) if due else {}
        with ThreadPoolExecutor(4, thread_name_prefix="crl") as pool:
            futures = [pool.submit(copy_context().run, _obtain, one, urls.get(one, ()), store, now) for one in due]
        for future in futures:
            future.result()


def with_fetched(anchors: Anchors, store: CrlStore) -> Anchors:
    """Return the anchors with the lists that were fetched earlier beside their own."""
    crls = dict(anchors.crls)
    with serial_zero_tolerated():
        for authority in (*anchors.roots, *anchors.subordinates):
            found = _load(store.path(authority))
            if found is not None:
                issuer = comparable(found.issuer)
                crls[issuer] = (*crls.get(issuer, ()), found)
    return replace(anchors, crls=crls)


# --- whose -----------------------------------------------------------------------------------------------------------
def _lineage(anchors: Anchors, names: Collection[str]) -> list[x509.Certificate]:
    """Return the authorities called ``names``, and those that issued them, up to the roots."""
    known = (*anchors.roots, *anchors.subordinates)
    waiting = [one for one in known if render(one.subject) in names]
    found: dict[x509.Certificate, None] = {}
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += [other for other in known if other.subject == one.issuer]
    return list(found)


def _urls(directory: Path, authorities: Sequence[x509.Certificate]) -> Mapping[x509.Certificate, list[str]]:
    found: dict[x509.Certificate, list[str]] = {}
    for file in sorted(directory.glob("*.crl_url")):
        certificate = _certificate_beside(file)
        if certificate is not None and certificate in authorities:
            urls = found.setdefault(certificate, [])
            urls += [url for url in _lines(file) if url not in urls]
    return found


def _certificate_beside(file: Path) -> x509.Certificate | None:
    for suffix in _CA_SUFFIXES:
        with suppress(OSError, *NOT_UNDERSTOOD):
            with file.with_suffix(suffix).open("rb") as stream:
                data = stream.read(MAX_CA_BYTES)
            read = x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
            return read(data)
    return None


def _lines(file: Path) -> Iterator[str]:
    with suppress(OSError):
        with file.open("rb") as stream:
            text = stream.read(MAX_CA_BYTES).decode("utf-8", "replace")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        yield from [line for line in lines if line.startswith(("http://", "https://"))][:_MAX_URLS]


# --- what is there ---------------------------------------------------------------------------------------------------
def _load(path: Path) -> x509.CertificateRevocationList | None:
    try:
        with path.open("rb") as file:
            crl = x509.load_der_x509_crl(file.read(MAX_CRL_BYTES))
            comparable(crl.issuer)  # the library reads it only now
    except (OSError, *NOT_UNDERSTOOD):
        return None
    return crl


def _is_due(path: Path, authority: x509.Certificate, now: datetime) -> bool:
    kept = _load(path)
    try:
        if kept is None or fault_of(kept, authority, now):
            return True
    except NOT_UNDERSTOOD:
        return True
    age = now.timestamp() - path.stat().st_mtime
    return not 0 <= age < AGAIN_AFTER.total_seconds()


# --- getting one -----------------------------------------------------------------------------------------------------
def _obtain(authority: x509.Certificate, urls: Iterable[str], store: CrlStore, now: datetime) -> None:
    name = render(authority.subject)
    failures = []
    for url in urls:
        try:
            crl = _fetch(url, authority, store, now)
            store.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            replace_file(store.path(authority), crl.public_bytes(Encoding.DER))
        except (SourceError, TrustError) as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{store.directory}: cannot be written: {error.strerror}")
        else:
            log.info("revocation list fetched", authority=name, next=f"{crl.next_update_utc:%Y-%m-%dT%H:%M:%SZ}")
            return
    reason = "; ".join(failures) or "no .crl_url beside its certificate in the anchors directory says where it is"
    log.warning("revocation list not fetched, the old one stays", authority=name, reason=reason)


def _fetch(url: str, authority: x509.Certificate, store: CrlStore, now: datetime) -> x509.CertificateRevocationList:
    answer = fetch(ListRequest(url, store.policy, store.max_bytes))
    if not isinstance(answer, Fetched):
        raise UnreachableError(url, "the server answered 304 to a request that had no condition")
    crl = _newest(answer, authority, now)
    kept = _load(store.path(authority))
    if kept is not None and kept.last_update_utc > crl.last_update_utc:
        raise TrustError(answer.url, "it is older than the one that is there")
    return crl


def _newest(answer: Fetched, authority: x509.Certificate, now: datetime) -> x509.CertificateRevocationList:
    """Return the newest list in an answer that counts: in PEM there can be several, each of them complete."""
    found, faults = [], []
    for block in crl_blocks(answer.blob, answer.url):
        try:
            found.append(_judged(block, answer.url, authority, now))
        except TrustError as error:
            faults.append(error)
        except NOT_UNDERSTOOD as error:
            faults.append(TrustError(answer.url, "it is no revocation list, or cannot be understood"))
            faults[-1].__cause__ = error
    if not found:
        raise faults[0]
    return max(found, key=lambda crl: crl.last_update_utc)


def _judged(block: bytes, url: str, authority: x509.Certificate, now: datetime) -> x509.CertificateRevocationList:
    """Return a list if it counts; the library may raise at any of these looks at it."""
    crl = load_crl(block)
    if comparable(crl.issuer) != comparable(authority.subject):
        raise TrustError(url, "it is the list of another authority")
    if fault := fault_of(crl, authority, now):
        raise TrustError(url, fault)
    return crl
