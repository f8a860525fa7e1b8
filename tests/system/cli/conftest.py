"""A site with two subscribed lists, run by the real command line against a publisher on loopback.

Of the two lists ``steady`` always works and ``shaky`` is what a test breaks. Each has a server of its own.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from unittest import mock

import psutil
import pytest
import yaml

from imagesync.cli.main import run
from imagesync.lists.seal import SigningIdentity
from imagesync.testing.disks import Disk, Kind, write_disk
from imagesync.testing.list_server import ListServer, PublishedList, identity_of
from imagesync.testing.pki import Authority, ec_key, write_anchors, write_identity

HANG = 150
KIB = 1 << 10


@dataclass(frozen=True)
class Trust:
    """Who signs and whom the site trusts; made once, because nothing of it is ever changed."""

    now: datetime
    anchors: Path
    endorser: SigningIdentity
    colleague: SigningIdentity
    stranger: SigningIdentity

    def files(self, directory):
        return write_identity(self.endorser, directory)


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, and both of its outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    def list(self, name):
        return next(item for item in self.json["lists"] if item["name"] == name)

    def target(self, name="site"):
        return next(item for item in self.json["targets"] if item["name"] == name)

    def action(self, title, target="site"):
        (found,) = (action for action in self.target(target)["actions"] if action["title"] == title)
        return found

    def done(self, target="site"):
        """Return (kind, title) of every action that changed something."""
        return sorted(
            (action["kind"], action["title"])
            for action in self.target(target)["actions"]
            if action["kind"] not in {"keep", "hold", "skip"} and action["outcome"] == "done"
        )


@dataclass
class Provider:
    """The site, its two lists, and what an operator does."""

    trust: Trust
    root: Path
    servers: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    subscription_options: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)

    def __post_init__(self):
        self.targets.append(
            {"name": "site", "backend": "directory", "path": str(self.root / "site"), "formats": ["raw"]}
        )

    # --- the publisher ---
    def open(self, name, **how) -> PublishedList:
        server = ListServer(self.trust.endorser, self.trust.now, **how)
        stack = ExitStack()
        stack.enter_context(server)
        self.servers[name] = stack
        return server.add_list(f"{name}.example.org")

    def close(self, *names):
        """Stop the servers of these lists, or all."""
        for name in names or tuple(self.servers):
            self.servers[name].close()

    def image(self, title, kind=Kind.RAW, size=1280 * KIB):
        """Make a small disk image; another title is another content."""
        (self.root / "publisher").mkdir(exist_ok=True)
        return write_disk(self.root / "publisher" / f"{title}{kind.suffix}", kind, Disk(title, size, size // 8))

    # --- the site ---
    @property
    def config(self):
        return self.root / "imagesync.yaml"

    def subscriptions(self):
        endorser = identity_of(self.trust.endorser)
        return [
            {
                "name": name,
                "vo": published.vo,
                "url": published.url,
                "endorsers": [{"dn": endorser.dn, "ca": endorser.ca}],
                "allow_private_addresses": True,
                **self.subscription_options.get(name, {}),
            }
            for name, published in (("shaky", self.shaky), ("steady", self.steady))
        ]

    def configure(self, **changes):
        config = {
            "state": f"sqlite:///{self.root / 'state.db'}",
            "cache": str(self.root / "cache"),
            "cache_reserve_bytes": 0,
            "trust": {"anchors": str(self.trust.anchors)},
            "limits": {"attempts": 1, "stall_timeout": "2s", "header_timeout": "4s", "max_list_bytes": "64KiB"},
            "guard": {"min_images": 99},
            "subscriptions": self.subscriptions(),
            "targets": self.targets,
            **self.options,
            **changes,
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def start(self, *arguments, **environment):
        """Start the real command line and return the process."""
        command = [sys.executable, "-m", "imagesync", "--config", str(self.config), *map(str, arguments)]
        env = {**os.environ, **self.environment, **environment}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def run(self, *arguments, stdin=None, **environment) -> Result:
        """Run the real command line to its end."""
        command = [sys.executable, "-m", "imagesync", "--config", str(self.config), *map(str, arguments)]
        env = {**os.environ, **self.environment, **environment}
        done = subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=HANG, check=False)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def sync(self, *arguments, **environment) -> Result:
        return self.run("sync", "--json", *arguments, **environment)

    def given(self, *arguments, stdin=b"") -> Result:
        """Run a command in this process: quicker, for what leads up to a test and for the rows of a table."""
        out, err = StringIO(), StringIO()
        words = ["imagesync", "--config", str(self.config), *map(str, arguments)]
        with ExitStack() as stack:
            stack.enter_context(mock.patch.multiple(sys, argv=words, stdin=TextIOWrapper(BytesIO(stdin))))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            ended = stack.enter_context(pytest.raises(SystemExit))
            run()
        return Result(ended.value.code, out.getvalue(), err.getvalue())

    # --- what there is ---
    def entries(self, published=None, target="site"):
        """Return the catalogue's entries, of one list if it is given."""
        path = self.root / target / "catalogue.json"
        entries = json.loads(path.read_bytes())["images"] if path.exists() else []
        return [one for one in entries if published is None or one["key"]["list"] == published.identifier]

    def titles(self, state="published", target="site"):
        return sorted(one["name"] for one in self.entries(target=target) if one["state"] == state)

    def held(self, published, target="site"):
        """Return a list's entries with what their files hold: what must be the same after a failure."""
        files = [self.root / target / one["file"] for one in self.entries(published, target)]
        return [(one, digest(file)) for one, file in zip(self.entries(published, target), files, strict=True)]

    def leftovers(self, target="site"):
        """Return what no command may leave behind: private work of the cache, partial files of the target."""
        places = (self.root / "cache" / "tmp", self.root / target / ".imagesync" / "partial")
        return [path for place in places if place.is_dir() for path in place.iterdir()]

    def files(self, published, target="site"):
        """Return what can be booted of a list, whatever is said about it: names, links and contents."""
        return {
            (one["name"], one["link"], content)
            for one, content in self.held(published, target)
            if one["state"] == "published"
        }

    # --- the failures ---
    def fails_alone(self, **environment) -> Result:
        """Sync while ``steady`` has news, and see that these arrive and that nothing of ``shaky`` is changed."""
        before = self.held(self.shaky)
        result = self._sync_with_news(**environment)
        assert self.held(self.shaky) == before
        return result

    def fails_beside_others(self, **environment) -> Result:
        """Sync while ``steady`` has news, and see that these arrive and that no image of ``shaky`` went."""
        before = self.files(self.shaky)
        result = self._sync_with_news(**environment)
        assert self.files(self.shaky) >= before
        return result

    def _sync_with_news(self, **environment) -> Result:
        self.steady.add(self.image("news"), title="news")
        self.steady.publish()
        result = self.sync(**environment)
        assert ("register", "news") in result.done()
        assert all(
            (self.root / "site" / one["link"]).is_file() for one in self.entries() if one["state"] == "published"
        )
        assert self.leftovers() == []
        assert result.json["exit"] == result.code
        return result


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def trust_of_today(tmp_path_factory):
    now = datetime.now(UTC).replace(microsecond=0)
    authority = Authority("/DC=org/DC=example/CN=Test CA", now, key=ec_key())
    unknown = Authority("/DC=org/DC=example/CN=Unknown CA", now, key=ec_key())
    return Trust(
        now,
        write_anchors(tmp_path_factory.mktemp("anchors"), [authority]),
        authority.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key()),
        authority.issue("/DC=org/DC=example/CN=Robot: colleague", key=ec_key()),
        unknown.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key()),
    )


