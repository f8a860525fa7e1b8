from __future__ import annotations

import json
from typing import Any

import yaml
from docutils.core import publish_doctree

from imagesync.config.reference import INITIAL, json_schema, option_tables


def sections() -> dict[str, dict[str, Any]]:
    schema = json_schema()
    return {"Config": schema, **schema["$defs"]}


def test_every_option_is_described() -> None:
    missing = [
        f"{section}.{name}"
        for section, content in sections().items()
        for name, option in content["properties"].items()
        if "$ref" not in option and not option.get("description")
    ]
    assert missing == []


def test_every_section_is_described() -> None:
    assert [name for name, content in sections().items() if not content.get("description")] == []


def test_the_tables_name_every_option_and_where_it_stands() -> None:
    text = option_tables()
    for content in sections().values():
        for name in content["properties"]:
            assert f"- ``{name}``" in text
    assert "``subscriptions[].select.include[]``" in text
    assert "     - ``3d``\n     - How long images stay" in text
    assert "     - ``16MiB``\n     - The largest signed list." in text


def test_the_tables_are_restructured_text_without_faults() -> None:
    document = publish_doctree(option_tables(), settings_overrides={"report_level": 1, "halt_level": 2})
    assert document.astext()


def test_the_schema_is_json_and_knows_what_may_be_left_out() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert "required" not in schema
    assert set(schema["$defs"]["Subscription"]["required"]) == {"name", "vo", "url", "endorsers"}
    assert schema["properties"]["state"]["anyOf"][1] == {"type": "string"}


def test_the_initial_configuration_is_valid(files: Any) -> None:
    files.write(INITIAL)
    assert files.problems() == []


def test_the_commented_options_of_the_initial_configuration_are_valid_too(files: Any) -> None:
    lines = [line.replace("# ", "", 1) if ": " in line and "# " in line[:7] else line for line in INITIAL.splitlines()]
    text = "\n".join(line for line in lines if not line.startswith(("imagesync:", "Every", "Where")))
    assert "token" in yaml.safe_load(text)["subscriptions"][0]
    files.write(text)
    assert files.problems() == []
