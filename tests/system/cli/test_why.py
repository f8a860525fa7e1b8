"""``imagesync why``: who endorsed an image, what became of it, and proof that needs nothing of ours."""

import json
import shlex
import subprocess

import pytest

DN, CA = "/DC=org/DC=example/CN=Robot: endorser", "/DC=org/DC=example/CN=Test CA"


@pytest.fixture
def lived(synced):
    """Return a site where shaky-1 was replaced in version 2 and shaky-2 withdrawn in version 3."""
    first, second = synced.shaky.images
    synced.shaky.replace(first, synced.image("replaced"))
    synced.shaky.publish()
    assert synced.given("sync", "--json").code == 0
    synced.shaky.withdraw(second)
    synced.shaky.publish()
    assert synced.given("sync", "--json", "--allow-removals", "1").code == 0
    return synced


def shell(line):
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)


NAMES = {
    "identifier": lambda site, image: image.identifier,
    "upper case": lambda site, image: image.identifier.upper(),
    "list and identifier": lambda site, image: f"{site.shaky.identifier}/{image.identifier}",
    "title": lambda site, image: "shaky-1",
    "SHA-512": lambda site, image: image.sha512,
    "mpuri": lambda site, image: json.loads(site.shaky.content)["hv:imagelist"]["hv:images"][0]["hv:image"]["ad:mpuri"],
}


@pytest.mark.parametrize("what", NAMES)
def test_an_image_is_found_by_what_people_call_it(lived, what):
    image = next(iter(lived.shaky.images.values()))

    result = lived.given("why", NAMES[what](lived, image), "--json")

    assert (result.code, [one["identifier"] for one in result.json["images"]]) == (0, [image.identifier])


def test_it_tells_who_endorsed_what_and_when(lived):
    (story,) = lived.run("why", "shaky-1", "--json").json["images"]

    assert [one["version"] for one in story["endorsements"]] == ["3", "2", "1"]
    newest, *_, oldest = story["endorsements"]
    assert (newest["signer"], newest["subscription"]) == ({"dn": DN, "ca": CA}, "shaky")
    assert [link["subject"] for link in newest["chain"]] == [DN, CA]
    assert newest["sha512"] == lived.shaky.images[story["identifier"]].sha512 != oldest["sha512"]
    assert oldest["first_seen"] <= oldest["last_seen"] <= newest["first_seen"]


def test_it_tells_what_happened_and_where_it_stands(lived):
    (story,) = lived.given("why", "shaky-2", "--json").json["images"]

    (standing,) = story["targets"]
    assert (standing["name"], standing["state"]) == ("site", "retired")
    assert [event["kind"] for event in story["history"]] == ["retire", "update", "register"]
    assert "not in version 3" in story["history"][0]["reason"]
    assert [one["version"] for one in story["endorsements"]] == ["2", "1"]


def test_the_text_has_the_same_for_people(lived):
    result = lived.run("why", "shaky-2")

    assert (result.code, result.err) == (0, "")
    for part in ("endorsed by version 2 of shaky", f"signed by {DN}", f"signed by {CA}", "on site: retired"):
        assert part in result.out


def test_it_tells_of_a_recall(lived):
    lived.given("revoke", "--identifier", next(iter(lived.shaky.images)), "--reason", "a leaked key", "--now")

    (story,) = lived.given("why", "shaky-1", "--json").json["images"]

    assert story["denied"] == "denied locally: a leaked key"
    assert (story["targets"][0]["state"], story["history"][0]["kind"]) == ("revoked", "retire")


def test_nothing_known_is_told_by_the_exit_code(synced):
    result = synced.run("why", "no such image", "--json")

    assert (result.code, result.json["images"]) == (1, [])


# --- proof for others ---
def test_the_printed_lines_verify_with_openssl_alone(lived):
    result = lived.run("why", "shaky-1", "--export", lived.root / "for auditors")

    lines = [line for line in result.out.splitlines() if line.startswith("openssl cms -verify")]
    assert (result.code, len(lines)) == (0, 3)
    for line in lines:
        done = shell(line)
        assert done.returncode == 0, done.stderr
    written = json.loads((lived.root / "for auditors").glob("*/content.json").__next__().read_bytes())
    assert written["hv:imagelist"]["dc:identifier"] == lived.shaky.identifier


@pytest.mark.parametrize("what", ["message", "certificate", "CRL"])
def test_a_printed_line_does_not_verify_what_was_changed(synced, what):
    result = synced.given("why", "shaky-1", "--export", synced.root / "out", "--json")
    (line,) = result.json["verify"]
    (directory,) = (synced.root / "out").iterdir()
    assert (directory / "verify.sh").read_text() == f"{line}\n"
    if what == "message":
        file = directory / "image.list"
        file.write_bytes(file.read_bytes().replace(b"shaky-1", b"shaky-X"))
    else:
        file = directory / "trusted.pem"
        certificate, crl = file.read_text().split("-----BEGIN X509 CRL-----")
        file.write_text(f"-----BEGIN X509 CRL-----{crl}" if what == "certificate" else certificate)

    assert shell(line).returncode != 0


def test_what_is_exported_is_what_it_was_verified_by_though_the_anchors_changed(synced):
    (synced.root / "empty").mkdir()
    synced.configure(trust={"anchors": str(synced.root / "empty")})

    (line,) = synced.given("why", "shaky-1", "--export", synced.root / "out", "--json").json["verify"]

    assert str(synced.trust.anchors) not in line
    assert shell(line).returncode == 0
    assert shlex.split(line)[:3] == ["openssl", "cms", "-verify"]


@pytest.mark.parametrize("mode", ["if-present", "off"])
def test_without_a_revocation_list_the_line_asks_for_none(synced, mode):
    anchors = synced.root / "anchors"
    anchors.mkdir()
    for file in synced.trust.anchors.glob("*.0" if mode == "if-present" else "*"):
        (anchors / file.name).write_bytes(file.read_bytes())
    for file in synced.root.glob("state.db*"):
        _ = file.is_dir() or file.unlink()
    synced.configure(trust={"anchors": str(anchors), "crl": mode})
    assert synced.given("sync", "--json").code == 0

    (line,) = synced.given("why", "shaky-1", "--export", synced.root / "out", "--json").json["verify"]

    assert "-crl_check" not in line
    assert shell(line).returncode == 0


def test_evidence_is_kept_once_and_forgotten_with_its_list(lived):
    import sqlite3

    def count(table):
        with sqlite3.connect(lived.root / "state.db") as connection:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    # Four messages of one endorser: its certificate, its CA's and the CRL are kept once.
    assert (count("message"), count("evidence"), count("proof")) == (4, 12, 3)
    lived.configure(history="0")

    assert lived.given("prune", "--json").code == 0

    assert (count("message"), count("evidence"), count("proof")) == (2, 6, 3)


def test_an_export_that_cannot_be_written_says_so(synced):
    (synced.root / "file").write_text("")

    result = synced.given("why", "shaky-1", "--export", synced.root / "file" / "out")

    assert (result.code, "cannot be written" in result.err) == (2, True)
