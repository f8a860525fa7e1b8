"""Times of the day for heavy work, and what images at once may take, by the command line."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from imagesync.testing.faults import Held


@pytest.fixture
def later(provider):
    """Return a site that may work hard for an hour, hours from now; it has seen nothing yet."""
    begin = datetime.now().astimezone() + timedelta(hours=6)
    span = f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"
    provider.options["limits"] = {"heavy_work": [span]}
    provider.configure()
    return provider, f"waits until {begin:%Y-%m-%d %H:%M}"


def test_outside_the_hours_a_pass_says_what_waits_and_until_when(later):
    provider, until = later

    result = provider.given("sync", "--json")

    assert (result.code, result.json["exit"]) == (0, 0)
    assert {(one["kind"], one["cause"], one["outcome"]) for one in result.target()["actions"]} == {
        ("skip", "waiting", "skipped")
    }
    assert until in result.action("shaky-1")["reason"]
    assert provider.shaky.server.requests_for(provider.shaky.image_path(next(iter(provider.shaky.images)))) == []
    assert provider.given("plan", "--check").code == 0
    (target,) = provider.given("status", "--json").json["targets"]
    assert {one["state"] for one in target["images"]} == {"missing"}
    assert all(until in one["reason"] for one in target["images"])


def test_the_hours_can_be_ignored_once(later):
    provider, _ = later

    assert provider.given("sync", "--any-time", "--json").code == 0
    assert len(provider.titles()) == 4


def test_what_is_published_is_retired_at_any_hour(later):
    provider, _ = later
    provider.given("sync", "--any-time", "--json")
    provider.shaky.withdraw(next(key for key, one in provider.shaky.images.items() if one.title == "shaky-1"))
    provider.shaky.publish()

    assert ("retire", "shaky-1") in provider.given("sync", "--json").done()


def test_one_download_from_a_host_at_a_time_if_that_is_configured(provider):
    provider.options["limits"] = {"downloads_per_host": 1, "parallel_images": 4}
    provider.configure()
    held = Held(after=100_000)
    first, second = (provider.shaky.image_path(key) for key in provider.shaky.images)
    provider.shaky.server.misbehave(first, held)
    provider.shaky.server.misbehave(second, held)
    with provider.start("sync", "--json") as running:
        try:
            assert held.reached.wait(30)
            asked = [path for path in (first, second) if provider.shaky.server.requests_for(path)]
        finally:
            held.release.set()
        assert running.wait(30) == 0
    assert len(asked) == 1
    assert len(provider.titles()) == 4


def test_downloads_keep_to_the_bandwidth_and_none_is_taken_for_slow(provider):
    provider.options["limits"] = {"bandwidth": "8MiB", "stall_timeout": "1s"}
    provider.configure()
    began = datetime.now().astimezone()

    assert provider.given("sync", "--json").code == 0
    assert datetime.now().astimezone() - began > timedelta(seconds=0.5)  # 5 MiB


def test_the_daemon_comes_back_when_the_hours_begin(later):
    provider, until = later
    read, write = os.pipe()
    files = os.memfd_create("files")
    os.write(files, json.dumps({str(provider.config): provider.config.read_text()}).encode())
    os.lseek(files, 0, os.SEEK_SET)
    command = [sys.executable, "-m", "imagesync", "--config", str(provider.config), "pass", "--list", "shaky"]
    command += ["--events", str(write), "--files", str(files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(write, files)) as running:
        os.close(write)
        os.close(files)
        with os.fdopen(read) as events:
            told = [json.loads(line) for line in events]
        assert running.wait(30) == 0

    again = datetime.fromisoformat(told[-1]["image_retry"]).astimezone()
    assert f"waits until {again:%Y-%m-%d %H:%M}" == until
