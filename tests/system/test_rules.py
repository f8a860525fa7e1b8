"""The rules that hold everywhere (``docs/safety.rst``); each has a test that carries its name."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagesync.backend import State
from imagesync.errors import BackendUnavailableError, DigestMismatchError
from imagesync.run.report import exit_code
from imagesync.testing.backend import FakeRecord
from imagesync.testing.steps import Died, Steps


def test_unknown_is_not_empty(site):
    site.offer(a="one", b="two").publish().sync()

    site.down(503).sync()

    assert set(site.published()) == {"a", "b"}


def test_a_type_per_level_of_trust(site):
    """Nothing but what ``admit`` returned reaches a plan; who constructs which type is held by tests/architecture."""
    result = site.offer(a="one").publish().sync()

    trusted = result.seen[0].observation
    assert type(trusted).__name__ == "TrustedList"
    assert trusted.content.signer.identity == site.trust.identity


def test_publish_before_retire(site):
    site.offer(a="old").publish().sync()

    site.offer(a="new").publish().sync()

    calls = [call for call in site.cloud.calls if call in {"upload", "publish", "retire"}]
    assert calls == ["upload", "publish", "upload", "publish", "retire"]


def test_retire_is_reversible_delete_is_late(site):
    site.guard = {"share": 1}
    site.offer(a="one", b="two").publish().sync()
    images = dict(site.images)
    del site.images["b"]
    site.publish().sync()
    assert ("b", "retired") in site.states()

    site.images = images
    site.publish().sync()
    assert site.states() == [("a", "published"), ("b", "published")]

    del site.images["b"]
    site.publish().sync()
    site.now += timedelta(days=29)
    site.publish().sync()
    assert ("b", "retired") in site.states()
    site.now += timedelta(days=1)
    site.publish().sync()
    assert site.states() == [("a", "published")]


def test_only_ours(site):
    site.offer(a="one").publish().sync()
    ours = next(iter(site.cloud.records.values()))
    theirs = FakeRecord("cloudkeeper", replace(ours.image, ref="theirs"))
    site.cloud.records["theirs"] = theirs
    site.images.clear()

    site.guard = {"allowed": 9}
    site.publish().sync()

    assert site.cloud.records["theirs"] == theirs
    assert [record.image.state for record in site.cloud.records.values()] == [State.RETIRED, State.PUBLISHED]


def test_the_cloud_is_the_record(site):
    site.offer(a="one", b="two").publish().sync()
    (site.root / "state.db").unlink()

    result = site.publish().sync()

    assert site.prepared == ["a", "b"]
    assert set(site.published()) == {"a", "b"}
    assert result.state_lost


def test_crash_only(site):
    site.offer(a="one").publish()
    site.steps = site.cloud.steps = Steps(die_at=9)
    with pytest.raises(Died):
        site.sync()

    site.steps = site.cloud.steps = Steps()
    site.sync()

    assert site.states() == [("a", "published")]


def test_blast_radius(site):
    site.offer(bad="one", good="two").publish()
    site.broken = {"bad": DigestMismatchError("bad", "other bytes")}

    assert exit_code(site.sync()) == 1
    assert set(site.published()) == {"good"}

    site.cloud.faults = {"owned": [BackendUnavailableError("site", "reset")]}
    assert exit_code(site.sync()) == 5


def test_bounded(site):
    """A list larger than its bound is not read to the end; each other bound has its test beside what it bounds."""
    from imagesync.errors import TooLargeError

    site.offer(a="one").publish().sync()
    site.failure = TooLargeError("list", "more than 16777216 bytes")

    assert exit_code(site.sync()) == 3
    assert set(site.published()) == {"a"}


def test_one_clock_reading_per_pass():
    """Only the command line reads the clock; a pass gets its time as a value."""
    root = Path(__file__).parents[2] / "imagesync"
    readers = [
        path.relative_to(root).parts[0]
        for path in root.rglob("*.py")
        if "datetime.now(" in path.read_text(encoding="utf-8")
    ]

    assert set(readers) <= {"cli", "demo"}


def test_secrets_by_reference(site, tmp_path):
    secret = "s3cr3t-appdb-token"
    (tmp_path / "token").write_text(secret)
    (tmp_path / "token").chmod(0o600)
    config = tmp_path / "imagesync.yaml"
    config.write_text(
        f"""
        state: sqlite:///{tmp_path}/secrets.db
        cache: {tmp_path}/cache
        trust: {{anchors: {site.trust.directory}}}
        subscriptions:
          - name: private
            vo: vo.example
            url: https://127.0.0.1:9/image.list
            token: {{file: {tmp_path}/token}}
            endorsers: [{{dn: /CN=a, ca: /CN=b}}]
        targets: [{{name: t, backend: directory, path: {tmp_path}/pool}}]
        """
    )
    command = [sys.executable, "-m", "imagesync", "--config", str(config), "--log-level", "debug"]

    seen = ""
    for arguments in (["sync", "--json"], ["config", "show"], ["status", "--json"], ["config", "check", "--connect"]):
        ran = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=os.environ)
        seen += ran.stdout + ran.stderr

    assert "private" in seen
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "token"]
    assert secret not in seen
    assert not any(secret.encode() in content for content in kept)
