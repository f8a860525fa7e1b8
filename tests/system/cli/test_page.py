"""The status page in a browser: a real daemon over real lists and images, and Chromium without a head."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from imagesync.testing.faults import Held, Slow, Tampered

HANG = 150
HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202egnp.exe javascript:alert(3) ' + "long " * 2000
)
SECRET = "a secret of this test"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOAD = Path(__file__).parents[2] / "bench" / "load.lua"
SLOW = 5
"""Seconds that an answer may take on a machine that has much else to do; ``make bench`` measures it."""

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 360, "height": 740}}


class Daemon:
    """A running daemon and its page."""

    def __init__(self, address, process):
        self.address, self.process = address, process

    def get(self, path, **headers):
        request = urllib.request.Request(self.address + path, headers=headers)
        with urllib.request.urlopen(request, timeout=HANG) as answer:
            return answer.read().decode()

    def status(self):
        return json.loads(self.get("/api/v1/status", Authorization=f"Bearer {SECRET}"))

    def until(self, ready):
        due = time.monotonic() + HANG
        while time.monotonic() < due:
            try:
                if ready():
                    return
            except (OSError, urllib.error.HTTPError):
                pass
            time.sleep(0.05)
        raise TimeoutError(self.address)


@pytest.fixture(scope="module")
def provider(trust_of_today, make_provider, tmp_path_factory):
    """One site for all: starting a browser and a daemon is what takes time here."""
    with make_provider(trust_of_today, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def daemon(provider):
    """Two lists: one with an image that fails and another with a hostile title, one that is refused."""
    with _running(_troubled(provider)) as running:
        yield running


def _troubled(provider):
    (first, *_) = provider.shaky.images
    provider.shaky.server.misbehave(provider.shaky.image_path(first), Tampered(0))
    provider.shaky.add(provider.image("hostile"), title=HOSTILE, **{"dc:description": HOSTILE})
    provider.shaky.publish()
    assert provider.given("sync").code == 1
    provider.steady.publish(signer=provider.trust.stranger)
    return provider


@contextmanager
def _running(provider):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    secret = provider.root / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    provider.options["daemon"] = {"jitter": "0", "listen": f"127.0.0.1:{port}", "auth": {"file": str(secret)}}
    provider.configure()
    command = [sys.executable, "-m", "imagesync", "--config", str(provider.config), "daemon"]
    with (provider.root / "daemon.log").open("w") as log:
        process = subprocess.Popen(command, env=dict(os.environ), stderr=log, stdin=subprocess.DEVNULL)
        try:
            running = Daemon(f"http://127.0.0.1:{port}", process)
            running.until(lambda: running.get("/readyz") == "ready\n")
            running.until(lambda: not running.status()["running"])
            yield running
            process.terminate()
            assert process.wait(HANG) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """A browser window that writes down what must not happen."""

    def __init__(self, browser, daemon, **options):
        credentials = {"username": "operator", "password": SECRET}
        self.daemon = daemon
        self.context = browser.new_context(http_credentials=credentials, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in {"error", "warning"} else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._watch(request.url))

    def _watch(self, url):
        if not url.startswith(self.daemon.address + "/"):
            self.wrong.append(url)

    def open(self, path):
        answer = self.page.goto(self.daemon.address + path)
        assert answer.status == 200, path
        return self.page


@pytest.fixture
def visit(chromium, daemon):
    opened = []

    def visit(**options):
        opened.append(Visitor(chromium, daemon, **options))
        return opened[-1]

    yield visit
    for visitor in opened:
        visitor.context.close()


def _paths(daemon):
    images = [image for target in daemon.status()["targets"] for image in target["images"]]
    (hostile,) = [image["ref"] for image in images if "<script>" in image["title"]]
    (failed,) = [image["ref"] for image in images if image["state"] == "failed"]
    daemon.get("/plan", Authorization=f"Bearer {SECRET}")
    daemon.until(lambda: "data-making" not in daemon.get("/plan", Authorization=f"Bearer {SECRET}"))
    assert "kept as they are" in daemon.get("/plan", Authorization=f"Bearer {SECRET}")
    return {
        "overview": "/",
        "list": "/lists/shaky",
        "refused": "/lists/steady",
        "target": "/targets/site",
        "image": f"/targets/site/{hostile}",
        "failed": f"/targets/site/{failed}",
        "plan": "/plan",
        "passes": "/passes",
    }


FORMS = [(scheme, size) for scheme in ("light", "dark") for size in SIZES]
AUDITED = {("light", "wide"), ("dark", "narrow")}
"""Both colours and both widths; the other two forms add nothing that these do not have."""
ALIKE = {"refused", "failed"}
"""Pages of a kind that is there already."""


def test_every_page_is_whole_and_accessible_in_every_form(daemon, visit):
    visitor = visit()
    for name, path in _paths(daemon).items():
        page = visitor.open(path)
        for scheme, size in FORMS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(SIZES[size])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, size)
            _keep(page, f"{name}-{scheme}-{size}")
            if (scheme, size) in AUDITED and not (name in ALIKE and scheme == "dark"):
                found = Axe().run(page).response["violations"]
                assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], (name, scheme, size)
    assert visitor.wrong == []


def _keep(page, name):
    """Keep a picture where somebody wants to look at them."""
    if directory := os.environ.get("IMAGESYNC_SCREENSHOTS"):
        page.screenshot(path=f"{directory}/{name}.png", full_page=True)


def test_hostile_text_is_shown_as_text_and_cut(daemon, visit):
    paths = _paths(daemon)
    visitor = visit()
    for path in paths.values():
        page = visitor.open(path)
        assert page.locator("script:not([src])").count() == 0
        assert page.locator("main img").count() == 0
        assert page.locator("a[href^='javascript']").count() == 0
        text = page.inner_text("body")
        assert not re.search("[\x1b\u202e]", text)
        assert len(text) < 20_000
    assert '"><script>alert(1)</script>' in visitor.open(paths["image"]).inner_text("h1")
    assert visitor.wrong == []


def test_everything_can_be_reached_and_done_with_the_keyboard(daemon, visit):
    visitor = visit()
    page = visitor.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == "/lists/shaky":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/lists/shaky")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/passes")
    daemon.until(lambda: len([one for one in daemon.status()["running"] if one["name"] == "shaky"]) == 0)
    assert visitor.wrong == []


def test_it_works_without_scripts(daemon, visit):
    page = visit(java_script_enabled=False).open("/")

    assert "not as endorsed" in page.inner_text("h1")
    assert "shaky" in page.inner_text("main")


def test_work_that_goes_on_is_shown_while_it_does(provider, daemon, visit):
    provider.shaky.add(provider.image("news"), title="news")
    (*_, news) = provider.shaky.images
    provider.shaky.publish()
    held = Held(640 << 10)
    provider.shaky.server.misbehave(provider.shaky.image_path(news), held)
    visitor = visit()
    page = visitor.open("/lists/shaky")
    page.get_by_role("button", name="Look at it now").click()
    try:
        page.get_by_role("progressbar", name="download news").wait_for(timeout=HANG * 1000)
    finally:
        held.release.set()
    assert visitor.wrong == []


def test_it_answers_many_at_once_while_a_pass_runs(provider, daemon):
    provider.shaky.add(provider.image("more"), title="more")
    (*_, more) = provider.shaky.images
    provider.shaky.publish()
    provider.shaky.server.misbehave(provider.shaky.image_path(more), Slow(chunk=64 << 10, pause=0.2))
    (target,) = daemon.status()["targets"]
    pages = ["/", "/lists/shaky", "/targets/site", f"/targets/site/{target['images'][0]['ref']}", "/plan", "/passes"]
    paths = [*pages, "/passes/running", "/healthz", "/readyz", "/metrics", "/api/v1/status"]
    bearer = {"Authorization": f"Bearer {SECRET}"}
    request = urllib.request.Request(f"{daemon.address}/api/v1/lists/shaky/sync", b"", bearer)
    urllib.request.urlopen(request, timeout=HANG).close()
    daemon.until(lambda: any(one["tasks"] for one in daemon.status()["running"]))

    command = ["wrk", "-t", "1", "-c", "8", "-d", "4", "--timeout", "30", "-s", str(LOAD), daemon.address, "--", "20"]
    environment = {**os.environ, "IMAGESYNC_TOKEN": SECRET}
    done = subprocess.run([*command, *paths], env=environment, capture_output=True, text=True, check=True, timeout=HANG)

    found = json.loads(done.stdout.splitlines()[-1])
    assert [found[key] for key in ("cut", "late", "bad")] == [0, 0, 0], found
    assert found["requests"] > len(paths)
    assert found["p99"] < SLOW
    daemon.until(lambda: "more" in provider.titles())
