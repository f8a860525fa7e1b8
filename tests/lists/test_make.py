import json
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest

from imagesync.errors import ConfigError
from imagesync.lists.document import dump, problems
from imagesync.lists.make import MakeOptions, describe

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPTIONS = MakeOptions("vo.example.org", "https://images.example.org/vo", NOW)
QCOW2 = b"QFI\xfb" + bytes(600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    (path / "alma 9.qcow2").write_bytes(QCOW2 + b"alma")
    (path / "debian.img").write_bytes(b"a bare file system")
    return path


def entries(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [holder["hv:image"] for holder in document["hv:imagelist"]["hv:images"]]


def write_yaml(folder: Path, text: str) -> Path:
    path = folder / "list.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_becomes_a_list(folder: Path) -> None:
    document = describe(folder, OPTIONS)

    content = document["hv:imagelist"]
    assert content["ad:vo"] == "vo.example.org"
    assert content["dc:date:created"] == "2026-03-01T12:00:00Z"
    assert content["dc:date:expires"] == "2026-03-29T12:00:00Z"
    assert content["hv:version"] == "20260301120000"
    assert content["hv:uri"] == "https://images.example.org/vo/image.list"
    assert [entry["hv:uri"] for entry in entries(document)] == [
        "https://images.example.org/vo/alma%209.qcow2",
        "https://images.example.org/vo/debian.img",
    ]
    assert problems(document, NOW) == []


def test_every_entry_has_what_readers_of_lists_ask_for(folder: Path) -> None:
    entry = entries(describe(folder, OPTIONS))[0]

    assert entry == {
        "dc:identifier": entry["dc:identifier"],
        "dc:title": "alma 9",
        "dc:description": "",
        "dc:date:expires": "2027-03-01T12:00:00Z",
        "hv:version": "20260301120000",
        "hv:uri": "https://images.example.org/vo/alma%209.qcow2",
        "hv:size": 608,
        "hv:format": "qcow2",
        "hv:hypervisor": "KVM",
        "sl:checksum:sha512": sha512(QCOW2 + b"alma").hexdigest(),
        "sl:arch": "x86_64",
        "sl:os": "Linux",
        "sl:osname": "Other",
        "sl:osversion": "",
        "sl:comments": "",
        "ad:group": "General group",
        "ad:mpuri": f"https://images.example.org/vo/{entry['dc:identifier']}:20260301120000/",
    }
    assert uuid.UUID(entry["dc:identifier"]).version == 5


def test_the_same_folder_gives_the_same_document(folder: Path) -> None:
    assert dump(describe(folder, OPTIONS)) == dump(describe(folder, OPTIONS))


def test_identifiers_differ_between_lists_and_files(folder: Path) -> None:
    documents = [describe(folder, OPTIONS), describe(folder, replace(OPTIONS, vo="another.example.org"))]

    found = [document["hv:imagelist"]["dc:identifier"] for document in documents]
    found += [entry["dc:identifier"] for document in documents for entry in entries(document)]
    assert len(set(found)) == 6


def test_identifiers_are_kept_from_the_previous_document(folder: Path, tmp_path: Path) -> None:
    before = describe(folder, replace(OPTIONS, identifier="11111111-2222-3333-4444-555555555555"))
    entries(before)[0]["dc:identifier"] = "given-by-hand"
    previous = tmp_path / "list.json"
    previous.write_bytes(dump(before))

    moved = replace(OPTIONS, previous=previous, base_url="https://elsewhere.example.org/", now=NOW + timedelta(days=1))
    after = describe(folder, moved)

    assert after["hv:imagelist"]["dc:identifier"] == "11111111-2222-3333-4444-555555555555"
    assert entries(after)[0]["dc:identifier"] == "given-by-hand"
    assert entries(after)[1]["dc:identifier"] == entries(before)[1]["dc:identifier"]


def test_only_a_changed_image_gets_a_new_version(folder: Path, tmp_path: Path) -> None:
    previous = tmp_path / "list.json"
    previous.write_bytes(dump(describe(folder, OPTIONS)))
    (folder / "debian.img").write_bytes(b"another file system")

    after = describe(folder, replace(OPTIONS, previous=previous, now=NOW + timedelta(days=1)))

    assert [entry["hv:version"] for entry in entries(after)] == ["20260301120000", "20260302120000"]


def test_a_previous_document_that_does_not_exist_yet_is_none(folder: Path, tmp_path: Path) -> None:
    assert describe(folder, replace(OPTIONS, previous=tmp_path / "new.json")) == describe(folder, OPTIONS)


@pytest.mark.parametrize(
    ("previous_version", "expected"),
    [
        ("20260301115959", "20260301120000"),
        ("20260301120000", "20260301120001"),
        ("20270101000000", "20270101000001"),
        ("3.3.0", "20260301120000"),
    ],
)
def test_the_version_never_goes_back(previous_version: str, expected: str, folder: Path, tmp_path: Path) -> None:
    document = describe(folder, OPTIONS)
    document["hv:imagelist"]["hv:version"] = previous_version
    (tmp_path / "list.json").write_bytes(dump(document))

    after = describe(folder, replace(OPTIONS, previous=tmp_path / "list.json"))

    assert after["hv:imagelist"]["hv:version"] == expected


def test_a_previous_version_that_nothing_follows_is_an_error(folder: Path, tmp_path: Path) -> None:
    document = describe(folder, OPTIONS)
    document["hv:imagelist"]["hv:version"] = "1.0-beta"
    (tmp_path / "list.json").write_bytes(dump(document))

    with pytest.raises(ConfigError, match=r"no version is higher than the previous one, 1\.0-beta"):
        describe(folder, replace(OPTIONS, previous=tmp_path / "list.json"))


@pytest.mark.parametrize("content", [b"MIME-Version: 1.0", b"[]", b"{}", b'{"hv:imagelist": {"hv:images": [1]}}'])
def test_a_previous_document_that_is_none_is_an_error(content: bytes, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(content)

    with pytest.raises(ConfigError, match="is no document made before"):
        describe(folder, replace(OPTIONS, previous=tmp_path / "list.json"))


def test_what_is_no_image_is_left_out_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "README.txt").write_text("hello")
    (folder / ".hidden.img").write_text("hello")
    (folder / "sub").mkdir()

    with caplog.at_level(logging.WARNING):
        document = describe(folder, OPTIONS)

    assert len(entries(document)) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'README.txt'} is no image and is left out"
    ]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no image"):
        describe(tmp_path, OPTIONS)


