"""A real state with whatever a test wants in it, and the page over it, without a daemon."""

import asyncio
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import yaml

from imagesync.config.load import load, snapshot
from imagesync.daemon.live import Live
from imagesync.daemon.passes import Program, Site
from imagesync.daemon.stop import Stop
from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.app import make_app
from imagesync.daemon.web.plans import Plan, Plans
from imagesync.daemon.web.window import Window
from imagesync.lists.seal import seal
from imagesync.model import Accepted, Digest, Identity, ImageId, ImageKey, ListId, Signer
from imagesync.run.situation import Outlook
from imagesync.state import (
    Evidence,
    EvidenceKind,
    ImageRecord,
    MetadataRecord,
    PassRecord,
    Pausable,
    PauseRecord,
    StoredList,
    open_state,
)
from imagesync.testing.pki import Authority, ec_key

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Signature:
    """Who signs, and the chain as evidence; made once."""

    identity: object
    evidence: tuple


@pytest.fixture(scope="session")
def signature():
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = Authority("/DC=org/DC=example/CN=Test CA", NOW, key=ec_key(), lifetime=timedelta(days=3000))
    signer = authority.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key())
    ders = [one.public_bytes(Encoding.DER) for one in (signer.certificate, authority.certificate)]
    return Signature(signer, tuple(Evidence(EvidenceKind.CERTIFICATE, der) for der in ders))


@dataclass
class Place:
    """A configuration, its state, and the page over both."""

    root: object
    signature: Signature
    now: datetime = NOW
    next: dict = field(default_factory=dict)
    troubles: dict = field(default_factory=dict)
    complaint: str = ""
    state: str = ""
    is_alive: bool = True
    past: int | None = None
    hastened: list = field(default_factory=list)
    live: Live = field(default_factory=Live)
    options: dict = field(default_factory=dict)
    lists: tuple = ("fedcloud",)
    planned: dict | None = None

    @property
    def url(self):
        return f"sqlite:///{self.root}/state.db"

    def site(self):
        file = self.root / "imagesync.yaml"
        endorser = {"dn": "/CN=a", "ca": "/CN=b"}
        subscriptions = [
            {
                "name": name,
                "vo": f"{name}.example",
                "url": f"https://lists.example/{name}?signature=v",
                "endorsers": [endorser],
            }
            for name in self.lists
        ]
        target = {"name": "site", "backend": "directory", "path": str(self.root / "target")}
        config = {"state": self.url, "cache": str(self.root / "cache"), "subscriptions": subscriptions}
        file.write_text(yaml.safe_dump({**config, "targets": [target], **self.options}))
        return Site(load(file, {}), snapshot(file))

    # --- what is in the state ---
    def accept(self, name="fedcloud", *, at=None, entries=(), created=None, expires=None, version="1"):
        """Accept a version of a list; ``entries`` are what it says of images."""
        import json

        at = at or self.now
        content = json.dumps({"hv:imagelist": {"hv:images": [{"hv:image": entry} for entry in entries]}}).encode()
        blob = seal(content, self.signature.identity, self.now)
        signer = Signer(Identity("/CN=Robot: endorser", "/CN=Test CA"), self.now + 300 * DAY, "ab" * 32)
        accepted = Accepted(
            subscription=name, list=ListId(f"list-{name}"), version=version, digest=Digest("0" * 128),
            created=created or at - HOUR, expires=expires or at + 30 * DAY, accepted_at=at, signer=signer,
            expiries={ImageId(str(entry["dc:identifier"])): None for entry in entries},
        )  # fmt: skip
        with open_state(self.url) as state:
            state.accept(accepted, StoredList(blob, evidence=self.signature.evidence))
        return self

    def hold(self, image="one", state="published", **more):
        """Put an image on the target."""
        values = {
            "title": f"Image {image}",
            "reason": "as endorsed",
            "since": self.now - HOUR,
            "digest": None,
            "format": "raw",
        }
        key = ImageKey("", ListId(more.pop("list", "list-fedcloud")), ImageId(image))
        with open_state(self.url) as opened:
            opened.record("site", [ImageRecord(key=key, state=state, **{**values, **more})])
        return self

    def ran(self, number=1, *, ago=HOUR, code=0, lists=(("fedcloud", "trusted", ""),), actions=(), ends=(), **target):
        """Note a run that ended."""
        began = self.now - ago
        report = {
            "exit": code,
            "clock": "trusted",
            "lists": [
                {"name": name, "verdict": verdict, "reason": reason, "ends": list(ends)}
                for name, verdict, reason in lists
            ],
            "targets": [{"name": "site", "error": None, "notices": [], "actions": list(actions), **target}],
        }
        with open_state(self.url) as state:
            state.begin_run(f"run-{number}", "sync", began)
            ended = began + timedelta(seconds=90)
            state.finish_run(f"run-{number}", ended, code, report)
            verdicts = {name: verdict for name, verdict, _ in lists}
            state.standings.note(verdicts, began, ended, good=code in {0, 4})
        return self

    def made(self, artifact):
        with open_state(self.url) as state:
            state.remember(artifact)
        return self

    def described(self, image, **properties):
        key = ImageKey("", ListId("list-fedcloud"), ImageId(image))
        with open_state(self.url) as state:
            state.describe("site", [MetadataRecord(key, f"Image {image}", 512, properties, self.now)])
        return self

    def paused(self, scope, name, until=None):
        with open_state(self.url) as state:
            state.pause(
                [PauseRecord(Pausable(scope), name, "<script>alert(1)</script>", "ops@host", self.now - HOUR, until)]
            )
        return self

    def passed(self, name="fedcloud", *, ago=HOUR, code=0, failures=0, retry_at=None):
        with open_state(self.url) as state:
            state.note_pass(PassRecord(name, self.now - ago, code, failures, retry_at, "0" * 64))
        return self

    # --- the page ---
    def window(self):
        site = self.site()
        plans = Plans(Program(["false"], {}, lambda: self.now), lambda: site, Stop())
        if self.planned is not None:
            plans._plan, plans._begun = Plan(self.now - HOUR / 60, self.planned), self.now
        return Window(
            site=lambda: site,
            outlook=lambda: Outlook(dict(self.next), dict(self.troubles), self.complaint, self.state),
            live=self.live,
            clock=lambda: self.now,
            hasten=self.hastened.append,
            plans=plans,
            began=self.now - DAY,
            is_alive=lambda: self.is_alive,
            past=lambda: self.past,
        )

    def open(self, rules=None):
        return Visitor(make_app(self.window(), rules or Rules()))


@dataclass(frozen=True)
class Visitor:
    """Asks an application as a client does, without a network between."""

    app: object

    def get(self, path, **how):
        return self.ask("GET", path, **how)

    def post(self, path, **how):
        return self.ask("POST", path, **how)

    def ask(self, method, path, **how):
        async def ask():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **how)

        return asyncio.run(ask())


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory):
    """Return a state without anything in it: making its tables is what takes time."""
    path = tmp_path_factory.mktemp("state") / "state.db"
    with open_state(f"sqlite:///{path}"):
        return path


@pytest.fixture
def place(tmp_path, signature, empty_state):
    shutil.copy(empty_state, tmp_path / "state.db")
    return Place(tmp_path, signature)


@pytest.fixture
def visitor():
    """Return what makes somebody who asks an application."""
    return Visitor
