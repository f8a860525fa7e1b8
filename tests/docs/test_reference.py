"""What the documentation says about errors, commands and configuration keys is complete."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from imagesync import errors
from imagesync.cli.context import INTERRUPTED
from imagesync.cli.main import cli
from imagesync.images.faults import Fault
from imagesync.plan.values import Cause, Kind
from imagesync.run.exits import SEVERITY, Exit
from imagesync.run.notice import Matter

PARTS = ("Means", "By itself", "To do")


def _error_classes() -> list[type[errors.ImagesyncError]]:
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.ImagesyncError)]
    return [cls for cls in found if cls is not errors.ImagesyncError]


def _reason(cls: type[errors.ImagesyncError]) -> str:
    return cls.__new__(cls).reason


@pytest.fixture(scope="module")
def runbook(root: Path) -> dict[str, str]:
    """Return the entries of the runbook by their heading."""
    text = (root / "docs" / "runbook.rst").read_text(encoding="utf-8")
    pieces = re.split(r"^([a-z-]+)\n~+\n", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


@pytest.fixture(scope="module")
def reference(root: Path) -> ModuleType:
    """Return the Sphinx extension that renders the reference pages."""
    spec = importlib.util.spec_from_file_location("imagesync_reference", root / "docs/_ext/imagesync_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cls", _error_classes(), ids=_reason)
def test_the_runbook_says_what_an_error_means_and_what_to_do(runbook: dict[str, str], cls: type) -> None:
    entry = runbook[_reason(cls)]

    assert [part for part in PARTS if not re.search(rf"^:{part}: \S", entry, flags=re.MULTILINE)] == []


def test_the_runbook_has_no_entry_without_an_error(runbook: dict[str, str]) -> None:
    assert set(runbook) == {"clock", *map(str, Matter), *(_reason(cls) for cls in _error_classes())}


@pytest.mark.parametrize("matter", list(Matter))
def test_the_runbook_says_what_a_notice_means_and_what_to_do(runbook: dict[str, str], matter: Matter) -> None:
    assert [part for part in PARTS if not re.search(rf"^:{part}: \S", runbook[matter], flags=re.MULTILINE)] == []


@pytest.mark.parametrize(
    "command",
    ["sync", "plan", "status", "why", "probe", "revoke", "pause", "resume", "list verify", "list show", "list make", "list sign", "list reset", "state upgrade", "config check", "config show",
     "config schema", "config init", "bundle export", "image inspect", "image boot", "backends", "prune", "demo"],
)  # fmt: skip
def test_the_command_reference_has_a_command(reference: ModuleType, command: str) -> None:
    assert f"\nimagesync {command}\n---" in reference.command_reference()


@pytest.mark.parametrize("key", ["instance", "cache", "anchors", "endorsers", "formats", "delete_after", "min_images"])
def test_the_configuration_reference_has_a_key(reference: ModuleType, key: str) -> None:
    assert key in reference.option_reference()


@pytest.mark.parametrize("fault", list(Fault))
def test_the_page_of_refusals_has_a_reason_and_why(reference: ModuleType, fault: Fault) -> None:
    table = reference.refusal_reference()

    assert f"   * - ``{fault.value}``\n     - {fault.text[0].upper()}{fault.text[1:]} (``" in table
    assert f"\n     - {fault.why}\n" in table
    assert fault.why.endswith(".")


def test_the_page_of_refusals_is_made_from_the_code(root: Path) -> None:
    assert "\n.. imagesync-refusals::\n" in (root / "docs" / "refusals.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize("cause", list(Cause))
def test_the_safety_model_explains_a_reason(root: Path, cause: Cause) -> None:
    assert f"   * - ``{cause.value}``\n     - " in (root / "docs" / "safety.rst").read_text(encoding="utf-8")


def test_the_safety_model_gives_each_reason_decisions_that_exist(decisions: dict[str, set[str]]) -> None:
    assert set(decisions) == {cause.value for cause in Cause}
    assert [word for word, kinds in decisions.items() if not kinds or kinds - {kind.value for kind in Kind}] == []


def test_the_safety_model_lists_every_reason_that_can_remove_an_image(
    root: Path, decisions: dict[str, set[str]]
) -> None:
    text = (root / "docs" / "safety.rst").read_text(encoding="utf-8")
    table = text[text.index("What can remove an image") : text.index("What cannot remove an image")]
    listed = set(re.findall(r"\(``([a-z-]+)``\)$", table, flags=re.MULTILINE))

    removing = {word for word, kinds in decisions.items() if kinds & {"retire", "delete"}}
    # Deletion after the grace, and what an operator prunes, have sections of their own.
    assert listed == removing - {"grace-over", "unsubscribed"}


def test_the_safety_model_has_every_reason_for_which_a_list_is_not_used(root: Path) -> None:
    text = (root / "docs" / "safety.rst").read_text(encoding="utf-8")
    table = text[text.index("Why a list is not used") : text.index("Why an image is there")]
    words = dict(re.findall(r"^   \* - ``([a-z-]+)``\n     - ([a-z]+)\n     - \S", table, flags=re.MULTILINE))
    kinds = [cls for cls in _error_classes() if issubclass(cls, (errors.SourceError, errors.TrustError))]

    refused = {_reason(cls) for cls in kinds if issubclass(cls, errors.TrustError)} | {"too-large"}
    expected = {_reason(cls): "refused" if _reason(cls) in refused else "unavailable" for cls in kinds}
    assert words == expected | {"config": "unavailable"}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_concepts_explain_a_decision(root: Path, kind: Kind) -> None:
    assert f"   * - {kind.value}\n     - " in (root / "docs" / "concepts.rst").read_text(encoding="utf-8")


def test_readme_and_concepts_agree_on_the_exit_codes(root: Path) -> None:
    readme = re.findall(r"^(\d+) +\S", (root / "README.rst").read_text(encoding="utf-8"), flags=re.MULTILINE)
    concepts = re.findall(
        r"^   \* - (\d+)$", (root / "docs/concepts.rst").read_text(encoding="utf-8"), flags=re.MULTILINE
    )

    assert readme == concepts == [*map(str, sorted(Exit)), str(INTERRUPTED)]


@pytest.mark.parametrize("document", ["README.rst", "docs/concepts.rst"])
def test_a_document_has_the_order_of_the_exit_codes(root: Path, document: str) -> None:
    order = ", ".join(str(int(code)) for code in SEVERITY if code is not Exit.DONE)

    assert f"When several apply, the first of {order} is reported." in (root / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("variable", ["IMAGESYNC_CONFIG", "IMAGESYNC_LOG_LEVEL"])
def test_the_command_reference_has_an_environment_variable(root: Path, variable: str) -> None:
    assert variable in [parameter.envvar for parameter in cli.params]
    assert f"``{variable}``\n   " in (root / "docs" / "commands.rst").read_text(encoding="utf-8")


def test_every_option_of_glance_says_what_it_is() -> None:
    from imagesync_glance.settings import Settings

    from imagesync.config.reference import tables

    schema = Settings.model_json_schema()
    sections = [schema, *schema["$defs"].values()]

    assert all(option.get("description") for section in sections for option in section["properties"].values())
    assert all(f"``{key}``" in tables(schema, "Glance") for section in sections for key in section["properties"])