@pytest.fixture
def provider(trust_of_today, tmp_path) -> Iterator[Provider]:
    """Return a site that is configured for both lists, which have two images each and are published."""
    with _provider(trust_of_today, tmp_path) as site:
        yield site


@pytest.fixture(scope="session")
def make_provider():
    """Return a context manager that gives such a site in a directory."""
    return _provider


@contextmanager
def _provider(trust, root) -> Iterator[Provider]:
    site = Provider(trust, root)
    site.steady, site.shaky = site.open("steady"), site.open("shaky")
    try:
        for published in (site.steady, site.shaky):
            for number in (1, 2):
                title = f"{published.vo.partition('.')[0]}-{number}"
                published.add(site.image(title), title=title)
            published.publish()
        site.configure()
        yield site
    finally:
        site.close()


@pytest.fixture
def synced(provider) -> Provider:
    """Return a site after a first good pass."""
    first = provider.given("sync", "--json")
    assert (first.code, len(provider.titles())) == (0, 4)
    return provider


@pytest.fixture
def in_seconds():
    """Return a function to a time so many seconds from now, as a list can say it."""
    return lambda seconds: (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


@pytest.fixture
def ending():
    """Return a context manager that waits for a process and ends it in any case."""

    @contextmanager
    def watch(process):
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    return watch


@pytest.fixture
def unprivileged(tmp_path):
    """Return a function that runs the command line without the right to read whatever is not permitted to it."""

    def run(*arguments):
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "imagesync"]
        command = [*words, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=HANG, cwd=tmp_path, check=False)

    return run


