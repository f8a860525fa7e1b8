"""A whole pass with fakes at its ports: a publisher who really signs, a cloud in memory, images of a few bytes."""

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagesync.backend import Context, Format
from imagesync.errors import HttpStatusError
from imagesync.http import HttpPolicy
from imagesync.images.prepare import Artifact
from imagesync.lists.anchors import load_anchors
from imagesync.lists.names import render
from imagesync.lists.seal import seal
from imagesync.lists.smime import SignaturePolicy
from imagesync.lists.source import Fetched
from imagesync.model import Identity
from imagesync.run.settings import Scope, Subscription, Target
from imagesync.run.sync import Ports, Task, run_pass
from imagesync.state import open_state
from imagesync.testing.backend import FakeCloud
from imagesync.testing.pki import Authority, ec_key, write_anchors
from imagesync.testing.steps import Steps, dying

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Trust:
    """A certificate authority and who signs; made once, because keys take time."""

    directory: Path
    signer: object
    stranger: object

    @property
    def identity(self):
        certificate = self.signer.certificate
        return Identity(render(certificate.subject), render(certificate.issuer))


@pytest.fixture(scope="session")
def trust(tmp_path_factory):
    authority = Authority("/DC=org/DC=example/CN=Test CA", NOW, key=ec_key(), lifetime=timedelta(days=3000))
    signer = authority.issue("/DC=org/DC=example/CN=Robot: endorser", key=ec_key())
    stranger = authority.issue("/DC=org/DC=example/CN=Somebody else", key=ec_key())
    return Trust(write_anchors(tmp_path_factory.mktemp("anchors"), [authority]), signer, stranger)


def sha512(content):
    return hashlib.sha512(content.encode()).hexdigest()


