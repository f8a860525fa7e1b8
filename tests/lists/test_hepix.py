import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync.errors import ListFormatError
from imagesync.lists.hepix import MAX_WARNINGS, parse
from imagesync.model import BrokenImage, Identity, Image, SignedPayload, Signer


@pytest.fixture
def payload(signer: Signer) -> Callable[..., SignedPayload]:
    def make(content: bytes, **changes: Any) -> SignedPayload:
        data = json.dumps({"hv:imagelist": content}).encode()
        return SignedPayload(data, data, signer, None, **changes)

    return make


def entry(**changes: Any) -> dict[str, Any]:
    values = {
        "dc:identifier": "image-1",
        "dc:title": "Image",
        "hv:uri": "https://images.example.org/1.qcow2",
        "hv:version": "1.0",
        "hv:size": "1000",
        "sl:checksum:sha512": "AB" * 64,
    } | changes
    return {"hv:image": {key: value for key, value in values.items() if value is not None}}


def content(*images: Any, **changes: Any) -> dict[str, Any]:
    values = {
        "dc:identifier": "list-1",
        "dc:date:created": "2026-05-20T09:30:00Z",
        "dc:date:expires": "2499-12-31T22:00:00Z",
        "hv:version": "1",
        "hv:endorser": {"hv:x509": {"hv:dn": "/O=x/Email=a@b.c", "hv:ca": "/CN=ca"}},
        "hv:images": list(images),
    } | changes
    return {key: value for key, value in values.items() if value is not None}


@pytest.fixture
def only(payload: Callable[..., SignedPayload]) -> Callable[..., Image | BrokenImage]:
    """Return a function that parses a list with one entry and returns what became of it."""

    def make(**changes: Any) -> Image | BrokenImage:
        found = parse(payload(content(entry(**changes))))
        return (*found.images, *found.broken)[0]

    return make


def test_a_list_with_only_the_required_keys(payload: Callable[..., SignedPayload], signer: Signer) -> None:
    signed = payload(content(), warnings=("a finding",))

    found = parse(signed)

    assert (found.identifier, found.version, found.vo, found.title, found.uri) == ("list-1", "1", None, "", "")
    assert found.created == datetime(2026, 5, 20, 9, 30, tzinfo=UTC)
    assert found.expires == datetime(2499, 12, 31, 22, tzinfo=UTC)
    assert found.endorser == Identity("/O=x/emailAddress=a@b.c", "/CN=ca")
    assert found.signer == signer
    assert found.digest == hashlib.sha512(signed.json).hexdigest()
    assert found.warnings == ("a finding",)


@pytest.mark.parametrize("key", ["hv:version", "ad:vo", "dc:date:created", "dc:identifier"])
def test_what_is_compared_has_a_bounded_length(payload: Callable[..., SignedPayload], key: str) -> None:
    if key in {"hv:version", "ad:vo"}:
        parse(payload(content(**{key: "1" * 4096})))
    with pytest.raises(ListFormatError) as error:
        parse(payload(content(**{key: "1" * 4097})))

    assert error.value.detail == f"hv:imagelist.{key}: it has more than 4096 characters"


@pytest.mark.parametrize("key", ["hv:dn", "hv:ca"])
def test_the_names_of_an_endorser_have_a_bounded_length(payload: Callable[..., SignedPayload], key: str) -> None:
    def endorser(length: int) -> dict[str, object]:
        return {"hv:endorser": {"hv:x509": {"hv:dn": "/CN=a", "hv:ca": "/CN=b"} | {key: f"/CN={'a' * (length - 4)}"}}}

    parse(payload(content(**endorser(4096))))
    with pytest.raises(ListFormatError) as error:
        parse(payload(content(**endorser(4097))))

    assert error.value.detail == f"hv:imagelist.hv:endorser.hv:x509.{key}: it has more than 4096 characters"


def test_an_image_keeps_every_key_as_published(only: Callable[..., Any]) -> None:
    image = only(**{"ad:new": {"deep": [1]}, "hv:hypervisor": "KVM"})

    assert isinstance(image, Image)
    assert image.raw["ad:new"] == {"deep": [1]}
    assert image.raw["hv:size"] == "1000"
    assert image.sha512 == "ab" * 64


def test_an_image_with_only_the_required_keys(only: Callable[..., Any]) -> None:
    image = only(**{"dc:title": None})

    assert isinstance(image, Image)
    assert (image.title, image.mpuri, image.architecture, image.expires) == ("", "", "", None)
    assert (image.size, image.ram_min, image.cores_min) == (1000, 0, 0)


