"""Builders of the values that a plan is made from; each argument has a harmless default."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from imagesync.backend import Format, ImageKey, Metadata, OwnedImage, Retirement, State
from imagesync.lists.select import Cause, Selected, Skipped
from imagesync.model import Identity, Image, ImageList, Signer, TrustedList, Unknown, Verdict
from imagesync.plan.diff import make_plan
from imagesync.plan.spec import File, Presentation, complete, fingerprint, want
from imagesync.plan.values import GuardRules, ListView, TargetView

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIST = "76fdee70-8119-5d33-9f40-3c57e1c60df1"
FORMS = (Format.QCOW2, Format.RAW)
SIGNER = Signer(Identity("/CN=endorser", "/CN=CA"), NOW + timedelta(days=100), "0" * 64)


def digest(text):
    import hashlib

    return hashlib.sha512(text.encode()).hexdigest()


@dataclass
class World:
    """One list and one target, with the pass's clock."""

    now: datetime = NOW
    version: str = "1"
    expires: datetime = NOW + timedelta(days=365)
    images: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    owned: list = field(default_factory=list)
    view: dict = field(default_factory=dict)
    target: dict = field(default_factory=dict)
    unknown: str = ""
    style: dict = field(default_factory=dict)
    documented: dict = field(default_factory=dict)

    def image(self, name, content="", **more):
        values = {
            "identifier": name,
            "title": f"Image {name}",
            "description": "",
            "version": "1",
            "uri": f"https://images.example/{name}",
            "sha512": digest(content or name),
            "size": 1000,
            "expires": None,
            "mpuri": f"https://appdb.egi.eu/store/vo/image/{name}:1/",
            "architecture": "x86_64",
            "os_name": "Debian",
            "os_version": "12",
            "ram_min": 0,
            "cores_min": 0,
            "raw": {},
        }
        return Image(**{**values, **more})

    def trusted(self, **more):
        content = ImageList(
            identifier=LIST,
            version=self.version,
            vo="vo.example",
            title="list",
            uri="",
            created=self.now,
            expires=self.expires,
            endorser=SIGNER.identity,
            signer=SIGNER,
            digest=digest(self.version),
            images=tuple(self.images),
            broken=(),
        )
        return TrustedList("fedcloud", "vo.example", content, **more)

    def wanted(self, image, trusted=None):
        chosen = Selected(image, image.expires or self.expires)
        return want(trusted or self.trusted(), chosen, "", Presentation(FORMS, "", "imagesync", **self.style))

    def offer(self, *names, **more):
        """Put images on the list."""
        self.images += [self.image(name, **more) for name in names]
        return self

    def skip(self, name, cause=Cause.EXCLUDED, reason="excluded by title"):
        self.skipped.append(Skipped(name, f"Image {name}", cause, reason))
        return self

    def hold(self, *names, state=State.PUBLISHED, at=None, why="withdrawn", ref="", **more):
        """Put records on the target, as an earlier upload of the image by that name left them."""
        for name in names:
            image = self.image(name, **more)
            form = fingerprint(image.sha512, Format.QCOW2, "")
            file = File(form, image.sha512, 1000, 2**30, Format.QCOW2, Format.QCOW2)
            spec = complete(self.wanted(image), file, self.now)
            retirement = Retirement(at or self.now, why) if state is State.RETIRED else None
            self.owned.append(
                OwnedImage(
                    ref=ref or f"{name}-{len(self.owned)}",
                    key=ImageKey("", LIST, name),
                    fingerprint=form,
                    state=state,
                    metadata=spec.metadata,
                    format=Format.QCOW2,
                    digest=image.sha512,
                    size=1000,
                    virtual_size=2**30,
                    created_at=self.now + timedelta(seconds=len(self.owned)),
                    retirement=retirement,
                )
            )
        return self

    def change(self, index=-1, **more):
        """Change a record as it is on the target."""
        self.owned[index] = replace(self.owned[index], **more)
        return self

    def property(self, name, value, index=-1):
        metadata = self.owned[index].metadata
        changed = Metadata(metadata.name, {**metadata.properties, name: value}, metadata.min_ram)
        return self.change(index, metadata=changed)

    def views(self):
        trusted = self.trusted(floor_lifted=self.view.pop("floor_lifted", False))
        wanted = tuple(self.wanted(image, trusted) for image in self.images)
        if self.view.get("paused"):
            return [ListView("fedcloud", None, **self.view)]
        if self.unknown:
            lost = Unknown("fedcloud", "vo.example", LIST, Verdict.UNAVAILABLE, self.unknown)
            return [ListView("fedcloud", lost, **self.view)]
        rules = {"guard": GuardRules(min_images=99), **self.view}
        owners = frozenset({""})
        return [ListView("fedcloud", trusted, owners=owners, wanted=wanted, skipped=tuple(self.skipped), **rules)]

    def plan(self):
        """Return the plan, in which every reason stands for a decision that docs/safety.rst gives it."""
        plan = make_plan(self.views(), TargetView("site", tuple(self.owned), **self.target), self.now)
        assert [(a.kind, a.cause) for a in plan.actions if a.kind not in self.documented[a.cause]] == []
        return plan

    def decisions(self):
        """Return the plan as (kind, cause, image) for short comparisons."""
        return [(str(a.kind), str(a.cause), str(a.key.image)) for a in self.plan().actions]


@pytest.fixture
def world(decisions):
    return World(documented=decisions)
