"""The metadata definitions that come with imagesync, which tell users of a cloud what our properties mean."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "packaging/glance/imagesync.json"
NAMESPACE = "/v2/metadefs/namespaces/imagesync"
OF_GLANCE = {"created_at", "updated_at", "owner", "schema", "self"}


@pytest.fixture(scope="module")
def definitions():
    return json.loads(FILE.read_text())


@pytest.fixture
def loaded(cloud, tmp_path):
    """Load the file as an operator does, and return the definitions that the cloud has then."""
    login = cloud.admin.login.auth
    done = subprocess.run(
        [str(Path(sys.executable).with_name("glance")), "md-namespace-import", "--file", str(FILE)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | {f"OS_{k.upper()}": v for k, v in login.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    admin = cloud.admin.images()
    try:
        yield done, admin.get(NAMESPACE)
    finally:
        admin.call("DELETE", NAMESPACE)


def test_an_operator_can_load_them(loaded, definitions):
    done, found = loaded

    assert (done.returncode, done.stderr) == (0, "")
    associations = [{"name": one["name"]} for one in found.pop("resource_type_associations")]
    assert {name: value for name, value in found.items() if name not in OF_GLANCE} | {
        "resource_type_associations": associations
    } == definitions


def test_they_describe_exactly_what_is_on_an_image(site, definitions):
    site.offer("alma", dc_description="text", sl_osname="AlmaLinux")
    assert site.publish_and_sync().code == 0
    [record] = site.records()
    schema = site.images.get("/v2/schemas/image")["properties"]
    attributes = {name for name, of in schema.items() if of.get("is_base", True)}

    assert definitions["properties"].keys() == record.keys() - attributes
    for name, of in definitions["properties"].items():
        assert record[name] in of.get("enum", [record[name]]), name