@dataclass
class Site:
    """A publisher with one list, a cloud, a state, and what the operator says."""

    trust: Trust
    root: Path
    now: datetime = NOW
    version: int = 0
    lifetime: timedelta = timedelta(days=365)
    images: dict = field(default_factory=dict)
    cloud: FakeCloud = field(default_factory=FakeCloud)
    failure: object = None
    prepared: list = field(default_factory=list)
    broken: dict = field(default_factory=dict)
    delete_after: timedelta = timedelta(days=30)
    guard: dict = field(default_factory=dict)
    blob: bytes = b""
    steps: Steps = field(default_factory=Steps)
    name: str = "vo-list"
    identifier: str = "11111111-1111-4111-8111-111111111111"
    converts: bool = False
    contexts: list = field(default_factory=list)

    def publish(self, signer=None, **changes):
        """Sign the images as a new version."""
        self.version += 1
        entries = [{"hv:image": self._entry(name, *values)} for name, values in self.images.items()]
        document = {
            "dc:identifier": self.identifier,
            "dc:title": "list",
            "dc:description": "",
            "dc:source": "",
            "hv:version": str(self.version),
            "hv:uri": "https://lists.example/image.list",
            "dc:date:created": f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
            "dc:date:expires": f"{self.now + self.lifetime:%Y-%m-%dT%H:%M:%SZ}",
            "ad:vo": "vo.example",
            "hv:endorser": {"hv:x509": {"hv:dn": self.trust.identity.dn, "hv:ca": self.trust.identity.ca}},
            "hv:images": entries,
            **changes,
        }
        self.blob = seal(json.dumps({"hv:imagelist": document}).encode(), signer or self.trust.signer, self.now)
        return self

    def offer(self, **contents):
        """Put images on the list: name=content, or name=(content, expires)."""
        for name, value in contents.items():
            content, expires = value if isinstance(value, tuple) else (value, None)
            self.images[name] = (content, expires)
        return self

    def _entry(self, name, content, expires):
        entry = {
            "dc:identifier": name,
            "dc:title": f"Image {name}",
            "dc:description": "",
            "hv:version": "1",
            "hv:uri": f"https://images.example/{name}",
            "hv:size": len(content),
            "hv:format": "QCOW2",
            "hv:hypervisor": "KVM",
            "sl:arch": "x86_64",
            "sl:os": "Linux",
            "sl:osname": "Debian",
            "sl:osversion": "12",
            "sl:comments": "",
            "sl:checksum:sha512": sha512(content),
            "ad:mpuri": f"https://appdb.egi.eu/store/vo/image/{name}:{self.version}/",
        }
        return entry | ({"dc:date:expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}"} if expires else {})

    def fetch(self, request):
        self.steps.step("fetch")
        if self.failure is not None:
            raise self.failure
        return Fetched(self.blob, request.url, None, None, self.now)

    @contextmanager
    def prepare(self, wanted, target, downloading, converting):
        self.steps.step(f"prepare {wanted.image.identifier}")
        if wanted.image.identifier in self.broken:
            raise self.broken[wanted.image.identifier]
        content = self.images[str(wanted.image.identifier)][0]
        size = len(content)
        content = f"converted {content}" if self.converts else content
        path = self.root / f"artifact-{wanted.image.identifier}"
        path.write_text(content)
        self.prepared.append(str(wanted.image.identifier))
        form = target.formats[0]
        yield Artifact(path, sha512(content), len(content), 2**30, form, form, converted=self.converts, downloaded=size)

    def down(self, status=503):
        self.failure = HttpStatusError("https://lists.example/image.list", status)
        return self

    def subscription(self, **more):
        values = {
            "name": self.name,
            "vo": "vo.example",
            "url": "https://lists.example/image.list",
            "endorsers": (self.trust.identity,),
            "list_policy": HttpPolicy(),
            "image_policy": HttpPolicy(),
            "signature": SignaturePolicy(pinned=True),
        }
        return Subscription(**{**values, **more})

    def sync(self, **more):
        """Run one pass; whatever of ``Task`` is given stands over the defaults."""
        from imagesync.plan.values import GuardRules

        rules = {self.name: GuardRules(**{"min_images": 99, **self.guard})}
        target = Target("site", "fake", (Format.QCOW2,), delete_after=self.delete_after, guards=rules)
        task = Task(
            "imagesync",
            self.now,
            more.pop("subscriptions", (self.subscription(),)),
            more.pop("targets", (target,)),
            ahead=0,
        )
        task = replace(task, **more)
        with open_state(f"sqlite:///{self.root}/state.db") as state:
            return run_pass(task, self.ports(state))

    def remembered(self, name):
        """Return (state, reason) as the state has it of an image."""
        with open_state(f"sqlite:///{self.root}/state.db") as state:
            return [(record.state, record.reason) for record in state.images("site") if record.key.image == name]

    def lose_state(self):
        for path in self.root.glob("state.db*"):
            if path.is_file():
                path.unlink()

    def ports(self, state):
        return Ports(
            fetch=lambda _: self.fetch,  # looked up late: tests replace it
            anchors=load_anchors(self.trust.directory),
            open_target=self._enter,
            prepare=self.prepare,
            state=dying(state, self.steps, "state."),
        )

    def _enter(self, target, context):
        self.contexts.append(context)
        return self.open_target(target)

    def context(self):
        return Context("site", "imagesync")

    @contextmanager
    def open_target(self, target):
        with self.cloud.open_backend({}, Context(target.name, "imagesync")) as backend:
            yield dying(backend, self.steps)

    # --- what there is afterwards ---
    def published(self):
        """Return name and content digest of what users can boot."""
        return {str(image.key.image): image.digest for image in self.cloud.published()}

    def endorsed(self):
        return {
            name: sha512(content)
            for name, (content, expires) in self.images.items()
            if expires is None or expires > self.now
        }

    def states(self):
        """Return (name, state) of every record."""
        records = (record.image for record in self.cloud.records.values())
        return sorted((str(image.key.image), str(image.state)) for image in records)


@pytest.fixture
def site(trust, tmp_path):
    return Site(trust, tmp_path)


@pytest.fixture
def scope():
    return Scope


@pytest.fixture(autouse=True)
def quiet_logs():
    """Keep what passes log out of the tests' output."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()
