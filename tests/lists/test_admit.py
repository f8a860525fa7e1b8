import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from imagesync.errors import (
    ExpiredListError,
    IdentityMismatchError,
    NotYetValidError,
    RollbackError,
    WrongEndorserError,
)
from imagesync.lists.admit import AdmissionRules, admit, check_endorser, compare_versions
from imagesync.model import Accepted, Digest, Floor, Identity, Image, ImageId, ImageList, ListId, Signer

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIST = ListId("5a6a63be-7f86-5a5c-9f3c-6c0a3d6f9c11")
VO = "vo.example.org"


@pytest.fixture
def rules(signer: Signer) -> Callable[..., AdmissionRules]:
    def make(**changes: Any) -> AdmissionRules:
        return AdmissionRules(**({"subscription": "sub", "vo": VO, "endorsers": (signer.identity,)} | changes))

    return make


@pytest.fixture
def accepted(signer: Signer) -> Callable[..., Accepted]:
    def make(**changes: Any) -> Accepted:
        values = {
            "subscription": "sub",
            "list": LIST,
            "version": "20260520093000",
            "digest": Digest("1" * 128),
            "created": NOW,
            "expires": NOW,
            "accepted_at": NOW,
            "signer": signer,
            "expiries": {},
        }
        return Accepted(**(values | changes))

    return make


def test_a_first_list_is_admitted_with_its_warnings(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    content = listing(warnings=("odd",))

    trusted = admit(content, rules(), None, NOW)

    assert (trusted.subscription, trusted.vo, trusted.content) == ("sub", VO, content)
    assert trusted.warnings == ("odd",)
    assert not trusted.floor_lifted


# --- who ---
def test_the_list_must_name_its_signer(listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]) -> None:
    with pytest.raises(WrongEndorserError, match="but the list names /CN=x"):
        admit(listing(endorser=Identity("/CN=x", "/CN=y")), rules(), None, NOW)


def test_the_signer_must_be_an_endorser_of_the_subscription(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], signer: Signer
) -> None:
    another_ca = Identity(signer.identity.dn, "/CN=another CA")

    with pytest.raises(WrongEndorserError, match="no endorser of this subscription"):
        admit(listing(), rules(endorsers=(another_ca,)), None, NOW)


