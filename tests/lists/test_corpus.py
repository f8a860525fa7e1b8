"""The corpus: each message gets its verdict, and each difference to other programs has a reason."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from imagesync.errors import TrustError
from imagesync.lists.anchors import Anchors, load_anchors
from imagesync.lists.smime import SignaturePolicy, verify

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "fixtures" / "corpus"), str(ROOT / "fixtures" / "lists"), str(Path(__file__).parent)]


GROUPS = ("envelope", "signature", "certificate", "path", "revocation", "subject")


@pytest.fixture(scope="session")
def made() -> Any:
    from corpus import corpus

    return corpus()


@pytest.fixture(scope="session")
def cases(made: Any) -> Any:
    return made[1]


@pytest.fixture(scope="session")
def directory(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "anchors"
    made[0].write(path)
    return path


@pytest.fixture(scope="module")
def ours(directory: Path, now: datetime) -> Callable[[Any], tuple[str, str]]:
    """Return a function that gives the kind of refusal and its text; both are empty for an accepted message."""
    anchors = load_anchors(directory)
    return lambda case: judged(case, anchors, now)


def judged(case: Any, anchors: Anchors, now: datetime) -> tuple[str, str]:
    try:
        verify(case.message, anchors, SignaturePolicy(pinned=case.pinned), now)
    except TrustError as error:
        return error.reason, error.detail
    return "", ""


def test_there_are_enough_messages_of_both_kinds(cases: Any) -> None:
    assert len(cases) >= 400
    assert sum(not case.refusal for case in cases) >= 100
    assert {case.name.split("/")[0] for case in cases} == set(GROUPS)


@pytest.mark.parametrize("part", range(4))  # small ones are quicker to see a change of the verifier
@pytest.mark.parametrize("group", GROUPS)
def test_each_message_gets_its_verdict_for_its_reason(
    cases: Any, ours: Callable[[Any], tuple[str, str]], group: str, part: int
) -> None:
    chosen = [case for case in cases if case.name.startswith(f"{group}/")][part::4]
    wrong = {
        case.name: (case.refusal, case.says, verdict)
        for case in chosen
        if (verdict := ours(case))[0] != case.refusal or case.says not in verdict[1]
    }

    assert wrong == {}


def test_openssl_at_its_strictest_says_what_each_case_states(cases: Any, directory: Path, now: datetime) -> None:
    import opinions
    import page

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda case: opinions.openssl_accepts(case.message, directory, now), cases))

    assert [c.name for c, other in zip(cases, found, strict=True) if other != page.openssl_accepts(c)] == []


def test_openssl_with_cades_says_the_same_of_what_a_signature_is_bound_to(
    cases: Any, directory: Path, now: datetime
) -> None:
    import opinions

    bound = [case for case in cases if case.name.startswith("signature/bound-")]
    judged = {case.name: opinions.openssl_accepts(case.message, directory, now, "-cades") for case in bound}

    differing = {case.name for case in bound if judged[case.name] == bool(case.refusal)}
    assert len(bound) > 20
    assert differing == {"signature/bound-v2-by-md5", "signature/bound-v2-by-sha1"}  # which OpenSSL still takes


def test_the_third_opinion_says_of_each_path_what_the_case_states(cases: Any, directory: Path, now: datetime) -> None:
    import opinions
    import page

    third = opinions.ThirdOpinion(directory, now)
    asked = [case for case in cases if page.third_accepts(case) is not None]

    assert len(asked) > 250
    assert [c.name for c in asked if third.accepts_path(c.message) != page.third_accepts(c)] == []


def test_the_page_of_verdicts_is_the_current_one(cases: Any) -> None:
    import page

    assert page.PAGE.read_text(encoding="utf-8") == page.page(cases), "run python fixtures/corpus/page.py"


def test_the_messages_are_always_the_same_bytes(cases: Any) -> None:
    from corpus import corpus

    assert {case.name: case.message for case in corpus()[1]} == {case.name: case.message for case in cases}


def test_a_difference_is_stated_in_words(cases: Any) -> None:
    def stated() -> Iterator[str]:
        for case in cases:
            yield from filter(None, (case.openssl, case.third))

    assert all(len(reason.split()) > 2 for reason in stated())


@pytest.mark.parametrize("name", ["attributes-as-content", "no-attributes", "attributes-empty"])
def test_signed_attributes_are_never_confused_with_content(
    cases: Any, ours: Callable[[Any], tuple[str, str]], name: str
) -> None:
    case = next(case for case in cases if case.name == f"signature/{name}")

    assert ours(case)[0] == case.refusal != ""


@pytest.mark.parametrize(
    "name",
    [
        *("certificate-of-somebody-else", "certificate-with-the-same-number", "both-certificates-of-one-number"),
        *("names-the-endorser", "signature-of-another-list", "named-with-serial-plus-one", "bound-v2-to-another"),
    ],
)
def test_no_signer_and_no_certificate_stands_in_for_another(
    cases: Any, ours: Callable[[Any], tuple[str, str]], name: str
) -> None:
    case = next(case for case in cases if case.name == f"signature/{name}")

    kind, text = ours(case)

    assert kind == "bad-signature"
    assert case.says in text


@pytest.mark.parametrize(
    "name",
    [
        "envelope/carriage-return-in-epilogue",
        "envelope/delimiter-behind-carriage-return",
        "envelope/delimiter-and-vertical-tab",
        "envelope/delimiter-and-form-feed",
        "envelope/nul-in-preamble",
        "certificate/alternative-name-empty",
        "certificate/authority-identifier-critical",
        "certificate/authority-identifier-with-other-serial",
        "certificate/subject-identifier-critical",
        "certificate/wrong-authority-identifier",
        "path/ca-for-code",
        "path/constraints-root-permitted-directory",
        "path/rollover-without-the-old-root",
        "revocation/entry-of-another-with-critical-issuer",
        "revocation/entry-of-another-with-critical-unknown",
        "revocation/with-another-authority-identifier",
        "subject/subordinate-broken-carried",
    ],
)
def test_a_gap_that_the_corpus_showed_stays_closed(
    cases: Any, ours: Callable[[Any], tuple[str, str]], name: str
) -> None:
    case = next(case for case in cases if case.name == name)

    kind, text = ours(case)

    assert kind == case.refusal != ""
    assert case.says in text