def test_the_distribution_counts_over_the_family_of_the_system(only: Callable[..., Any]) -> None:
    assert only(**{"sl:os": "Linux"}).os_name == "Linux"
    assert only(**{"sl:os": "Linux", "sl:osname": "CentOS"}).os_name == "CentOS"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-10-26T12:41:44+02:00", datetime(2016, 10, 26, 10, 41, 44, tzinfo=UTC)),
        ("2016-10-26T12:41:44.5-0130", datetime(2016, 10, 26, 14, 11, 44, 500000, tzinfo=UTC)),
        ("2499-12-31T22:00:00Z", datetime(2499, 12, 31, 22, tzinfo=UTC)),
    ],
)
def test_dates_are_aware_and_in_utc(only: Callable[..., Any], text: str, expected: datetime) -> None:
    assert only(**{"dc:date:expires": text}).expires == expected


@pytest.mark.parametrize(
    ("raw", "mebibytes"),
    [
        (0, 0),
        ("", 0),
        (2, 2048),
        ("64", 65_536),
        (65, 65),
        ("512", 512),
        (65_536, 65_536),
        (3_145_728, 3072),
        (6_000_000, 5860),
        (67_108_864, 64),
        ("536870912", 512),
        (34_359_738_368, 32_768),
        (10**18, 131_072),
    ],
)
def test_ram_is_in_mebibytes_whatever_the_unit_was(only: Callable[..., Any], raw: Any, mebibytes: int) -> None:
    assert only(**{"hv:ram_minimum": raw}).ram_min == mebibytes


@given(st.integers(0, 1 << 60))
def test_ram_is_always_what_a_machine_can_have(number: int) -> None:
    from imagesync.lists.hepix import _ram

    assert 0 <= _ram(number) <= 131_072


@pytest.mark.parametrize(("raw", "cores"), [("4", 4), (2, 2), (None, 0), (10**6, 1024)])
def test_cores_are_a_count(only: Callable[..., Any], raw: Any, cores: int) -> None:
    assert only(**{"hv:core_minimum": raw}).cores_min == cores


@pytest.mark.parametrize("raw", ["2 GB", -1, 1.5, True])
def test_a_hint_that_is_no_number_is_ignored_with_a_warning(payload: Callable[..., SignedPayload], raw: Any) -> None:
    found = parse(payload(content(entry(**{"hv:core_minimum": raw}))))

    assert found.images[0].cores_min == 0
    assert found.warnings == (
        f"hv:imagelist.hv:images[0].hv:image.hv:core_minimum: {str(raw)!r} is no number and is ignored",
    )


def test_warnings_are_bounded(payload: Callable[..., SignedPayload]) -> None:
    images = [entry(**{"dc:identifier": f"i{n}", "hv:ram_minimum": "much"}) for n in range(MAX_WARNINGS + 5)]

    found = parse(payload(content(*images)))

    assert len(found.warnings) == MAX_WARNINGS + 1
    assert found.warnings[-1] == "and 5 more warnings"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dc:identifier": None}, "dc:identifier: it is missing or empty"),
        ({"dc:identifier": "a b"}, "dc:identifier: 'a b' is no identifier"),
        ({"dc:identifier": ["x"]}, "dc:identifier: an array where a string is needed"),
        ({"dc:title": 5}, "dc:title: a number where a string is needed"),
        ({"hv:version": ""}, "hv:version: it is missing or empty"),
        ({"hv:uri": ""}, "hv:uri: it is missing or empty"),
        ({"hv:uri": "file:///etc/passwd"}, "hv:uri: 'file:///etc/passwd' is no http or https URL"),
        ({"hv:uri": "https://a b"}, "hv:uri: 'https://a b' is no http or https URL"),
        ({"sl:checksum:sha512": "00"}, "sl:checksum:sha512: '00' is no SHA-512 in hexadecimal digits"),
        ({"hv:size": None}, "hv:size: null or nothing where a whole number of bytes is needed"),
        ({"hv:size": True}, "hv:size: a boolean where a whole number of bytes is needed"),
        ({"hv:size": 1.0}, "hv:size: a number where a whole number of bytes is needed"),
        ({"hv:size": "1e3"}, "hv:size: a string where a whole number of bytes is needed"),
        ({"hv:size": "\u0661"}, "hv:size: a string where a whole number of bytes is needed"),
        ({"hv:size": "0"}, "hv:size: 0 is no size of an image"),
        ({"hv:size": 1 << 51}, "hv:size: 2251799813685248 is no size of an image"),
        ({"dc:date:expires": "tomorrow"}, "dc:date:expires: 'tomorrow' is no date like"),
        ({"dc:date:expires": "2030-02-30T00:00:00Z"}, "'2030-02-30T00:00:00Z' is a date that does not exist"),
        ({"dc:date:expires": 5}, "dc:date:expires: a number where a string is needed"),
        ({"hv:ram_minimum": {}}, "hv:ram_minimum: an object where a number is needed"),
    ],
)
def test_a_broken_image_is_kept_with_the_path_of_its_fault(
    only: Callable[..., Any], changes: dict[str, Any], reason: str
) -> None:
    image = only(**changes)

    assert isinstance(image, BrokenImage)
    assert image.reason.startswith("hv:imagelist.hv:images[0].hv:image.")
    assert reason in image.reason
    readable = isinstance(changes.get("dc:identifier", "image-1"), str) and "dc:identifier" not in changes
    assert image.identifier == ("image-1" if readable else None)
    assert image.title == ("" if "dc:title" in changes else "Image")


