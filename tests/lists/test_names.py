from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from imagesync.errors import UntrustedSignerError
from imagesync.lists.names import comparable, normalise, render, renderings

OIDS = ("2.5.4.3", "2.5.4.10", "0.9.2342.19200300.100.1.1", "1.2.840.113549.1.9.1", "1.2.3.4")


def named(*pairs: tuple[str, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in pairs])


def test_renders_in_the_order_of_the_certificate_with_short_types() -> None:
    name = named(("0.9.2342.19200300.100.1.25", "EU"), ("2.5.4.10", "EGI.eu"), ("2.5.4.3", "appdb.egi.eu"))

    assert render(name) == "/DC=EU/O=EGI.eu/CN=appdb.egi.eu"


def test_renders_an_unknown_type_dotted_and_keeps_slashes_and_utf8() -> None:
    assert render(named(("1.2.3.4", "x"), ("2.5.4.3", "host/é"))) == "/1.2.3.4=x/CN=host/é"


def test_escapes_what_cannot_be_shown() -> None:
    assert render(named(("2.5.4.3", "a\nb\\c\u202e"))) == r"/CN=a\x0Ab\x5Cc\xE2\x80\xAE"


def test_refuses_several_attributes_in_one_rdn() -> None:
    rdn = x509.RelativeDistinguishedName([*named(("2.5.4.3", "a")).rdns[0], *named(("2.5.4.10", "b")).rdns[0]])

    with pytest.raises(UntrustedSignerError, match=r"several attributes in one RDN \("):
        render(x509.Name([rdn]))


@pytest.mark.parametrize("value", ["a/CN=b", "x/1.2.3=y", "/emailAddress=z"])
def test_refuses_a_value_that_reads_like_a_name(value: Any) -> None:
    with pytest.raises(UntrustedSignerError, match="reads like a name"):
        render(named(("2.5.4.10", value)))


def test_refuses_a_value_that_is_no_text() -> None:
    bits = x509.NameAttribute(x509.NameOID.X500_UNIQUE_IDENTIFIER, b"\x01", x509.name._ASN1Type.BitString)

    with pytest.raises(UntrustedSignerError, match="is no text"):
        render(x509.Name([bits]))


def test_refuses_an_empty_name() -> None:
    with pytest.raises(UntrustedSignerError, match="empty name"):
        render(x509.Name([]))


@pytest.mark.parametrize(
    "written",
    [
        "/O=Université/CN=host/a.b/emailAddress=a@b.c/UID=x1",
        r"/O=Universit\xC3\xA9/CN=host\/a.b/emailAddress=a@b.c/UID=x1",
        "/O=Université/CN=host/a.b/Email=a@b.c/USERID=x1",
        "  /O=Université/CN=host/a.b/E=a@b.c/userId=x1\n",
        "/2.5.4.10=Université/CN=host/a.b/1.2.840.113549.1.9.1=a@b.c/UID=x1",
    ],
)
def test_equivalent_renderings_become_one(written: str) -> None:
    assert normalise(written) == "/O=Université/CN=host/a.b/emailAddress=a@b.c/UID=x1"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("CN=a,O=b", "CN=a,O=b"),
        ("", ""),
        ("/no type", "/no type"),
        (r"/CN=a\b", r"/CN=a\x5Cb"),
        (r"/CN=a\\/O=b", r"/CN=a\x5C/O=b"),
        (r"/CN=\xFF", r"/CN=\x5CxFF"),
    ],
)
def test_other_texts_come_back_unharmed(written: str, canonical: str) -> None:
    assert normalise(written) == canonical


def test_an_escaped_slash_never_turns_into_another_rdn() -> None:
    assert normalise(r"/CN=a\/O=b") != normalise("/CN=a/O=b")
    assert normalise(r"/CN=a\x2FO=b") != normalise("/CN=a/O=b")


def test_case_is_significant() -> None:
    assert normalise("/CN=A") != normalise("/CN=a")


names = st.lists(
    st.tuples(st.sampled_from(OIDS), st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)),
    min_size=1,
    max_size=4,
)


def rendered(pairs: list[tuple[str, str]]) -> str | None:
    try:
        return render(named(*pairs))
    except UntrustedSignerError:
        return None


@given(names)
def test_a_rendered_name_is_its_own_canonical_form(pairs: list[tuple[str, str]]) -> None:
    text = rendered(pairs)

    # Spaces at the end of a whole text are trimmed when somebody wrote it down.
    assert text is None or normalise(text) == text.strip()


@given(names, names)
def test_two_names_never_render_alike(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    left, right = rendered(one), rendered(other)

    assert left is None or (left == right) == (one == other)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_other_spellings_are_offered_to_policy_files() -> None:
    assert renderings("/UID=u/emailAddress=m") == tuple(
        sorted({"/UID=u/emailAddress=m", "/UID=u/Email=m", "/UID=u/E=m", "/USERID=u/emailAddress=m"})
    )


SHORT = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}


@pytest.mark.parametrize(("dotted", "short"), SHORT.items())
def test_types_have_the_short_names_of_openssl(dotted: str, short: str) -> None:
    assert render(named((dotted, "XX"))) == normalise(f"/{dotted}=XX") == f"/{short}=XX"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("/EMAILADDRESS=a/uid=b/E=c/email=d/userId=e", "/emailAddress=a/UID=b/emailAddress=c/emailAddress=d/UID=e"),
        (r"/CN=\XC3\XA9\xC3\xA9", "/CN=éé"),
        (r"/CN=a\/CN=b", r"/CN=a\x5C/CN=b"),
        (r"/CN=a\\\/CN=b", r"/CN=a\x5C\x5C\x5C/CN=b"),
        ("/CN=\ud800", r"/CN=\xED\xA0\x80"),
        ("CN=a\nb\ud800", r"CN=a\x0Ab\xED\xA0\x80"),
    ],
)
def test_what_is_written_has_exactly_one_form(written: str, canonical: str) -> None:
    assert normalise(written) == canonical


def test_several_attributes_in_one_rdn_are_named() -> None:
    pair = [x509.NameAttribute(x509.ObjectIdentifier(oid), "x") for oid in ("2.5.4.3", "2.5.4.10")]

    with pytest.raises(UntrustedSignerError, match=r"in one RDN \((CN\+O|O\+CN)\)"):
        render(x509.Name([x509.RelativeDistinguishedName(pair)]))


def test_names_are_compared_as_rfc_5280_says() -> None:
    def typed(text: str, kind: Any) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.5.4.3"), text, kind)])

    usual = comparable(typed("A b", x509.name._ASN1Type.UTF8String))

    assert usual == (frozenset({("2.5.4.3", "a b")}),)
    assert comparable(typed("a  B ", x509.name._ASN1Type.PrintableString)) == usual
    assert comparable(typed("\uff41 b", x509.name._ASN1Type.UTF8String)) == usual
    assert comparable(named(("2.5.4.10", "A b"))) != usual
    assert comparable(named(("2.5.4.3", "Ab"))) != usual
    bits = x509.NameAttribute(x509.ObjectIdentifier("2.5.4.45"), b"A", x509.name._ASN1Type.BitString)
    assert comparable(x509.Name([bits])) == (frozenset({("2.5.4.45", b"A")}),)