def test_without_endorsers_nobody_may_sign(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    with pytest.raises(WrongEndorserError):
        admit(listing(), rules(endorsers=()), None, NOW)


def test_one_of_several_endorsers_in_another_rendering_is_enough(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    written = Identity(r"/DC=test/DC=imagesync/CN=\x45ndorser", "/DC=test/DC=imagesync/CN=Root CA")

    admit(listing(), rules(endorsers=(Identity("/CN=x", "/CN=y"), written)), None, NOW)


# --- which ---
def test_a_configured_identifier_counts(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    with pytest.raises(IdentityMismatchError, match="but other is configured"):
        admit(listing(), rules(identifier=ListId("other")), None, NOW)


def test_the_first_accepted_identifier_is_pinned(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    with pytest.raises(IdentityMismatchError, match=r"pinned at the first acceptance.*reset NAME --identifier"):
        admit(listing(), rules(), accepted(list=ListId("other")), NOW)


def test_a_configured_identifier_replaces_the_pin_and_its_floor(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    old = accepted(list=ListId("other"), version="99999999999999")

    trusted = admit(listing(), rules(identifier=LIST), old, NOW)

    assert not trusted.floor_lifted


def test_a_list_of_another_subscription_is_refused(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    with pytest.raises(IdentityMismatchError, match="belongs to the subscription elsewhere"):
        admit(listing(), rules(pinned_elsewhere={LIST: "elsewhere"}), None, NOW)


def test_its_own_pin_is_not_elsewhere(listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]) -> None:
    admit(listing(), rules(pinned_elsewhere={LIST: "sub"}), None, NOW)


def test_another_vos_list_is_refused(listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]) -> None:
    with pytest.raises(IdentityMismatchError, match=r"for the VO vo\.other, not vo\.example\.org"):
        admit(listing(vo="vo.other"), rules(), None, NOW)


def test_a_list_without_vo_needs_a_configured_identifier(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    with pytest.raises(IdentityMismatchError, match="does not say which VO"):
        admit(listing(vo=None), rules(), accepted(), NOW)

    assert admit(listing(vo=None), rules(identifier=LIST), None, NOW).vo == VO


def test_appdb_lists_must_have_the_identifier_computed_from_the_vo(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    # Real values: the published identifier of fedcloud.egi.eu's list.
    fedcloud = {"identifier": ListId("76fdee70-8119-5d33-9f40-3c57e1c60df1"), "vo": "fedcloud.egi.eu"}

    admit(listing(**fedcloud), rules(vo="fedcloud.egi.eu", appdb_ids=True), None, NOW)
    with pytest.raises(IdentityMismatchError, match=r"AppDB's list for vo\.example\.org is"):
        admit(listing(), rules(appdb_ids=True), None, NOW)


def test_an_image_identifier_that_appdb_would_not_give_is_a_warning(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], image: Callable[..., Image]
) -> None:
    guid = "0d6bc1de-0000-4000-8000-000000000001"
    base = {"ad:base_mpuri": f"https://appdb.egi.eu/store/vm/image/{guid}:90/"}
    right = ImageId(str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list_image:{VO}:{guid}")))
    images = (
        image(identifier=right, raw=base),
        image(identifier=ImageId("wrong"), raw=base),
        image(identifier=ImageId("without"), raw={}),
        image(identifier=ImageId("odd"), raw={"ad:base_mpuri": 5}),
    )
    computed = ListId(str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list:{VO}")))

    trusted = admit(listing(identifier=computed, images=images), rules(appdb_ids=True), None, NOW)

    assert trusted.warnings == (
        "1 images have an identifier that does not follow from their ad:base_mpuri, wrong first",
    )


# --- when ---
def test_five_minutes_into_the_future_are_forgiven(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    admit(listing(created=NOW + timedelta(minutes=5)), rules(), None, NOW)

    with pytest.raises(NotYetValidError, match="created at 2026-06-01 12:05:01 UTC, in the future"):
        admit(listing(created=NOW + timedelta(minutes=5, seconds=1)), rules(), None, NOW)


def test_a_list_is_void_from_its_expiry_on(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules]
) -> None:
    admit(listing(expires=NOW + timedelta(seconds=1)), rules(), None, NOW)

    with pytest.raises(ExpiredListError, match="expired at 2026-06-01 12:00:00 UTC"):
        admit(listing(expires=NOW), rules(), None, NOW)


# --- in which order ---
@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("1.0", "1.0", 0),
        ("20150618211400", "20150618211401", -1),
        ("1.10", "1.9", 1),
        ("1-2,3/4", "1.2.3.4", 0),
        ("01", "1", 0),
        ("1", "1.0", -1),
        ("1.0", "1", 1),
        ("1.2-rc1", "1.3-rc1", -1),
        ("rc1", "rc1", 0),
        ("1-rc1", "1-rc2", None),
        ("1.0-rc1", "1.0", None),
        ("1.0", "1.0.", None),
        ("1", "latest", None),
        ("²", "2", None),
        ("1", "1.5.rc", None),
        ("9" * 64, "8" * 64, 1),
        ("9" * 65, "8" * 65, None),
    ],
)
def test_versions_compare_part_by_part(left: str, right: str, order: int | None) -> None:
    assert compare_versions(left, right) == order


def test_a_newer_version_is_admitted(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    admit(listing(version="20260601000000", digest=Digest("2" * 128)), rules(), accepted(), NOW)


def test_the_same_content_is_admitted_again(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    admit(listing(), rules(), accepted(), NOW)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("20260520092959", "is older than 20260520093000"),
        ("20260520093000", "was accepted before with other content"),
        ("latest", "cannot be ordered against 20260520093000"),
    ],
)
def test_a_version_that_does_not_rise_is_refused(
    listing: Callable[..., ImageList],
    rules: Callable[..., AdmissionRules],
    accepted: Callable[..., Accepted],
    version: str,
    text: str,
) -> None:
    with pytest.raises(RollbackError, match=f"{text}.*'imagesync list reset NAME --version'"):
        admit(listing(version=version, digest=Digest("2" * 128)), rules(), accepted(), NOW)


@pytest.mark.parametrize("lifted", [True, False])
def test_without_a_list_accepted_before_the_floor_is_lifted_only_by_the_operators_word(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], lifted: bool
) -> None:
    assert admit(listing(), rules(floor_lifted=lifted), None, NOW).floor_lifted is lifted


def test_a_word_from_before_the_first_acceptance_does_not_count_after_it(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    with pytest.raises(RollbackError):
        admit(listing(version="1", digest=Digest("2" * 128)), rules(floor_lifted=True), accepted(), NOW)


def test_a_lifted_floor_admits_an_older_version_and_says_so(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    trusted = admit(listing(version="1", digest=Digest("2" * 128)), rules(), accepted(version=None), NOW)

    assert trusted.floor_lifted


@pytest.mark.parametrize(
    ("changes", "lifted"),
    [
        ({"lifted": True}, True),
        ({"version": None}, True),
        ({}, False),
        ({"lifted": True, "list": ListId("another"), "pinned": False}, False),
    ],
)
def test_a_floor_stays_lifted_for_the_list_that_it_was_lifted_for(
    listing: Callable[..., ImageList],
    rules: Callable[..., AdmissionRules],
    accepted: Callable[..., Accepted],
    changes: Mapping[str, Any],
    lifted: bool,
) -> None:
    content = listing(version="20270101000000")

    assert admit(content, rules(), accepted(**changes), NOW).floor_lifted is lifted


def test_a_list_to_which_a_subscription_comes_back_keeps_its_floor(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    floor = Floor("10", Digest("1" * 128))
    back = rules(identifier=LIST, earlier={LIST: (Floor("2", None), floor), ListId("third"): (Floor("99", None),)})
    other = accepted(list=ListId("other"), version="1")
    changed = partial(listing, digest=Digest("2" * 128))

    for version, text in (
        ("9", "is older than 10, which was accepted before"),
        ("x", "cannot be ordered against 2, accepted before"),
        ("10", "was accepted before with other content"),
    ):
        with pytest.raises(RollbackError, match=f"version {version} {text}.*reset NAME --version"):
            admit(changed(version=version), back, other, NOW)
    assert admit(listing(version="10"), back, other, NOW)
    assert admit(changed(version="11"), back, other, NOW)
    assert admit(changed(version="9"), back, accepted(list=ListId("other"), version=None), NOW)
    assert admit(changed(version="9"), back, accepted(version="8"), NOW)


def test_of_a_list_of_which_no_digest_was_kept_the_same_version_comes_back(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    back = rules(identifier=LIST, earlier={LIST: (Floor("10", None),)})

    assert admit(listing(version="10"), back, accepted(list=ListId("other"), version="1"), NOW)


@pytest.mark.parametrize("version", ["1", None])
def test_what_was_begun_with_is_a_floor_beside_what_was_accepted(
    listing: Callable[..., ImageList],
    rules: Callable[..., AdmissionRules],
    accepted: Callable[..., Accepted],
    version: str | None,
) -> None:
    before = accepted(version=version)
    ahead = rules(begun={LIST: Floor("2026.6", Digest("3" * 128)), ListId("third"): Floor("9999", Digest("4" * 128))})

    for served, text in (
        ("2026.5", "is older than 2026.6, which was applied before"),
        ("2026.6", "was applied before with other content"),
        ("2026.x", "cannot be ordered against 2026.6, applied before"),
    ):
        with pytest.raises(RollbackError, match=f"version {served} {text}.*reset NAME --version"):
            admit(listing(version=served, digest=Digest("2" * 128)), ahead, before, NOW)
    assert admit(listing(version="2026.6", digest=Digest("3" * 128)), ahead, before, NOW)
    assert admit(listing(version="2026.7", digest=Digest("2" * 128)), ahead, before, NOW)


def test_not_even_the_accepted_version_comes_back_once_a_newer_one_was_begun_with(
    listing: Callable[..., ImageList], rules: Callable[..., AdmissionRules], accepted: Callable[..., Accepted]
) -> None:
    ahead = rules(begun={LIST: Floor("2", Digest("3" * 128))})

    with pytest.raises(RollbackError):
        admit(listing(version="1", digest=Digest("1" * 128)), ahead, accepted(version="1"), NOW)


def test_a_signer_is_checked_before_the_list_is_read(rules: Callable[..., AdmissionRules], signer: Signer) -> None:
    check_endorser(signer, rules())

    with pytest.raises(WrongEndorserError, match="no endorser of this subscription"):
        check_endorser(signer, rules(endorsers=(Identity("/CN=x", "/CN=y"),)))