@pytest.mark.parametrize("wrapped", [None, 5, [], {}, {"hv:image": []}, {"dc:identifier": "image-1"}])
def test_an_entry_without_an_image_is_broken_and_could_be_any(
    payload: Callable[..., SignedPayload], wrapped: Any
) -> None:
    (broken,) = parse(payload(content(wrapped))).broken

    assert broken.identifier is None
    assert "hv:images[0]: no object with an object 'hv:image'" in broken.reason


@pytest.mark.parametrize("other", [{"hv:version": "2"}, {"hv:size": "x"}])
def test_two_entries_for_one_image_refuse_the_list(
    payload: Callable[..., SignedPayload], other: dict[str, Any]
) -> None:
    with pytest.raises(ListFormatError, match="two entries have the identifier image-1"):
        parse(payload(content(entry(), entry(**other))))


def test_several_unreadable_identifiers_do_not_refuse_the_list(payload: Callable[..., SignedPayload]) -> None:
    assert len(parse(payload(content({}, {}, entry()))).broken) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dc:identifier": None}, r"hv:imagelist\.dc:identifier: null or nothing"),
        ({"dc:identifier": "a/b"}, r"hv:imagelist\.dc:identifier: 'a/b' is no identifier"),
        ({"hv:version": ""}, r"hv:imagelist\.hv:version: it is empty"),
        ({"hv:uri": {}}, r"hv:imagelist\.hv:uri: an object where a string"),
        ({"dc:date:created": "2026-05-20"}, r"hv:imagelist\.dc:date:created: '2026-05-20' is no date"),
        ({"dc:date:expires": "9999-12-31T23:59:59-01:00"}, "is a date that does not exist"),
        ({"hv:endorser": []}, r"hv:imagelist\.hv:endorser: an array where an object"),
        ({"hv:endorser": {"hv:x509": {"hv:dn": "/CN=a", "hv:ca": 1}}}, r"hv:x509\.hv:ca: a number where"),
        ({"hv:images": None}, r"hv:imagelist\.hv:images: null or nothing where an array"),
    ],
)
def test_what_is_wrong_with_the_list_refuses_it_with_the_path(
    payload: Callable[..., SignedPayload], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ListFormatError, match=text):
        parse(payload(content(**changes)))


@pytest.mark.parametrize("document", [b"5", b"[]", b"null", b'{"hv:images": []}', b'{"hv:imagelist": 1}'])
def test_json_that_is_no_image_list_is_refused(signer: Signer, document: bytes) -> None:
    with pytest.raises(ListFormatError):
        parse(SignedPayload(document, document, signer, None))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = [*entry()["hv:image"], "dc:date:expires", "hv:ram_minimum", "hv:core_minimum", "sl:os", "ad:mpuri"]


@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4))
def test_whatever_an_entry_holds_it_is_an_image_or_broken(changes: dict[str, Any]) -> None:
    from imagesync.model import Signer

    signer = Signer(Identity("/CN=a", "/CN=b"), datetime(2030, 1, 1, tzinfo=UTC), "")
    data = json.dumps({"hv:imagelist": content({"hv:image": entry()["hv:image"] | changes})}).encode()
    try:
        found = parse(SignedPayload(data, data, signer, None))
    except ListFormatError:
        return  # not strict JSON: NaN, lone surrogates, long numbers

    assert len(found.images) + len(found.broken) == 1


def test_a_list_has_as_many_images_as_the_limit(payload: Callable[..., SignedPayload]) -> None:
    assert len(parse(payload(content(*[0] * 20_000))).broken) == 20_000
    with pytest.raises(ListFormatError, match=r"hv:images: more than 20000 entries"):
        parse(payload(content(*[0] * 20_001)))
