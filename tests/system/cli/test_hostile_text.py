"""What strangers write cannot steer or flood a terminal, a log or a message."""

import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest

STEERS = re.compile("[\u061c\u200e\u200f\u2028\u2029\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HANG = 150
LONG = 1_000_000
NASTY = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe<b>\n" + "long " * 20_000


def test_status_and_why_show_a_hostile_title_cut_and_neutral(provider):
    provider.configure(limits={"max_list_bytes": "4MiB"})
    provider.steady.add(provider.image("hostile"), title=NASTY)
    provider.steady.publish()
    assert provider.given("sync", "--list", "steady").code == 0

    for command in (("status",), ("status", "--from-state"), ("why", "*gnp.exe*"), ("probe",)):
        shown = provider.given(*command).out
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", shown), command
        assert len(shown) < 20_000, command
    assert "gnp.exe<b>" in provider.given("why", "*gnp.exe*").out


@pytest.fixture
def hostile(provider):
    """Everything that a publisher may write is nasty and a megabyte long in all: of two images one has no address."""
    provider.configure(limits={"max_list_bytes": "32MiB", "attempts": 1})
    provider.steady.title = NASTY
    provider.steady.extra = {
        "dc:description": "<script>alert(1)</script>\x1b[2J\u202e" * (LONG // 40),
        NASTY[:99]: NASTY,
    }
    more = {"dc_description": NASTY, "ad_group": NASTY, "sl_comments": NASTY, "hv_version": f"1.{NASTY[:60]}"}
    provider.steady.add(provider.image("hostile"), title=NASTY, **more)
    provider.steady.add(provider.image("nowhere"), title=NASTY, hv_uri=f"javascript:alert('{NASTY}')")
    provider.steady.publish()
    return provider


def _is_harmless(text, most=40_000):
    assert not STEERS.search(text)
    assert len(text) < most


def test_the_log_and_the_report_of_a_sync_are_neutral_and_short(hostile):
    told = hostile.run("sync")

    assert told.code != 0
    assert "steady" in told.err
    _is_harmless(told.out)
    _is_harmless(told.err)


def test_a_log_for_programs_is_ascii_and_reads_the_same(hostile):
    told = hostile.run("--log-json", "sync")
    lines = [json.loads(line) for line in told.err.splitlines()]

    assert told.err.isascii()
    assert any("gnp.exe" in str(line.get("title")) for line in lines)
    _is_harmless(told.err)


def test_what_is_drawn_on_a_terminal_has_no_sequences_of_strangers(hostile):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "imagesync", "--config", str(hostile.config), "sync"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = _all_of(ours).decode()
    os.close(ours)

    assert process.returncode != 0
    assert "gnp.exe" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert not STEERS.search(shown.replace("\x1b", ""))


def _all_of(terminal):
    """Return what comes until the last program has closed the other end."""
    found = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:
            return found
        found += piece


def test_messages_logs_and_metrics_of_a_daemon_are_neutral_and_short(hostile, start):
    file, page = hostile.root / "ops.jsonl", hostile.root / "page"
    hostile.options["notifications"] = [{"name": "ops", "command": ["sh", "-c", f"cat >> {file}; echo >> {file}"]}]
    hostile.options["daemon"] = {"listen": f"unix:{page}", "jitter": "0"}
    hostile.configure(limits={"max_list_bytes": "32MiB", "attempts": 1})
    with start() as daemon:
        daemon.idle()
        due = time.monotonic() + HANG
        while not (file.exists() and file.read_text().endswith("\n")):
            assert time.monotonic() < due
            time.sleep(0.05)
        metrics = subprocess.run(
            ["curl", "-s", "--unix-socket", page, "http://localhost/metrics"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        told = list(daemon.told)
        daemon.stop()
    events = [event for line in file.read_text().splitlines() for event in json.loads(line)["events"]]

    assert any(event["kind"] == "failure" and event["subscription"] == "steady" for event in events)
    for text in (daemon.log(), metrics, *told, *(event["text"] for event in events)):
        _is_harmless(text)
    assert "imagesync_images{" in metrics
    assert "gnp.exe" not in metrics
    assert len(file.read_text()) < 100_000


LIBRARY = """
import logging, structlog
from imagesync.cli.logs import configure
configure("info", json_lines={json_lines}, run="r1")
logging.getLogger("keystoneauth").warning("a library says \x1b[2J%s", "no")
structlog.get_logger().info("we say", title="\x1b[2J\u202e")
try:
    raise ValueError("a mistake \\x1b[2J" + 100_000 * "long ")
except ValueError:
    logging.getLogger("apscheduler").exception("it failed")
"""


@pytest.mark.parametrize("json_lines", [True, False])
def test_what_libraries_log_is_written_as_our_lines_are(json_lines):
    command = [sys.executable, "-c", LIBRARY.format(json_lines=json_lines)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert not STEERS.search(told)
    assert len(told) < 70_000
    if json_lines:
        theirs, ours, failed = (json.loads(line) for line in told.splitlines())
        assert (theirs["event"], theirs["level"], theirs["logger"]) == (
            "a library says \x1b[2Jno",
            "warning",
            "keystoneauth",
        )
        assert (ours["event"], ours["title"], failed["event"]) == ("we say", "\x1b[2J\u202e", "it failed")
        assert "ValueError: a mistake" in failed["exception"]
        assert {line["run"] for line in (theirs, ours, failed)} == {"r1"}
        assert all(line["timestamp"].endswith("Z") for line in (theirs, ours, failed))
    else:
        assert told.count("run=r1") == 3
        assert "level=warning" in told


def test_what_the_state_says_can_be_chosen_from(synced):
    said = synced.given("status", "--from-state", "--json", "--list", "steady", "--image", "*-1").json

    assert [one["name"] for one in said["lists"]] == ["steady"]
    assert [image["title"] for image in said["targets"][0]["images"]] == ["steady-1"]
    assert (said["level"], said["findings"]) == ("ok", [])


def test_a_site_without_configuration_is_unknown_to_the_probe(provider):
    provider.config.write_text("nonsense: true\n")
    said = provider.given("probe")

    assert said.code == 3
    assert said.out.startswith("IMAGESYNC UNKNOWN - ")
    assert said.out.count("\n") == 1


def test_a_probe_that_is_used_wrongly_is_unknown_and_no_alarm(provider):
    said = provider.given("probe", "--warning", "soon")

    assert (said.code, said.out.startswith("IMAGESYNC UNKNOWN - ")) == (3, True)
