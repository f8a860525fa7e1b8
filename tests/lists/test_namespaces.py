import sys

import pytest

from imagesync.errors import TrustStoreUnusableError
from imagesync.lists.namespaces import parse_namespaces, parse_signing_policy

CA = "/DC=test/CN=CA"
EACL = """# a comment
 access_id_CA   X509    '/DC=test/CN=CA'
 pos_rights     globus  CA:sign
 cond_subjects  globus  {}
"""


@pytest.mark.parametrize(
    ("conditions", "subject", "allowed"),
    [
        ("""'"/DC=test/*"'""", "/DC=test/CN=a/b", True),
        ("""'"/DC=test/*"'""", "/DC=other/DC=test/CN=a", False),
        ("""'"/DC=x/*" "/DC=test/CN=h?st"'""", "/DC=test/CN=host", True),
        ("""'/DC=test/O=a b/*'""", "/DC=test/O=a b/CN=c", True),
        ('''"/DC=test/CN=*"''', "/DC=test/CN=x", True),
        ("""'"/DC=test/CN=a.b"'""", "/DC=test/CN=axb", False),
        ("""'"/DC=test/Email=*"'""", "/DC=test/emailAddress=a@b.c", True),
        ("""'""'""", "/DC=test/CN=a", False),
        ("""  '"/DC=test/*"  '""", "/DC=test/CN=a", True),
    ],
)
def test_a_signing_policy_permits_by_globs(conditions: str, subject: str, allowed: bool) -> None:
    rules = parse_signing_policy(EACL.format(conditions), "x.signing_policy")

    assert rules[CA].permit(subject) is allowed


def test_a_ca_may_stand_in_double_quotes() -> None:
    text = EACL.replace("'/DC=test/CN=CA'", '"/DC=test/CN=CA"').format("""'"/DC=test/*"'""")

    assert parse_signing_policy(text, "x.signing_policy")[CA].permit("/DC=test/CN=a")


@pytest.mark.parametrize("empty", ["''", '""'])
def test_a_condition_without_a_pattern_permits_nothing(empty: str) -> None:
    (pattern,) = parse_signing_policy(EACL.format(empty), "x.signing_policy")[CA].patterns

    assert pattern.pattern == ""


def test_blocks_for_the_same_ca_add_up() -> None:
    text = EACL.format("""'"/O=a/*"'""") + EACL.format("""'"/O=b/*"'""")

    rules = parse_signing_policy(text, "x.signing_policy")[CA]

    assert rules.permit("/O=a/CN=x")
    assert rules.permit("/O=b/CN=x")
    assert rules.file == "x.signing_policy"


def test_namespaces_permit_by_regular_expressions_that_match_the_whole_name() -> None:
    text = f"""# NAMESPACES-VERSION: 1.0
to issuer "{CA}" \\
   permit subject "/DC=test/O=(a|b)/.*"
TO Issuer SELF PERMIT Subject "/O=c/CN=d"
TO Issuer "/CN=other" PERMIT Subject ".*"
"""

    rules = parse_namespaces(text, "x.namespaces", CA)

    assert set(rules) == {CA, "/CN=other"}
    assert rules[CA].permit("/DC=test/O=b/CN=x")
    assert rules[CA].permit("/O=c/CN=d")
    assert not rules[CA].permit("/O=c/CN=d/CN=e")


@pytest.mark.parametrize(
    "text",
    [
        f'TO Issuer "{CA}" DENY Subject ".*"',
        f'TO Issuer "{CA}" PERMIT Subject "(".',
        f'TO Issuer "{CA}" PERMIT Subject "("',
        "rubbish",
        f'TO Issuer "{CA}" PERMIT Subject ".*" and more',
        '#NAMESPACES-VERSION: 1.1\nTO Issuer SELF PERMIT Subject ".*"',
        '  # namespaces-version: 10\r\nTO Issuer SELF PERMIT Subject ".*"',
        '# NAMESPACES-VERSION:\nTO Issuer SELF PERMIT Subject ".*"',
        '#NAMESPACES-VERSION: 1.0\nTO Issuer SELF PERMIT Subject ".*"\n#NAMESPACES-VERSION: 2.0',
    ],
)
def test_namespaces_that_are_not_understood_are_an_error(text: str) -> None:
    with pytest.raises(TrustStoreUnusableError, match=r"x\.namespaces"):
        parse_namespaces(text, "x.namespaces", CA)


@pytest.mark.parametrize(
    "text",
    [
        EACL.format("""'"/O=a/*" rubbish'"""),
        EACL.replace("pos_rights", "neg_rights").format("""'"/O=a/*"'"""),
        EACL.replace("CA:sign", "CA:other").format("""'"/O=a/*"'"""),
        "access_id_CA X509 '/CN=a'",
        "?" + EACL.replace("# a comment\n ", "").format("""'"/O=a/*"'"""),
        EACL.format("""'"/O=a/*"'""") + "?\n" + EACL.format("""'"/O=a/*"'"""),
    ],
)
def test_a_signing_policy_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(TrustStoreUnusableError, match="not understood"):
        parse_signing_policy(text, "x.signing_policy")


def test_another_version_of_the_format_is_named() -> None:
    with pytest.raises(TrustStoreUnusableError) as error:
        parse_namespaces(f"# NAMESPACES-VERSION: {'9' * 50}\n", "x.namespaces", CA)

    assert error.value.detail == f"it is of version '{'9' * 40}' of its format, not 1.0"


@pytest.mark.parametrize("line", ["#NAMESPACES-VERSION: 1.0", "\t# namespaces-version:1.0 \r", "# version 2.0"])
def test_namespaces_of_the_one_version_are_read(line: str) -> None:
    assert set(parse_namespaces(f'{line}\nTO Issuer SELF PERMIT Subject ".*"', "x.namespaces", CA)) == {CA}


@pytest.mark.parametrize("begin", ["x{99999999999}", "("])
def test_a_pattern_that_cannot_be_compiled_is_an_error(begin: str) -> None:
    pattern = begin * (sys.getrecursionlimit() + 1 if begin == "(" else 1)
    with pytest.raises(TrustStoreUnusableError, match=r"x\.namespaces: .* is no pattern") as error:
        parse_namespaces(f'TO Issuer SELF PERMIT Subject "{pattern}"', "x.namespaces", CA)

    assert len(str(error.value)) < 300
