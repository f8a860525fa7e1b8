"""The .rpm holds what it should, asks for what it needs, and what it installs runs. Not on Enterprise Linux, though."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cloud.processes import wait_until
from following import Publisher, follow, pages, site_configuration
from host.base import base
from host.machine import open_host

import imagesync

FILES = {
    "/usr/bin/imagesync",
    "/usr/lib/imagesync/bin/imagesync",
    "/usr/lib/systemd/system/imagesync.service",
    "/usr/lib/systemd/system/imagesync@.service",
    "/usr/lib/systemd/system/imagesync-sync.service",
    "/usr/lib/systemd/system/imagesync-sync.timer",
    "/usr/lib/systemd/system/imagesync-sync@.service",
    "/usr/lib/systemd/system/imagesync-sync@.timer",
    "/usr/lib/sysusers.d/imagesync.conf",
    "/usr/lib/tmpfiles.d/imagesync.conf",
    "/usr/share/bash-completion/completions/imagesync",
    "/usr/share/fish/vendor_completions.d/imagesync.fish",
    "/usr/share/man/man1/imagesync.1.gz",
    "/usr/share/man/man5/imagesync.yaml.5.gz",
    "/usr/share/zsh/site-functions/_imagesync",
}
INHERENT = (
    "non-executable-script",  # modules of libraries that begin with #!
    "shared-lib-without-dependency-information", "unstripped-binary-or-object", "no-binary", "hidden-file-or-dir",
    "devel-file-in-non-devel-package", "file-not-utf8", "zero-length", "wrong-script-interpreter", "pem-certificate",
    "files-duplicate", "python-bytecode", "script-without-shebang", "spelling-error", "non-standard-gid",
    "no-signature", "no-packager-tag", "no-group-tag", "no-changelogname-tag",
    "non-standard-uid", "non-standard-dir-perm", "no-manual-page-for-binary", "dangling-relative-symlink",
)  # fmt: skip
"""What rpmlint says of the libraries, or of every package that makes a user of its own."""


def _run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def package(root: Path, build_once: Callable[[str], None]) -> Path:
    """Return the package, built from this checkout."""
    build_once("rpm")
    (found,) = (root / "build/rpm/RPMS").rglob("*.rpm")
    return found


def test_it_holds_the_program_its_units_pages_and_completions(package: Path) -> None:
    files = set(_run("rpm", "-qp", "--list", str(package)).splitlines())

    assert FILES - files == set()
    assert not [name for name in files if "/build/" in name or name.endswith("/pip")]


def test_it_asks_for_what_it_calls_and_for_no_library(package: Path) -> None:
    asked = {line.split()[0] for line in _run("rpm", "-qp", "--requires", str(package)).splitlines()}

    own = {name for name in asked if not name.startswith(("rpmlib(", "/bin/", "/usr/bin/"))}
    assert own == {"python3.11", "qemu-img", "bubblewrap", "openssl", "systemd"}


def test_its_directories_are_not_open_to_everybody(package: Path) -> None:
    shown = _run("rpm", "-qp", "--queryformat", "[%{FILENAMES} %{FILEMODES:perms} %{FILEGROUPNAME}\n]", str(package))

    modes = dict(line.split(" ", 1) for line in shown.splitlines())
    for name in ("/etc/imagesync", "/etc/imagesync/conf.d", "/var/lib/imagesync", "/var/cache/imagesync"):
        assert modes[name] == "drwxr-x--- imagesync"
    assert modes["/etc/imagesync/deny.d"] == "drwxrwx--- imagesync"
    assert modes["/etc/imagesync/credentials"] == "drwx------ root"


def test_it_was_built_nowhere_in_particular(root: Path, installed: Path) -> None:
    found = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--fixed-strings", str(root), str(installed)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert found.stdout == ""


def test_what_it_installs_runs(installed: Path) -> None:
    said = _run("chroot", str(installed), "/usr/bin/imagesync", "--version")

    assert said.startswith("imagesync, version ")


def test_rpmlint_finds_nothing_else_to_say(package: Path) -> None:
    ran = subprocess.run(["rpmlint", str(package)], capture_output=True, text=True, check=False, timeout=600)

    findings = [line for line in ran.stdout.splitlines() if ": E: " in line]
    assert ran.stdout
    assert [line for line in findings if not any(tag in line for tag in INHERENT)] == []


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with a Debian in it, into which the package is installed."""
    tree = tmp_path_factory.mktemp("rpm") / "tree"
    (tree.parent / "complete").touch()
    _run("cp", "--archive", "--reflink=auto", str(base().tree), str(tree))
    _run("rpm", "--root", str(tree), "--install", "--nodeps", str(package))
    assert os.readlink(tree / "usr/bin/imagesync") == "/usr/lib/imagesync/bin/imagesync"
    return tree


def test_what_it_installs_works_as_a_service(
    installed: Path, root: Path, tmp_path: Path, blocks: Callable[[Path, str], list[str]]
) -> None:
    """On Debian, with the names of Debian's programs."""
    with open_host(replace(base(), home=installed.parent), "rpm") as host:
        publisher = Publisher(host, tmp_path / "publisher")
        host.copy(publisher.directory / "anchors", "/srv")
        host.run("install", "-d", "-o", "imagesync", "-g", "imagesync", "/srv/images")
        configuration = yaml.safe_dump(site_configuration(publisher))
        host.write("/etc/imagesync/imagesync.yaml", configuration, mode=0o640, group="imagesync")
        (writing,) = [one for one in blocks(root / "docs/installation.rst", "ini") if "ReadWritePaths" in one]
        host.write("/etc/systemd/system/imagesync.service.d/override.conf", writing)
        follow(host, "systemctl enable --now imagesync.service")
        wait_until(lambda: host.attempt("test", "-e", "/srv/images/first.qcow2").returncode == 0)
        assert pages(host) == 200
        host.check_units()
        publisher.close()


def test_an_upgrade_saves_the_state(installed: Path, package: Path) -> None:
    state = installed / "var/lib/imagesync/state.db"
    with closing(sqlite3.connect(state)) as database:
        database.execute("CREATE TABLE accepted (name TEXT)")
    owner = state.parent.stat()
    os.chown(state, owner.st_uid, owner.st_gid)

    said = _run("rpm", "--root", str(installed), "--upgrade", "--force", "--nodeps", str(package))

    (saved,) = (installed / "var/lib/imagesync/backups/package").glob("*/state.db")
    assert saved.parent.name.startswith(f"{imagesync.__version__}-"), said
    assert saved.stat().st_uid == owner.st_uid