def test_progress_counts_every_byte(folder: Path) -> None:
    read: list[int] = []

    describe(folder, replace(OPTIONS, progress=read.append))

    assert sum(read) == sum(path.stat().st_size for path in folder.iterdir())


def test_the_finder_of_formats_can_be_replaced(folder: Path) -> None:
    document = describe(folder, replace(OPTIONS, sniff=lambda _path: "raw"))

    assert {entry["hv:format"] for entry in entries(document)} == {"raw"}


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://example.org/", "ftp is no http"),
        ("", "nothing is no http"),
        ("/srv/images", "nothing is no http"),
        ("https://user:secret@example.org/", "no user, query"),
        ("https://example.org/?a=b", "no user, query"),
    ],
)
def test_a_base_url_that_nobody_could_use_is_an_error(url: str, complaint: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        describe(folder, replace(OPTIONS, base_url=url))
    assert "secret" not in str(caught.value)


# --- descriptions in YAML --------------------------------------------------------------------------------------------


def test_a_description_says_more_than_a_folder(folder: Path) -> None:
    path = write_yaml(
        folder,
        """
        vo: vo.example.org
        title: Bilder für alle
        identifier: 0f4a3c1e-0000-4000-8000-000000000001
        version: 3.3.0
        expires: 2026-04-01T00:00:00+02:00
        endorser: {email: images@example.org, creator: Ada}
        images:
          - file: alma 9.qcow2
            title: AlmaLinux 9
            identifier: alma
            version: 9.10
            osversion: 9.10
            ram_mib: 2048
            cores: 2
            expires: 2026-06-01T00:00:00Z
            mpuri: https://appdb.example.org/store/vo/image/x:1/
            extra: {ad:appid: 0993, ad:group: Ours}
        """,
    )

    document = describe(path, OPTIONS)

    content, entry = document["hv:imagelist"], entries(document)[0]
    assert content["dc:title"] == "Bilder für alle"
    assert content["hv:version"] == "3.3.0"
    assert content["dc:date:expires"] == "2026-03-31T22:00:00Z"
    assert content["hv:endorser"]["hv:x509"] == {
        "hv:dn": "", "hv:ca": "", "hv:email": "images@example.org", "dc:creator": "Ada",
    }  # fmt: skip
    assert entry["sl:osversion"] == entry["hv:version"] == "9.10"
    assert entry["hv:ram_minimum"] == 2048 * 1024 * 1024
    assert entry["hv:core_minimum"] == 2
    assert entry["dc:date:expires"] == "2026-06-01T00:00:00Z"
    assert entry["ad:mpuri"] == "https://appdb.example.org/store/vo/image/x:1/"
    assert (entry["ad:appid"], entry["ad:group"]) == ("0993", "Ours")


REFUSED = {
    "unknown key": ("images: []\ntitel: x\n", "titel: unknown key, did you mean title?"),
    "unknown key of an image": (
        "images: [{file: a, osnam: x}]\n",
        r"images\[0\]\.osnam: unknown key, did you mean osname",
    ),
    "unknown key of the endorser": (
        "images: []\nendorser: {mail: x}\n",
        "endorser.mail: unknown key, did you mean email",
    ),
    "no images": ("title: x\n", "images: field required"),
    "no file": ("images: [{title: x}]\n", r"images\[0\]\.file: field required"),
    "too little memory": ("images: [{file: a, ram_mib: 2}]\n", "ram_mib: input should be greater than or equal to 64"),
    "no time zone": ("images: []\nexpires: 2026-04-01T00:00:00\n", "expires: input should have timezone"),
    "not yaml": ("images: [\n", "is not YAML"),
    "key twice": ("images: []\ntitle: a\ntitle: b\n", "a key stands twice"),
    "a list": ("- a\n", "the top: input should be"),
    "absent image": ("images: [{file: absent.qcow2}]\n", "absent.qcow2: is no file"),
    "no image": ("images: [{file: list.yaml}]\n", "list.yaml: is no image"),
    "another vo": ("images: []\nvo: other.example.org\n", "asked for is vo.example.org"),
    "identifier twice": (
        "images: [{file: debian.img, identifier: a}, {file: alma 9.qcow2, identifier: a}]\n",
        "two images with dc:identifier a",
    ),
    "file twice": (
        "images: [{file: debian.img, identifier: a}, {file: debian.img, identifier: b}]\n",
        "two images with hv:uri https",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_a_description_that_cannot_be_used_is_refused(text: str, complaint: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=complaint):
        describe(write_yaml(folder, text), OPTIONS)


def test_all_problems_of_a_description_are_told_at_once(folder: Path) -> None:
    path = write_yaml(folder, "images: [{titel: x}]\nvoo: x\n")

    with pytest.raises(ConfigError) as caught:
        describe(path, OPTIONS)

    assert len(caught.value.problems) == 3


def test_an_absent_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        describe(tmp_path / "absent.yaml", OPTIONS)


def test_a_list_without_images_can_be_described(folder: Path) -> None:
    assert entries(describe(write_yaml(folder, "images: []\n"), OPTIONS)) == []


def test_the_document_is_ascii_and_keeps_every_letter(folder: Path) -> None:
    text = dump(describe(write_yaml(folder, "images: []\ntitle: Bilder für 研究\n"), OPTIONS))

    assert text.isascii()
    assert json.loads(text)["hv:imagelist"]["dc:title"] == "Bilder für 研究"


def test_dates_beyond_every_epoch_are_written(folder: Path) -> None:
    path = write_yaml(folder, "images: []\nexpires: 2499-12-31T22:00:00Z\n")

    assert describe(path, OPTIONS)["hv:imagelist"]["dc:date:expires"] == "2499-12-31T22:00:00Z"


def test_a_link_that_leads_nowhere_is_no_image(folder: Path) -> None:
    (folder / "loop.img").symlink_to("loop.img")

    assert len(entries(describe(folder, OPTIONS))) == 2


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    path = folder / "debian.img"

    def remove(_path: Path) -> str:
        path.unlink()
        return "raw"

    with pytest.raises(ConfigError, match=r"debian\.img: cannot be read: No such file"):
        describe(write_yaml(folder, "images: [{file: debian.img}]\n"), replace(OPTIONS, sniff=remove))


def test_an_unreadable_previous_document_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        describe(folder, replace(OPTIONS, previous=tmp_path))
