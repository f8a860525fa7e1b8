"""The metadata definitions for Glance keep up with the properties that are written."""

import json
from datetime import timedelta
from pathlib import Path

from imagesync.backend import STATE_PROPERTIES, Format
from imagesync.plan.spec import File, complete

FILE = Path(__file__).parents[2] / "packaging/glance/imagesync.json"
OF_THE_BACKEND = {"imagesync_record"}


def test_every_property_is_defined_and_no_other(world):
    image = world.image("a", description="text", expires=world.now + timedelta(days=1), raw={"ad:appid": "1"})
    file = File("fingerprint", image.sha512, 1, 1, Format.RAW, Format.RAW)
    written = complete(world.wanted(image), file, world.now).metadata.properties

    defined = json.loads(FILE.read_text(encoding="utf-8"))["properties"]

    assert defined.keys() == written.keys() | STATE_PROPERTIES | OF_THE_BACKEND
    assert all(of["title"] and of["description"] and of["type"] == "string" for of in defined.values())
