"""The real distribution of the IGTF, as Debian packages it: loaded as it is, and verified by with keys of our own."""

import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagesync.errors import TrustError, UntrustedSignerError
from imagesync.lists.anchors import Anchors, load_anchors, serial_zero_tolerated
from imagesync.lists.names import render
from imagesync.lists.path import unusable
from imagesync.lists.smime import SignaturePolicy, verify

sys.path.insert(0, str(Path(__file__).parent))

PACKAGED = Path("/usr/share/igtf-policy")
SEE_GRID = "/DC=ORG/DC=SEE-GRID/CN=SEE-GRID CA 2013"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return all profiles in one directory, as their packages put them into /etc/grid-security/certificates."""
    path = tmp_path_factory.mktemp("certificates")
    for profile in ("classic", "mics", "slcs", "iota"):
        for file in (PACKAGED / profile).iterdir():
            shutil.copy(file, path / file.name, follow_symlinks=False)
    return path


@pytest.fixture(scope="module")
def bundle(directory: Path) -> Anchors:
    return load_anchors(directory)


@pytest.fixture(scope="module")
def clones(bundle: Anchors) -> Any:
    from igtf import clones

    return clones(bundle)


def test_every_ca_of_it_loads_with_its_rules(bundle: Anchors) -> None:
    found = (*bundle.roots, *bundle.subordinates)

    assert len(found) >= 80
    assert bundle.warnings == ()
    assert {render(ca.subject) for ca in found} == set(bundle.rules)


def test_it_loads_at_once(directory: Path) -> None:
    # 0.1 s where nothing else runs; `make bench` has the limit of half a second.
    begin = time.process_time()
    load_anchors(directory)

    assert time.process_time() - begin < 3


def test_cas_that_cannot_be_used_are_named_with_the_reason(bundle: Anchors) -> None:
    lines = unusable(bundle, datetime(2026, 11, 1, tzinfo=UTC))

    assert any(": the certificate expired on " in line for line in lines)
    assert "/C=PK/O=NCP/CN=PK-GRID-CA: the CA's certificate has no subject key identifier" in "\n".join(lines)
    assert len(lines) < 15


@pytest.mark.parametrize("when", [datetime(2026, 11, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)])
def test_a_signer_under_each_usable_ca_verifies(
    bundle: Anchors, clones: Any, directory: Path, tmp_path: Path, when: datetime
) -> None:
    import igtf

    igtf.write(clones, tmp_path, directory)
    anchors = load_anchors(tmp_path)
    refused = {line.split(": ")[0] for line in unusable(anchors, when)}
    real = {render(ca.subject): ca for ca in (*bundle.roots, *bundle.subordinates)}

    for name, clone in clones.items():
        above = set(igtf.line(name, real))
        if above & refused:
            with pytest.raises(UntrustedSignerError):
                verify(igtf.message(clone), anchors, SignaturePolicy(), when)
        else:
            assert verify(igtf.message(clone), anchors, SignaturePolicy(), when).signer.identity.ca == name


def test_a_signer_under_the_ca_of_appdb_verifies(clones: Any, directory: Path, tmp_path: Path, now: datetime) -> None:
    import igtf

    igtf.write(clones, tmp_path, directory)
    anchors = load_anchors(tmp_path)

    with serial_zero_tolerated():
        assert clones[SEE_GRID].ca.certificate.serial_number == 0
    assert verify(igtf.message(clones[SEE_GRID]), anchors, SignaturePolicy(), now).signer.identity.ca == SEE_GRID


def test_a_ca_of_it_certifies_no_name_of_another(clones: Any, directory: Path, tmp_path: Path, now: datetime) -> None:
    import igtf

    igtf.write(clones, tmp_path, directory)
    anchors = load_anchors(tmp_path)
    stolen = igtf.Clone(clones[SEE_GRID].ca, clones["/DC=ch/DC=cern/CN=CERN Grid Certification Authority"].permitted)

    with pytest.raises(TrustError, match="may not certify this name"):
        verify(igtf.message(stolen), anchors, SignaturePolicy(), now)
