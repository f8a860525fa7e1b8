"""A pass over many images asks Glance for as little as over few: pages, and nothing for each image."""

import json
import sqlite3
from contextlib import closing
from uuid import uuid4

import pytest
from cloud.proxy import Proxy
from cloud.turns import everything

from imagesync.testing.list_server import PublishedImage

TABLES = ("images", "image_properties", "image_tags", "image_locations")


@pytest.fixture
def watched(site, add_glance):
    """Return a site on a Glance of its own, behind a proxy that counts."""
    glance = add_glance()
    with Proxy(glance.url) as proxy:
        site.entries["site"] = site.project.login().entry(glance.region)
        site.configure(endpoint_override=proxy.url)
        site.options["limits"] = {"attempts": 1, "max_list_bytes": "64MiB"}
        site.configure()
        yield site, glance, proxy


def offer(site, count):
    """Publish a list of so many images with the same bytes, and bring the first one to the cloud."""
    site.offer("image 0000")
    (first,) = site.published.images.values()
    for number in range(1, count):
        new = PublishedImage(str(uuid4()), first.guid, first.uri, first.size, first.sha512, f"image {number:04}")
        site.published.images[new.identifier] = new
    site.published.publish()
    assert site.sync("--image", "image 0000").done() == [("register", "image 0000")]


def multiply(site, glance):
    """Put the other images on the cloud: as copies of the first, in rows of Glance's own database."""
    entries = [entry["hv:image"] for entry in json.loads(site.published.content)["hv:imagelist"]["hv:images"]]
    names = ("dc:title", "dc:identifier", "ad:mpuri")
    first, *others = ([entry[name] for name in names] for entry in entries)
    glance.stop()
    with closing(sqlite3.connect(glance.home / "glance.db")) as database, database:
        rows = {table: _rows(database, table) for table in TABLES}
        for other in others:
            _copy(database, rows, tuple(zip(first, other, strict=True)))
    glance.start()


def _rows(database, table):
    cursor = database.execute(f"SELECT * FROM {table}")
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor]


def _copy(database, rows, changes):
    """Write one image again under another id, with texts changed."""
    new = str(uuid4())
    for table, originals in rows.items():
        for row in originals:
            copy = {key: value for key, value in row.items() if key != "id" or table == "images"}
            copy["id" if table == "images" else "image_id"] = new
            for key in ("name", "value"):
                for old, text in changes:
                    if isinstance(copy.get(key), str):
                        copy[key] = copy[key].replace(old, text)
            marks = ", ".join("?" * len(copy))
            command = f"INSERT INTO {table} ({', '.join(copy)}) VALUES ({marks})"
            database.execute(command, list(copy.values()))


@pytest.mark.parametrize(("count", "pages"), [(300, 1), *([(3000, 3)] if everything() else [])])
def test_a_pass_with_nothing_to_do_reads_pages_and_no_single_image(watched, count, pages):
    site, glance, proxy = watched
    offer(site, count)
    multiply(site, glance)
    proxy.clear()

    result = site.sync()

    assert (result.code, result.json["totals"]["actions"]) == (0, {"keep": count})
    listings = [one for one in proxy.exchanges if one.path == "/v2/images"]
    assert {one.method for one in proxy.exchanges} == {"GET"}
    assert len(listings) <= pages + 2, [one.query for one in listings]  # the hidden ones, and perhaps an empty page
    assert len(proxy.exchanges) <= len(listings) + 1  # the versions
