"""The Debian package on a booted host without a network: from its installation until nothing is left of it.

One host, one life in order. ``make test-packaging`` runs it, after ``make deb``.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from archives import with_version
from cloud.processes import wait_until
from enduring import (
    QUICK,
    property_of,
    starts_again_when_it_is_killed_or_hangs,
    stops_in_time,
    survives_a_reboot,
)
from following import QUICK_TIMER, Publisher, follow, pages, site_configuration
from host.machine import Host

LINTIAN = ["lintian", "--fail-on", "error,warning", "--allow-root"]
# What a test cannot wait for, and what it wants to read in the log. All else is as the package has it.
QUICK_PASS = """
[Service]
ReadWritePaths=/srv/images
Environment=IMAGESYNC_LOG_LEVEL=debug
"""
QUICK_SERVICE = QUICK_PASS + QUICK


@pytest.fixture
def host(make_host: Callable[[str], Host]) -> Host:
    return make_host("site")


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    judged = subprocess.run([*LINTIAN, str(deb)], capture_output=True, text=True, check=False)

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_completions_are_where_the_shells_look_for_them(deb: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "--contents", str(deb)], capture_output=True, text=True, check=True).stdout
    packed = {line.split()[5] for line in listed.splitlines() if line.startswith("-rw-r--r-- root/root")}

    assert packed >= {
        "./usr/share/bash-completion/completions/imagesync",
        "./usr/share/zsh/vendor-completions/_imagesync",
        "./usr/share/fish/vendor_completions.d/imagesync.fish",
    }


Blocks = Callable[[Path, str], list[str]]


@pytest.fixture
def chapter(root: Path, blocks: Blocks) -> list[str]:
    """Return the commands of the chapter on installation, block by block."""
    return blocks(root / "docs" / "installation.rst", "text")


@pytest.fixture
def instance(root: Path, blocks: Blocks) -> str:
    """Return what the chapter says of the configuration of an instance, the one named north."""
    (found,) = [text for text in blocks(root / "docs" / "installation.rst", "yaml") if "instance:" in text]
    return found


def test_the_life_of_an_installation(
    deb: Path, host: Host, publisher: Publisher, chapter: list[str], instance: str, tmp_path: Path
) -> None:
    by_package, with_credentials, by_hand, saving, saving_etc, restoring, going_back = chapter
    host.copy(deb, "/root")
    follow(host, by_package.splitlines()[0])
    does_nothing_before_it_is_configured(host)
    writes_a_configuration_that_the_service_may_read(host, by_package.splitlines()[1])
    configure(host, publisher)
    assert "imagesync.yaml: good" in follow(host, with_credentials)
    follows_the_list_on_schedule(host, publisher)
    heeds_commands_by_hand(host, by_hand)
    starts_again_when_it_is_killed_or_hangs(host)
    reads_its_configuration_again(host)
    stops_in_time(host)
    follows_the_list_by_timer(host, publisher)
    has_instances(host, publisher, instance)
    publisher.close()
    has_its_images_after_a_reboot(host)
    follow(host, saving)
    follow(host, saving_etc)
    is_restored_from_what_was_saved(host, restoring)
    keeps_the_state_when_upgraded(host, with_version(deb, "0.2.0", tmp_path))
    goes_back_to_the_saved_state(host, going_back)
    leaves_nothing(host)


def images(host: Host) -> dict[str, str]:
    """Return the images on the host by title, each with the number of its file."""
    listed = host.attempt("sh", "-c", "cd /srv/images && stat --format='%i %n' -- *.qcow2").stdout.splitlines()
    numbers = dict(reversed(line.split(maxsplit=1)) for line in listed)
    return {title: number for name, number in numbers.items() for title in TITLES if title in name}


TITLES = ("first", "second", "third")


def does_nothing_before_it_is_configured(host: Host) -> None:
    host.run("systemctl", "start", "imagesync.service", "imagesync-sync.service")

    assert property_of(host, "ConditionResult") == "no"
    assert host.ask("systemctl", "is-enabled", "imagesync.service") == "disabled"
    assert "imagesync" in host.run("imagesync", "--version")
    host.check_units()


def writes_a_configuration_that_the_service_may_read(host: Host, command: str) -> None:
    follow(host, command)

    assert "subscriptions:" in host.run("runuser", "-u", "imagesync", "--", "cat", "/etc/imagesync/imagesync.yaml")
    assert host.run("stat", "--format=%A", "/etc/imagesync/imagesync.yaml") == "-rw-r-----\n"


def configure(host: Host, publisher: Publisher) -> None:
    hook = {"url": publisher.facts["hook"], "secret": {"credential": "secret_hook"}}
    notifications = [{"name": "hook", "webhook": hook, "events": ["published"]}]
    configuration = {**site_configuration(publisher), "notifications": notifications}
    host.copy(publisher.directory / "anchors", "/srv")
    host.run("install", "-d", "-o", "imagesync", "-g", "imagesync", "/srv/images")
    host.write("/etc/imagesync/credentials/hook", "very secret\n", mode=0o600)
    host.write("/etc/imagesync/imagesync.yaml", yaml.safe_dump(configuration), mode=0o640, group="imagesync")
    for unit, text in (
        ("imagesync.service", QUICK_SERVICE),
        ("imagesync-sync.service", QUICK_PASS),
        ("imagesync-sync.timer", QUICK_TIMER),
    ):
        host.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
    host.run("systemctl", "daemon-reload")


def follows_the_list_on_schedule(host: Host, publisher: Publisher) -> None:
    host.run("systemctl", "enable", "--now", "imagesync.service")
    wait_until(lambda: "first" in images(host))
    publisher.publish("second")
    wait_until(lambda: "second" in images(host))

    assert host.ask("systemctl", "is-active", "imagesync.service") == "active"
    assert (property_of(host, "Type"), property_of(host, "NotifyAccess")) == ("notify", "main")
    assert "demo" in property_of(host, "StatusText")
    assert pages(host) == 200
    assert {name: property_of(host, name) for name in ("MemoryMax", "TasksMax", "CPUWeight", "IOWeight")} == {
        "MemoryMax": str(11 << 30),
        "TasksMax": "1024",
        "CPUWeight": "50",
        "IOWeight": "50",
    }
    log = host.journal("--unit", "imagesync.service")
    assert "under bubblewrap" in log, log
    assert "bubblewrap does not work" not in log
    wait_until(publisher.publish)
    assert all(one["x-imagesync-signature"].startswith("sha256=") for one in publisher.publish())


def heeds_commands_by_hand(host: Host, commands: str) -> None:
    *others, resume = commands.splitlines()
    follow(host, "\n".join(others))
    # The page may be older than the command.
    wait_until(lambda: ["Glance is upgraded" in str(pause) for pause in pauses(host)] == [True, True])
    follow(host, resume)
    wait_until(lambda: pauses(host) == [None, None])

    assert host.run("find", "/var/lib/imagesync", "/var/cache/imagesync", "!", "-user", "imagesync") == ""
    host.run("runuser", "-u", "imagesync", "--", "test", "-w", "/etc/imagesync/deny.d")


def pauses(host: Host) -> list[object]:
    """Return what the page says of the pause of its list and of its target; reports of passes before tell of theirs."""
    status = json.loads(host.ask("curl", "--silent", "http://127.0.0.1:8642/api/v1/status"))
    return [one["paused"] for one in (*status["lists"], *status["targets"])]


def reads_its_configuration_again(host: Host) -> None:
    before = property_of(host, "MainPID")
    good = host.read("/etc/imagesync/imagesync.yaml")
    host.write("/etc/imagesync/imagesync.yaml", good + "nonsense: 1\n", mode=0o640, group="imagesync")
    host.run("systemctl", "reload", "imagesync.service")
    wait_until(lambda: "nonsense" in host.journal("--unit", "imagesync.service"))
    host.write("/etc/imagesync/imagesync.yaml", good, mode=0o640, group="imagesync")
    host.run("systemctl", "reload", "imagesync.service")
    wait_until(lambda: "configuration reloaded" in host.journal("--unit", "imagesync.service"))

    assert property_of(host, "MainPID") == before
    assert pages(host) == 200


def follows_the_list_by_timer(host: Host, publisher: Publisher) -> None:
    host.run("systemctl", "disable", "imagesync.service")
    host.run("systemctl", "start", "imagesync-sync.timer")
    publisher.publish("third")
    wait_until(lambda: "third" in images(host))
    host.run("systemctl", "stop", "imagesync-sync.timer", "imagesync-sync.service")

    log = host.journal("--unit", "imagesync-sync.service")
    assert "under bubblewrap" in log
    host.check_units()


def has_instances(host: Host, publisher: Publisher, documented: str) -> None:
    """A daemon and a timer of one that the chapter tells of, beside which nothing else runs."""
    site = site_configuration(publisher)
    (target,) = site["targets"]
    host.run("install", "-d", "-o", "imagesync", "-g", "imagesync", "/srv/north")
    configuration = {**site, "targets": [{**target, "path": "/srv/north"}], **yaml.safe_load(documented)}
    host.write("/etc/imagesync/north.yaml", yaml.safe_dump(configuration), mode=0o640, group="imagesync")
    for unit in ("imagesync@north.service", "imagesync-sync@north.service"):
        host.write(f"/etc/systemd/system/{unit}.d/test.conf", "[Service]\nReadWritePaths=/srv/north\n")
    host.write("/etc/systemd/system/imagesync-sync@north.timer.d/test.conf", QUICK_TIMER)
    host.run("systemctl", "daemon-reload")

    host.run("systemctl", "start", "imagesync@north.service")
    wait_until(lambda: host.attempt("test", "-e", "/srv/north/third.qcow2").returncode == 0)
    assert host.ask("curl", "--silent", "--fail", "http://127.0.0.1:8643/healthz")
    host.run("systemctl", "stop", "imagesync@north.service")
    publisher.publish("fourth")
    host.run("systemctl", "start", "imagesync-sync@north.timer")
    wait_until(lambda: host.attempt("test", "-e", "/srv/north/fourth.qcow2").returncode == 0)
    host.run("systemctl", "stop", "imagesync-sync@north.timer", "imagesync-sync@north.service")

    assert host.run("stat", "--format=%U", "/var/lib/imagesync/north/state.db") == "imagesync\n"
    assert "fourth" not in host.run("ls", "/srv/images")
    host.check_units()
    host.run("sh", "-c", "rm -r /srv/north /etc/systemd/system/imagesync*@north.*.d")


def is_restored_from_what_was_saved(host: Host, commands: str) -> None:
    known, before, etc = accepted(host), images(host), directory(host, "/etc/imagesync")
    host.run("systemctl", "stop", "imagesync.service")
    host.run("sh", "-c", "cd /var/lib/imagesync && rm -rf state.db state.db-wal state.db-shm /etc/imagesync/*")

    follow(host, commands)
    wait_until(lambda: pages(host) == 200)

    assert (accepted(host), images(host), directory(host, "/etc/imagesync")) == (known, before, etc)
    assert host.run("stat", "--format=%a %U", "/var/backups/imagesync-etc.tar.gz") == "600 root\n"
    host.run("rm", "/var/backups/imagesync-etc.tar.gz")


def directory(host: Host, path: str) -> list[str]:
    """Return what is in a directory, with modes, owners and sizes of files."""
    return sorted(
        host.run(
            "find", path, "-type", "f", "-printf", "%p %m %u %g %s\n", "-o", "-printf", "%p %m %u %g\n"
        ).splitlines()
    )


def has_its_images_after_a_reboot(host: Host) -> None:
    before = images(host)
    host.run("systemctl", "enable", "imagesync.service")
    survives_a_reboot(host)

    assert images(host) == before


def keeps_the_state_when_upgraded(host: Host, package: Path) -> None:
    before, known, process = images(host), accepted(host), property_of(host, "MainPID")
    host.copy(package, "/root")
    follow(host, f"apt-get install ./{package.name}")
    wait_until(lambda: pages(host) == 200)

    assert property_of(host, "MainPID") not in {"0", process}
    assert (images(host), accepted(host)) == (before, known)
    assert host.ask("systemctl", "is-enabled", "imagesync.service") == "enabled"
    saved = host.run("sh", "-c", "cd /var/lib/imagesync && ls backups/state-*.db backups/package/0.1.0-*/state.db")
    assert [accepted(host, path) for path in saved.split()] == [known, known]


def accepted(host: Host, state: str = "state.db") -> str:
    """Return what a state says about lists that were accepted."""
    opened = f"sqlite3.connect('/var/lib/imagesync/{state}')"
    ask = f"import sqlite3; print({opened}.execute('select * from accepted').fetchall())"
    found = host.run("/usr/lib/imagesync/bin/python3", "-c", ask)
    assert "vo.example.org" in found or "demo" in found
    return found


def goes_back_to_the_saved_state(host: Host, commands: str) -> None:
    known = accepted(host)
    follow(host, commands)
    wait_until(lambda: pages(host) == 200)

    assert host.ask("dpkg-query", "--show", "--showformat=${Version}", "imagesync") == "0.1.0"
    assert accepted(host) == known


def leaves_nothing(host: Host) -> None:
    host.run("rm", "-r", "/etc/systemd/system/imagesync.service.d", "/etc/systemd/system/imagesync-sync.service.d")
    host.run("rm", "-r", "/etc/systemd/system/imagesync-sync.timer.d", "/srv/images")
    host.run("sh", "-c", "rm /root/*.deb")
    said = host.run("apt-get", "purge", "--yes", "imagesync", DEBIAN_FRONTEND="noninteractive")
    left = host.run("find", "/", "-xdev", "-iname", "*imagesync*", "-not", "-path", "/var/log/*").splitlines()

    assert "not removed: the user imagesync" in said
    assert left == []
    assert host.attempt("systemctl", "list-unit-files", "imagesync*", "--no-legend").stdout == ""
    host.check_units()
