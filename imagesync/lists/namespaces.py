"""Which subjects a CA may sign: ``.signing_policy`` (Globus EACL) and ``.namespaces`` (IGTF) files. Pure.

Formats: list-format reference of the IGTF distribution; a policy that cannot be understood completely is an error,
never a policy that allows more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imagesync.errors import TrustStoreUnusableError
from imagesync.lists.names import normalise, renderings

_EACL = re.compile(
    r"""access_id_CA \s+ X509 \s+ (?: '(?P<quoted>[^'\n]*)' | "(?P<double>[^"\n]*)" ) \s+
        pos_rights \s+ globus \s+ CA:sign \s+
        cond_subjects \s+ globus \s+ (?: '(?P<patterns>[^'\n]*)' | "(?P<pattern>[^"\n]*)" )""",
    re.VERBOSE | re.IGNORECASE,
)
_NAMESPACE = re.compile(
    r'TO \s+ Issuer \s+ (?: "(?P<issuer>[^"\n]*)" | (?P<self>SELF) ) \s+ PERMIT \s+ Subject \s+ "(?P<subject>[^"\n]*)"',
    re.VERBOSE | re.IGNORECASE,
)
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_VERSION = re.compile(r"^[ \t]*#[ \t]*NAMESPACES-VERSION:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class SubjectRules:
    """The subjects that one CA may sign, as patterns for a whole canonical name; ``file`` says where they stand."""

    file: str
    patterns: tuple[re.Pattern[str], ...]

    def permit(self, subject: str) -> bool:
        """Return whether the canonical name, in one of its renderings, matches a pattern."""
        return any(pattern.fullmatch(text) for text in renderings(subject) for pattern in self.patterns)


def parse_signing_policy(text: str, file: str) -> Mapping[str, SubjectRules]:
    """Return the rules in a ``.signing_policy`` file by the CA's canonical name.

    Raises:
        TrustStoreUnusableError: Something in the file is not understood.
    """

    def collect(match: re.Match[str]) -> tuple[str, list[str]]:
        return _either(match, "quoted", "double"), _globs(_either(match, "patterns", "pattern"), file)

    return _parse(_COMMENT.sub("", text), file, _EACL, collect)


def parse_namespaces(text: str, file: str, own_name: str) -> Mapping[str, SubjectRules]:
    """Return the rules in a ``.namespaces`` file by the CA's canonical name; ``SELF`` stands for ``own_name``.

    Raises:
        TrustStoreUnusableError: Something in the file is not understood; ``DENY`` rules are not, nor is another
            version of the format than 1.0.
    """
    for version in _VERSION.findall(text):
        if version != "1.0":
            raise TrustStoreUnusableError(file, f"it is of version {version[:40]!r} of its format, not 1.0")

    def collect(match: re.Match[str]) -> tuple[str, list[str]]:
        return own_name if match["self"] else match["issuer"], [match["subject"]]

    joined = re.sub(r"\\[ \t]*\r?\n", " ", _COMMENT.sub("", text))
    return _parse(joined, file, _NAMESPACE, collect)


def _parse(
    text: str, file: str, statement: re.Pattern[str], collect: Callable[[re.Match[str]], tuple[str, list[str]]]
) -> Mapping[str, SubjectRules]:
    """Read statements one after the other; whatever stands between them must be white space."""
    found: dict[str, list[re.Pattern[str]]] = {}
    position = 0
    for match in statement.finditer(text):
        _refuse_rest(text[position : match.start()], file)
        position = match.end()
        issuer, patterns = collect(match)
        found.setdefault(normalise(issuer), []).extend(_compile(pattern, file) for pattern in patterns)
    _refuse_rest(text[position:], file)
    return {issuer: SubjectRules(file, tuple(patterns)) for issuer, patterns in found.items()}


def _refuse_rest(text: str, file: str) -> None:
    if rest := text.strip():
        raise TrustStoreUnusableError(file, f"not understood: {rest.splitlines()[0][:80]!r}")


def _either(match: re.Match[str], *groups: str) -> str:
    return next(match[group] for group in groups if match[group] is not None)


def _globs(text: str, file: str) -> list[str]:
    """Turn ``"/DC=a/*" "/DC=b/*"`` (or one pattern without quotes) into regular expressions."""
    globs = [text.strip()]
    if text.lstrip().startswith('"'):
        _refuse_rest(_QUOTED.sub("", text), file)
        globs = _QUOTED.findall(text)
    return [re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in globs]


def _compile(pattern: str, file: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise TrustStoreUnusableError(file, f"{pattern[:80]!r} is no pattern: {error}") from error
