"""The scripts of the Debian package, below another root and with a systemd that only writes down what it is told."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

# What is in "running" runs, and what is in "broken" does not start.
SYSTEMCTL = """#!/bin/sh
case $1 in
  list-units) cat "$TOP/running" ;;
  start) ! grep -qx "$2" "$TOP/broken" && echo "start $2" >>"$TOP/calls" ;;
  *) echo "$*" >>"$TOP/calls" ;;
esac
"""
PROGRAMS = {
    "systemctl": SYSTEMCTL,
    "deb-systemd-invoke": '#!/bin/sh\necho "$*" >>"$TOP/calls"\n',
    "runuser": '#!/bin/sh\nshift 3\nexec "$@"\n',
}


@dataclass(frozen=True, slots=True)
class Site:
    """A root with the scripts of the package in it."""

    top: Path
    scripts: Path

    def run(self, script: str, *arguments: str, code: int = 0) -> str:
        """Run a script as dpkg does; return what it says."""
        text = (self.scripts / script).read_text(encoding="utf-8")
        text = re.sub(r"(?<![\w}])/(?=(run|var|etc)/)", f"{self.top}/", text)
        text = text.replace("/usr/lib/imagesync/bin/python3", sys.executable)
        text = text.replace(
            "/usr/lib/imagesync/save_states.py", str(self.scripts.parents[1] / "upgrade/save_states.py")
        )
        environment = {"PATH": f"{self.top}/bin:/usr/bin:/bin", "TOP": str(self.top)}
        ran = subprocess.run(
            ["sh", "-c", text, script, *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def program(self, name: str, text: str) -> None:
        """Have the scripts find this program first."""
        (self.top / "bin" / name).write_text(text)
        (self.top / "bin" / name).chmod(0o755)

    def write(self, name: str, *lines: str) -> Path:
        """Write lines into a file."""
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file, none if there is no such file."""
        path = self.top / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def site(root: Path, tmp_path: Path) -> Site:
    site = Site(tmp_path, root / "packaging/deb/debian")
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        site.program(name, text)
    for name in ("run/systemd/system", "var/lib/imagesync", "var/cache/imagesync", "etc/imagesync/deny.d"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("running", "broken"):
        site.write(name)
    return site


def _state(path: Path, *accepted: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS accepted (name TEXT)")
        database.executemany("INSERT INTO accepted VALUES (?)", [(name,) for name in accepted])
    return path


def _accepted(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM accepted")]


def _backups(site: Site) -> list[str]:
    return sorted(path.name for path in (site.top / "var/lib/imagesync/backups/package").iterdir())


# --- saving ----------------------------------------------------------------------------------------------------------
def test_an_upgrade_saves_each_state_with_its_version_and_the_date(site: Site) -> None:
    states = site.top / "var/lib/imagesync"
    _state(states / "state.db", "one")
    _state(states / "north/state.db", "two")
    site.write("var/lib/imagesync/images/thumbs.db", "an image of somebody, no state")
    (states / "folder.db").mkdir()
    (states / "gone.db").symlink_to(states / "nowhere")

    said = site.run("postinst", "configure", "0.1.0")

    (name,) = _backups(site)
    assert re.fullmatch(r"0\.1\.0-\d{8}T\d{6}", name)
    saved = states / "backups/package" / name
    assert _accepted(saved / "state.db") == ["one"]
    assert _accepted(saved / "north/state.db") == ["two"]
    assert not (saved / "images").exists()
    assert said.count("is saved in") == 2


def test_three_are_kept_and_what_others_put_there_stays(site: Site) -> None:
    _state(site.top / "var/lib/imagesync/state.db")
    for name in ("0.9.0-20260101T000000", "0.8.0-20260201T000000", "0.7.0-20260301T000000", ".unfinished"):
        site.write(f"var/lib/imagesync/backups/package/{name}/state.db", name)
    others = [site.write(f"var/lib/imagesync/backups/{name}", "x") for name in ("state-2026.db", "a", "b/c", "d", "e")]

    site.run("postinst", "configure", "0.1.0")

    *before, new = sorted(_backups(site), reverse=True)
    assert before == ["0.8.0-20260201T000000", "0.7.0-20260301T000000"]
    assert new.startswith("0.1.0-")
    assert [path for path in others if not path.exists()] == []


def test_the_same_version_again_does_not_replace_what_was_saved(site: Site) -> None:
    saved = _state(site.top / "var/lib/imagesync/backups/package/0.1.0-20260101T000000/state.db", "good")
    _state(site.top / "var/lib/imagesync/state.db", "worse")

    site.run("postinst", "configure", "0.1.0")

    assert _accepted(saved) == ["good"]
    assert len(_backups(site)) == 2


def test_a_state_that_cannot_be_saved_stops_the_upgrade_in_plain_words(site: Site) -> None:
    state = _state(site.top / "var/lib/imagesync/state.db", "one")
    blocking = site.write("var/lib/imagesync/backups", "no directory")
    site.write("run/imagesync.upgrade", "imagesync.service")

    said = site.run("postinst", "configure", "0.1.0", code=1)

    assert said.startswith(f"imagesync: {state} cannot be saved")
    assert "dpkg --configure imagesync" in said
    assert "Traceback" not in said
    assert site.lines("calls") == []

    blocking.unlink()
    site.run("postinst", "configure", "0.1.0")
    assert "start imagesync.service" in site.lines("calls")


def test_a_first_installation_saves_and_starts_nothing(site: Site) -> None:
    _state(site.top / "var/lib/imagesync/state.db")

    site.run("postinst", "configure", "")

    assert not (site.top / "var/lib/imagesync/backups").exists()
    assert site.lines("calls") == []


# --- stopping and starting -------------------------------------------------------------------------------------------
RUNNING = ("imagesync.service loaded active", "imagesync@north.service loaded active", "imagesync-sync.service loaded")


def test_what_ran_is_stopped_and_started_again_but_for_single_passes(site: Site) -> None:
    site.write("running", *RUNNING)

    site.run("prerm", "upgrade", "0.2.0")
    site.run("postinst", "configure", "0.1.0")

    assert site.lines("calls") == [
        "stop imagesync.service imagesync@north.service imagesync-sync.service",
        "daemon-reload",
        "start imagesync.service",
        "start imagesync@north.service",
    ]
    assert site.lines("run/imagesync.upgrade") == []


def test_what_does_not_start_fails_nothing_and_is_started_by_the_next_version(site: Site) -> None:
    site.write("running", *RUNNING)
    site.write("broken", "imagesync.service")

    site.run("prerm", "upgrade", "0.2.0")
    said = site.run("postinst", "configure", "0.1.0")

    assert "imagesync.service ran before and does not start: journalctl --unit=imagesync.service" in said
    assert site.lines("calls")[-1] == "start imagesync@north.service"

    site.write("running", "imagesync@north.service loaded active")
    site.write("broken")
    site.run("prerm", "upgrade", "0.3.0")
    site.run("postinst", "configure", "0.2.0")

    assert site.lines("calls")[-2:] == ["start imagesync.service", "start imagesync@north.service"]


@pytest.mark.parametrize("action", ["remove", "deconfigure"])
def test_a_removal_that_is_called_off_leaves_nothing_stopped(site: Site, action: str) -> None:
    site.write("running", "imagesync.service loaded active")

    site.run("prerm", action)
    site.run("postinst", f"abort-{action}")

    assert site.lines("calls")[-1] == "start imagesync.service"


def test_a_removal_that_is_done_starts_nothing_later(site: Site) -> None:
    site.write("running", "imagesync.service loaded active")

    site.run("prerm", "remove")
    site.run("postrm", "remove")
    site.run("postinst", "configure", "0.1.0")

    assert [call for call in site.lines("calls") if call.startswith("start")] == []


# --- purging ---------------------------------------------------------------------------------------------------------
def test_purging_leaves_what_is_not_ours(site: Site) -> None:
    ours = [
        _state(site.top / "var/lib/imagesync/state.db"),
        _state(site.top / "var/lib/imagesync/north/other.db"),
        site.write("var/lib/imagesync/north/other.db.locks/pool.lock"),
        site.write("etc/imagesync/credentials/token"),
        site.write("var/cache/imagesync/blob"),
        site.write("etc/systemd/system/multi-user.target.wants/imagesync@north.service"),
        site.write("etc/systemd/system/timers.target.wants/imagesync-sync@north.timer"),
    ]
    image = site.write("var/lib/imagesync/images/genome.db", "an image that was published")

    said = site.run("postrm", "purge")

    assert [path for path in ours if path.exists()] == []
    assert image.exists()
    assert f"look whether it is still needed: {site.top}/var/lib/imagesync\n" in said
    assert "not removed: the user imagesync" in said


def test_purging_ends_where_the_cache_is_a_file_system_of_its_own(site: Site) -> None:
    state = _state(site.top / "var/lib/imagesync/state.db")
    # What rm and rmdir do with a mount point: they empty it, and fail.
    for name in ("rm", "rmdir"):
        site.program(name, f'#!/bin/sh\n/bin/{name} "$@"\nexit 1\n')

    said = site.run("postrm", "purge")

    assert not state.exists()
    assert "not removed: the user imagesync" in said
