from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from imagesync.run.settings import Scope
from imagesync.run.wiring import task

Problems = Callable[..., list[str]]


def of_target(problems: Problems, more: str) -> str:
    return " ".join(problems(old="backend: directory", new=f"backend: directory, {more}"))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{titel}", "has a field {titel}: write one of {title}"),
        ("{title.__class__}", "has a field {title.__class__}"),
        ("{title!r}", "has a field {title}"),
        ("{title:>999999999}", "has a field {title}"),
        ("{}", "has a field {}"),
        ("{title", "is no template of names"),
        (" ", "is no template of names"),
    ],
)
def test_a_template_of_names_takes_plain_fields_of_images(problems: Problems, template: str, why: str) -> None:
    assert why in of_target(problems, f"image_name: '{template}'")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("hw_firmware_type: efi", "Nova does not know 'efi': write bios, uefi"),
        ("architecture: arm64", "write aarch64"),
        ("hw_cpu_cores: many", "Nova expects a whole number"),
        ("os_glance_failed_import: x", "reserved by Glance"),
        ("visibility: public", "is an attribute of images"),
        ("image_type: snapshot", "marks snapshots"),
        ("imagesync_list: x", "is written by imagesync itself"),
        ("APPLIANCE_VO: x", "is written by imagesync itself"),
        ("hw_qemu_guest_agent: yes", "is read by YAML as a boolean: quote the word that is meant"),
    ],
)
def test_a_property_that_would_do_harm_is_a_problem(problems: Problems, rule: str, why: str) -> None:
    assert why in of_target(problems, f"properties: [{{set: {{{rule}}}}}]")


def test_a_rule_without_properties_is_a_problem(problems: Problems) -> None:
    assert "targets[0].properties[0].set" in of_target(problems, "properties: [{set: {}}]")


def test_rules_and_template_reach_the_pass(files: Any, minimal: str) -> None:
    rule = "properties: [{match: {title: [a*, b*], arch: x86_64}, set: {hw_firmware_type: uefi, count: 2}}]"
    files.write(
        minimal.replace("backend: directory", f"backend: directory, image_name: '{{vo}} {{title}}', {rule}").replace(
            "    vo:", "    properties: [{set: {hw_disk_bus: scsi}}]\n    vo:"
        )
    )
    work = task(files.load(), Scope(), datetime(2026, 3, 1, tzinfo=UTC))

    style = work.targets[0].presentation("imagesync", work.subscriptions[0].properties)

    assert style.name == "{vo} {title}"
    assert [dict(rule.properties) for rule in style.rules] == [
        {"hw_disk_bus": "scsi"},
        {"hw_firmware_type": "uefi", "count": "2"},
    ]
    assert [[str(one) for one in matching] for matching in style.rules[1].matching] == [
        ["title: a*", "arch: x86_64"],
        ["title: b*", "arch: x86_64"],
    ]
