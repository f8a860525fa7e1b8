"""The collection as it is written: its linter, its specification, and that it has the files of this checkout."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from role.playbook import COLLECTION, Controller, controller
from role.playbook import ROLE as ROLE_NAME

import imagesync

ROLE = COLLECTION / "roles/imagesync"
UNITS = ("imagesync.service", "imagesync-sync.service", "imagesync-sync.timer")


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with controller(tmp_path_factory.mktemp("controller")) as found:
        yield found


def _read(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text(encoding="utf-8"))


def test_the_linter_has_nothing_to_say_at_its_strictest_profile(operator: Controller) -> None:
    assert _said(operator.run("ansible-lint", "--nocolor", "--offline", "--profile", "production", where=COLLECTION))


def _said(run: Any) -> bool:
    assert run.code == 0, run.output
    return "Passed: 0 failure(s), 0 warning(s)" in run.output


def test_the_built_collection_has_the_units_of_this_checkout(operator: Controller, root: Path, tmp_path: Path) -> None:
    run = operator.run("ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(COLLECTION))

    assert run.code == 0, run.output
    with tarfile.open(tmp_path / f"imagesync-imagesync-{imagesync.__version__}.tar.gz") as built:
        for unit in UNITS:
            packed = built.extractfile(f"roles/imagesync/files/{unit}")
            assert packed is not None
            assert packed.read() == (root / "packaging/systemd" / unit).read_bytes()


def test_the_collection_and_what_it_installs_have_the_version_of_the_program() -> None:
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))

    assert galaxy["version"] == _read("defaults/main.yml")["imagesync_version"] == imagesync.__version__


def test_every_variable_is_specified_with_its_default() -> None:
    defaults = _read("defaults/main.yml")
    options = _read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    computed = {name for name, value in defaults.items() if "{{" in str(value)}

    assert options.keys() == defaults.keys()
    assert {name: options[name].get("default") for name in defaults.keys() - computed} == {
        name: value for name, value in defaults.items() if name not in computed
    }
    assert all(option["description"] for option in options.values())


def test_ansible_doc_lists_every_variable(operator: Controller) -> None:
    run = operator.run("ansible-doc", "--type", "role", ROLE_NAME)

    assert run.code == 0, run.output
    assert re.findall(r"(?m)^[-=] +(imagesync_\w+)", run.output) == sorted(_read("defaults/main.yml"))


def test_the_chapter_names_every_tag(root: Path) -> None:
    (chapter,) = re.findall(
        r"(?s)run with ``--tags``: (.*?)\. ", (root / "docs/ansible.rst").read_text(encoding="utf-8")
    )
    tags = {tag for task in _tasks(_read("tasks/main.yml")) for tag in task.get("tags", [])} - {"always"}

    assert set(re.findall(r"``(\w+)``", chapter)) == tags


def test_every_default_says_what_it_is_for() -> None:
    lines = (ROLE / "defaults/main.yml").read_text(encoding="utf-8").splitlines()
    named = {number: line.partition(":")[0] for number, line in enumerate(lines) if re.match(r"imagesync_\w+:", line)}
    # One comment may be for two neighbours.
    bare = [name for number, name in named.items() if not lines[number - 1].startswith("#") and number - 1 not in named]

    assert bare == []


_UNDONE = ("before.yml", "candidate.yml", "backup.yml", "switch.yml", "service.yml")
"""Files of tasks that back.yml may have to undo."""


def _tasks(entries: list[Any]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        for key in ("block", "rescue", "always"):
            yield from _tasks(entry.get(key, []))


def _all_tasks() -> list[tuple[str, dict[str, Any]]]:
    files = sorted((ROLE / "tasks").glob("*.yml"))
    return [(file.name, task) for file in files for task in _tasks(yaml.safe_load(file.read_text(encoding="utf-8")))]


def test_what_writes_secrets_logs_nothing_and_shows_no_difference() -> None:
    secret = ("imagesync_secrets |", "imagesync_clouds |")
    writing = [
        task for _, task in _all_tasks() if "ansible.builtin.copy" in task and any(word in str(task) for word in secret)
    ]

    assert len(writing) == 2
    assert [(task["no_log"], task["diff"], task["ansible.builtin.copy"]["mode"]) for task in writing] == [
        (True, False, "0600")
    ] * 2


def test_the_configuration_is_checked_where_it_will_stand_before_it_replaces_the_old_one() -> None:
    (writing,) = [task for _, task in _all_tasks() if task.get("name") == "Write its configuration"]

    validate = writing["ansible.builtin.template"]["validate"]
    assert validate.endswith("config check --candidate %s")
    assert "__imagesync_new" in validate  # by the version that will run


def test_nothing_is_stopped_before_the_configuration_is_found_good_and_what_fails_then_is_undone() -> None:
    (work,) = [task for task in _read("tasks/main.yml") if "rescue" in task]
    steps = [task["ansible.builtin.import_tasks"] for task in work["block"]]

    assert steps == ["before.yml", "candidate.yml", "switch.yml", "service.yml", "start.yml"]
    assert [task["ansible.builtin.import_tasks"] for task in work["rescue"]] == ["back.yml"]
    stopping = {
        file for file, task in _all_tasks() if "stopped" in str(task.get("ansible.builtin.systemd_service", ""))
    }
    assert stopping == {"switch.yml", "start.yml", "succeed.yml", "back.yml", "absent.yml"}


def test_what_one_instance_left_in_facts_is_reset_for_the_next() -> None:
    (reset,) = [task for _, task in _all_tasks() if task.get("name") == "Begin with nothing done"]
    registered = {task["register"] for file, task in _all_tasks() if file in _UNDONE and "register" in task}
    undoing = (ROLE / "tasks/back.yml").read_text(encoding="utf-8") + (ROLE / "vars/main.yml").read_text("utf-8")

    used = {name for name in registered if re.search(rf"\b{name}\b(?! is not defined)", undoing)}
    assert used <= {
        *reset["ansible.builtin.set_fact"],
        "__imagesync_units_before",
        "__imagesync_enabled_before",
        "__imagesync_config_before",
    }
    assert len(used) > 3


def test_each_tag_runs_its_own_tasks_alone() -> None:
    assert [task["name"] for task in _read("tasks/main.yml") if "block" in task and "tags" in task] == []


DEBIAN = {"os_family": "Debian", "distribution": "Debian", "distribution_version": "12"}
ENTERPRISE_LINUX = {"os_family": "RedHat", "distribution": "Rocky", "distribution_version": "9.4"}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"imagesync_install": "rpm"}, "value of imagesync_install must be one of"),
        ({"imagesync_instance": "nginx"}, "imagesync_instance: write imagesync, or imagesync-NAME"),
        ({"imagesync_install": "wheels"}, "imagesync_wheels: name the archive of wheels"),
        ({"imagesync_prefix": "/opt"}, "imagesync_prefix: name a directory for imagesync alone"),
        ({"imagesync_prefix": "/usr/local"}, "imagesync_prefix: name a directory for imagesync alone"),
        (
            {"imagesync_nginx_snippet": "/etc/nginx/x", "imagesync_config": {"daemon": {"listen": "off"}}},
            "imagesync_nginx_snippet: daemon.listen is no address",
        ),
        (
            {"imagesync_install": "deb", "imagesync_deb": "x.deb", "imagesync_instance": "imagesync-two"},
            "imagesync_instance: the .deb is one program for the host",
        ),
        (
            {"imagesync_install": "deb", "imagesync_deb": "x.deb", "imagesync_user": "glance"},
            "imagesync_user, imagesync_group: the .deb has its own",
        ),
        (
            {"imagesync_boot_check": True, "ansible_facts": ENTERPRISE_LINUX},
            "imagesync_boot_check: boot checks do not work on Enterprise Linux",
        ),
        (
            {"imagesync_run": "timer", "imagesync_on_calendar": "teatime", "ansible_facts": DEBIAN},
            'imagesync_on_calendar: systemd does not understand "teatime"; try systemd-analyze calendar "teatime"',
        ),
        (
            {"imagesync_run": "timer", "imagesync_random_delay": "a bit", "ansible_facts": DEBIAN},
            'imagesync_random_delay: systemd does not understand "a bit"; try systemd-analyze timespan "a bit"',
        ),
        ({"imagesync_writable": ["images"]}, "imagesync_writable: write absolute paths"),
        ({"imagesync_secrets": {"../x": "hunter2"}}, "imagesync_secrets: names are names of files"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    operator: Controller, variables: dict[str, Any], complaint: str
) -> None:
    run = operator.play("localhost", variables, options=("--connection", "local", "--check"))

    assert run.code == 2
    assert complaint in " ".join(run.output.split())
    assert run.count == 0
    assert "hunter2" not in run.output
