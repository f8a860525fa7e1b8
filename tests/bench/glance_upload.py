"""An upload of 2 GiB to Glance against ``curl -T``."""

import os
import subprocess
from datetime import UTC, datetime
from hashlib import sha512
from pathlib import Path

import harness
from cloud.accounts import Project
from cloud.cloud import Cloud
from glance_target import settings

from imagesync import registry
from imagesync.backend import Backend, Context, Fingerprint, Format, ImageId, ImageKey, ImageSpec, ListId, Metadata
from imagesync.model import Digest

SIZE = 2 << 30


def upload(cloud: Cloud, root: Path) -> list[harness.Measurement]:
    """Return our seconds divided by curl's; both send the same file and make a record first."""
    project = cloud.project()
    file = _make_file(root / "image.raw")
    digest = Digest(sha512(file.read_bytes()).hexdigest())
    context = Context("bench", "bench")
    with registry.opened(registry.load_backend("glance"), settings(project, root, "vo"), context) as backend:
        spec = _spec(project.id, digest)
        taken = harness.ratio(
            "Glance: upload of 2 GiB / curl -T",
            lambda: _ours(backend, spec, file),
            lambda: _curl(cloud, project, file),
            at_most=1.05,
        )
    file.unlink()
    return [taken]


def _make_file(path: Path) -> Path:
    with path.open("wb") as stream:
        for _ in range(SIZE >> 20):
            stream.write(os.urandom(1 << 20))
    return path


def _spec(owner: str, digest: Digest) -> ImageSpec:
    key = ImageKey(owner, ListId("list"), ImageId("image"))
    form = Fingerprint(digest[:64])
    return ImageSpec(key, form, Metadata("bench", {}), Format.RAW, digest, SIZE, SIZE, 2, datetime.now(UTC))


def _ours(backend: Backend, spec: ImageSpec, file: Path) -> float:
    os.sync()
    stored = []
    seconds = harness.wall(lambda: stored.append(backend.upload(spec, file, lambda _: None)))
    backend.delete(stored[0].ref)
    return seconds


def _curl(cloud: Cloud, project: Project, file: Path) -> float:
    images = project.images()
    made = []
    os.sync()

    def send() -> None:
        made.append(images.create(name="bench", visibility="private")["id"])
        headers = ["-H", "Content-Type: application/octet-stream", "-H", f"X-Auth-Token: {project.account().token}"]
        url = f"{cloud.glance_url()}/v2/images/{made[0]}/file"
        subprocess.run(["curl", "-sS", "--fail", *headers, "-T", str(file), url], check=True, stdout=subprocess.DEVNULL)

    seconds = harness.wall(send)
    images.delete(made[0])
    return seconds