@pytest.fixture
def tools(tmp_path):
    """Return a function that makes a search path with what conversions need and, as qemu-img, a script or nothing."""

    def make(script=""):
        directory = tmp_path / "tools"
        directory.mkdir()
        for program in ("setpriv", "prlimit", "sh", "sleep", "touch"):
            (directory / program).symlink_to(shutil.which(program))
        if script:
            qemu = directory / "qemu-img"
            qemu.write_text(f"#!{shutil.which('sh')}\n{script}\n")
            qemu.chmod(0o755)
        return str(directory)

    return make


# --- the daemon ---
_LISTS = "select subscription, code, failures from last_pass where subscription <> '(housekeeping)'"


class Daemon:
    """A running daemon, and what it told its service manager."""

    def __init__(self, provider, link, process):
        self.provider, self.link, self.process = provider, link, process
        self.told = []

    def hear(self, text, timeout=HANG):
        """Wait until the daemon tells something that has ``text`` in it, and return that."""
        return self._hear(lambda line: text in line, timeout)

    def _hear(self, fits, timeout):
        due = time.monotonic() + timeout
        while time.monotonic() < due:
            self.link.settimeout(max(due - time.monotonic(), 0.01))
            try:
                message = self.link.recv(4096).decode()
            except TimeoutError:
                break
            self.told.append(message)
            if fits(message):
                return message
        raise TimeoutError(f"not told in time; told: {self.told}; log: {self.log()}")

    def idle(self):
        """Wait until nothing runs."""
        return self.hear("next: ")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.process.wait(HANG)

    def log(self):
        return (self.provider.root / "daemon.log").read_text()

    def passes(self):
        with closing(sqlite3.connect(self.provider.root / "state.db")) as state:
            return {row[0]: row[1:] for row in state.execute(_LISTS)}


@pytest.fixture
def start(provider, tmp_path):
    """Return a context manager that runs the daemon."""

    @contextmanager
    def start(*options, wait=True, **environment):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, (tmp_path / "daemon.log").open("a") as log:
            address = tmp_path / "notify"
            address.unlink(missing_ok=True)
            link.bind(str(address))
            command = [sys.executable, "-m", "imagesync", "--config", str(provider.config), "daemon", *options]
            env = {**os.environ, "NOTIFY_SOCKET": str(address), **environment}
            process = psutil.Popen(command, env=env, stderr=log, stdin=subprocess.DEVNULL)
            daemon = Daemon(provider, link, process)
            try:
                if wait:
                    daemon.hear("READY=1")
                yield daemon
            finally:
                children = process.children(recursive=True) if process.is_running() else []
                if process.poll() is None:
                    process.kill()
                    process.wait()
                assert psutil.wait_procs(children, timeout=15)[1] == []

    return start


@pytest.fixture
def quiet(provider):
    """Two lists with an image each, and a daemon that looks at them every six hours."""
    provider.options["daemon"] = {"listen": "off", "jitter": "0"}
    provider.configure()
    return provider
