import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from imagesync_glance.note import Note, begin, decode, encode
from imagesync_glance.record import Terms, creation, described, published, read, retired

from imagesync.backend import (
    DEACTIVATED,
    Digest,
    Fingerprint,
    Format,
    ImageId,
    ImageKey,
    ImageSpec,
    ListId,
    Metadata,
    Retirement,
    State,
    state_properties,
)

OWNER, MARK, AT = "0a1b", "imagesync:imagesync", datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = Terms("private", {})
SHARED = Terms("shared", {"vo": frozenset({"p1", "p2"}), "lost": None}, eager=frozenset({"p1"}))
SPEC = ImageSpec(
    key=ImageKey(OWNER, ListId("list-1"), ImageId("image-1")),
    fingerprint=Fingerprint("f" * 64),
    metadata=Metadata("Title", {"APPLIANCE_VO": "vo", "a/b~c": "x"}, min_ram=512),
    format=Format.VHD,
    digest=Digest("d" * 128),
    size=1000,
    virtual_size=2**31,
    min_disk=2,
    at=AT,
)
STORED = {"os_hash_algo": "sha512", "os_hash_value": SPEC.digest, "size": 1000}


def image(state=State.PUBLISHED, spec=SPEC, **changes):
    """Return an image of ours as Glance shows it."""
    body = creation(spec, begin(spec, "writer"), MARK)
    facts = {"id": "7e", "owner": OWNER, "status": "active", "updated_at": "2026-03-02T00:00:00Z"}
    made = {**body, **facts, "created_at": "2026-03-01T12:00:01Z", **STORED}
    made |= {
        State.PARTIAL: {"status": "queued", "size": None, "os_hash_value": None, "os_hash_algo": None},
        State.STAGED: {},
        State.PUBLISHED: {"os_hidden": False, **state_properties(State.PUBLISHED)},
        State.RETIRED: {"os_hidden": False, "status": "deactivated", **state_properties(State.RETIRED)},
    }[state]
    return {**made, **changes}


def ours(state=State.PUBLISHED, **changes):
    record = read(image(state, **changes), OWNER, MARK)
    assert record is not None
    return record


def applied(found, draft):
    """Return the image after the patch of a draft, as Glance would apply it."""
    found = dict(found)
    for step in draft.patch(found):
        name = step["path"][1:].replace("~1", "/").replace("~0", "~")
        assert (step["op"] != "remove") or name in found
        found[name] = step.get("value")
        if step["op"] == "remove":
            del found[name]
    return found


@pytest.mark.parametrize("state", State)
def test_a_record_comes_back_as_it_was_made(state):
    owned = ours(state).owned(TERMS)

    assert (owned.ref, owned.key, owned.fingerprint, owned.state) == (f"{OWNER}/7e", SPEC.key, SPEC.fingerprint, state)
    assert (owned.format, owned.size, owned.virtual_size, owned.created_at) == (Format.VHD, 1000, 2**31, AT)
    assert owned.digest == (None if state is State.PARTIAL else SPEC.digest)
    assert owned.metadata.properties.items() >= SPEC.metadata.properties.items()
    assert "imagesync_record" not in owned.metadata.properties


@pytest.mark.parametrize("status", ["queued", "saving", "uploading", "importing"])
def test_an_image_without_all_its_bytes_is_partial(status):
    assert ours(State.PARTIAL, status=status).state is State.PARTIAL


@pytest.mark.parametrize("status", ["killed", "deleted", "pending_delete"])
def test_an_image_that_is_going_is_no_record(status):
    assert read(image(status=status), OWNER, MARK) is None


@pytest.mark.parametrize(
    "change",
    [
        {"tags": ["imagesync:other"]},
        {"tags": []},
        {"owner": "ff"},
        {"image_type": "snapshot"},
        {"base_image_ref": "7d"},
    ],
)
def test_what_is_not_ours_is_no_record(change):
    assert read(image(**change), OWNER, MARK) is None


def test_a_visible_image_is_published_whatever_its_properties_say():
    record = ours(State.STAGED, os_hidden=False)

    assert (record.state, record.drift(TERMS)) == (State.PUBLISHED, ("state",))


@pytest.mark.parametrize(
    ("change", "drift"),
    [
        ({}, ()),
        ({"os_hidden": True}, ("hidden",)),
        ({"visibility": "shared"}, ("visibility",)),
        ({"imagesync_state": "retired"}, ("state",)),
        ({"APPLIANCE_STATUS": "EOL"}, ("state",)),
        ({"os_hidden": True, "visibility": "community"}, ("hidden", "visibility")),
        ({"min_disk": 0}, ("min_disk",)),
        ({"kernel_id": "8f", "img_block_device_mapping": "[]"}, ("boot",)),
    ],
)
def test_what_others_changed_is_drift_and_an_update_puts_it_right(change, drift):
    record = ours(**change)
    assert record.drift(TERMS) == drift

    repaired = read(applied(record.image, described(record, SPEC.metadata, TERMS)), OWNER, MARK)

    assert repaired.drift(TERMS) == ()
    assert repaired.owned(TERMS) == ours().owned(TERMS)


def test_a_record_that_nobody_changed_needs_no_patch():
    record = ours()

    assert described(record, SPEC.metadata, TERMS).patch(record.image) == []


@pytest.mark.parametrize(
    ("members", "drift"),
    [
        ({"p1": "accepted", "p2": "pending"}, ()),
        ({"p1": "accepted", "p2": "rejected"}, ()),
        ({"p1": "rejected", "p2": "pending"}, ()),
        ({"p1": "pending", "p2": "pending"}, ("members",)),
        ({"p1": "accepted"}, ("members",)),
        ({"p1": "accepted", "p2": "accepted", "p3": "accepted"}, ("members",)),
        ({}, ("members",)),
    ],
)
def test_other_members_than_those_of_the_vo_are_drift(members, drift):
    record = ours(visibility="shared")
    record = replace(record, note=replace(record.note, members=members))

    assert record.drift(SHARED) == drift


def test_members_that_cannot_be_looked_up_are_no_drift():
    assert ours(visibility="shared", APPLIANCE_VO="lost").drift(SHARED) == ()


def test_a_property_that_is_no_longer_wanted_is_taken_off_and_a_foreign_one_stays():
    record = ours(foreign="theirs")

    after = applied(record.image, described(record, Metadata("New", {"new": "value"}, 0), TERMS))

    assert (after["name"], after["min_ram"], after["new"], after["foreign"]) == ("New", 0, "value", "theirs")
    assert "a/b~c" not in after
    assert read(after, OWNER, MARK).metadata.properties == {"new": "value", **state_properties(State.PUBLISHED)}


def test_what_was_removed_by_hand_is_missing():
    found = image()
    del found["a/b~c"]

    assert "a/b~c" not in read(found, OWNER, MARK).metadata.properties


@pytest.mark.parametrize("superseded", [False, True])
def test_a_retirement_is_undone_without_a_trace(superseded):
    record = ours()
    retirement = Retirement(AT + timedelta(days=1, microseconds=7), "expired", superseded=superseded)

    gone = {**applied(record.image, retired(record, retirement, TERMS)), "status": "deactivated"}
    there = read(gone, OWNER, MARK)
    back = {**applied(gone, published(there, TERMS)), "status": "active"}

    assert there.owned(TERMS).retirement == retirement
    assert there.metadata.name == "Title"
    assert gone["name"] == ("Title [retired 2026-03-02]" if superseded else "Title")
    assert back == record.image


def test_a_long_name_makes_room_for_the_mark_of_its_retirement():
    record = ours(spec=replace(SPEC, metadata=replace(SPEC.metadata, name="x" * 255)))

    after = applied(record.image, retired(record, Retirement(AT, "superseded", superseded=True), TERMS))

    assert (len(after["name"]), after["name"][-21:]) == (255, " [retired 2026-03-01]")
    assert read({**after, "status": "deactivated"}, OWNER, MARK).metadata.name == "x" * 255


def test_an_update_of_a_retired_record_leaves_it_its_name_of_a_retired_one():
    record = ours()
    gone = applied(record.image, retired(record, Retirement(AT, "superseded", superseded=True), TERMS))
    there = read({**gone, "status": "deactivated"}, OWNER, MARK)

    after = applied(there.image, described(there, replace(SPEC.metadata, name="New"), TERMS))

    assert after["name"] == "New [retired 2026-03-01]"
    assert read(after, OWNER, MARK).metadata.name == "New"
    assert read(after, OWNER, MARK).retirement == there.retirement


def test_an_image_that_was_only_labelled_as_retired_is_published_and_an_update_undoes_it():
    record = ours()
    labelled = read(applied(record.image, retired(record, Retirement(AT, "x", superseded=True), TERMS)), OWNER, MARK)

    assert (labelled.state, labelled.drift(TERMS)) == (State.PUBLISHED, ("state",))
    assert labelled.metadata.name == "Title"
    assert applied(labelled.image, described(labelled, SPEC.metadata, TERMS)) == record.image


def test_what_somebody_else_deactivated_is_retired_since_then():
    found = image(status="deactivated")

    assert read(found, OWNER, MARK).retirement == Retirement(datetime(2026, 3, 2, tzinfo=UTC), DEACTIVATED)


def test_a_hash_by_another_algorithm_stands_for_the_one_it_was_compared_with():
    note = replace(begin(SPEC, ""), stored="sha256:abc")
    weak = {"os_hash_algo": "sha256", "imagesync_record": encode(note)}

    assert ours(**weak, os_hash_value="abc").digest == SPEC.digest
    assert ours(**weak, os_hash_value="abd").digest is None
    assert ours(os_hash_algo="sha256", os_hash_value="abc").digest is None


# --- a note that was edited or lost ----------------------------------------------------------------------------------
IDENTITY = {"imagesync_list": "list-1", "imagesync_image": "image-1", "imagesync_fingerprint": "f" * 64}
BROKEN = ["", "{}", "[]", "{not json", '{"list": 1}', json.dumps({**json.loads(encode(begin(SPEC, ""))), "size": "1"})]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_note_is_drift_and_an_update_writes_it_anew(text):
    record = ours(imagesync_record=text, foreign="theirs", **IDENTITY)
    assert record.drift(TERMS) == ("record",)
    assert (record.note.key(OWNER), record.note.fingerprint) == (SPEC.key, SPEC.fingerprint)

    after = applied(record.image, described(record, Metadata("Title", IDENTITY), TERMS))

    assert read(after, OWNER, MARK).drift(TERMS) == ()
    assert (after["foreign"], after["imagesync_list"]) == ("theirs", "list-1")


@pytest.mark.parametrize("text", BROKEN)
def test_an_image_of_which_nothing_tells_what_it_is_is_left_alone_and_said(text, caplog):
    assert read(image(imagesync_record=text), OWNER, MARK) is None
    assert "left alone" in caplog.text


def test_a_note_is_one_line_of_ascii_and_comes_back():
    note = replace(begin(replace(SPEC, metadata=Metadata("é🐧", {"é": "🐧"})), "w"), members={"p": "pending"})

    assert encode(note).isascii()
    assert decode(encode(note)) == note


def test_a_note_of_a_later_version_with_more_in_it_is_read():
    form = {**json.loads(encode(begin(SPEC, "w"))), "later": 1}

    assert isinstance(decode(json.dumps(form)), Note)


# --- what hostile members of a project can write ---------------------------------------------------------------------
def forged(**changes):
    """Return our note as somebody edited it."""
    return json.dumps({**json.loads(image()["imagesync_record"]), **changes})


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_no_calendar_has_is_no_note(at):
    retirement = {"at": at, "reason": "withdrawn", "superseded": False, "name": "x"}

    assert decode(forged(at=at)) is None
    assert decode(forged(retired=retirement)) is None


@pytest.mark.parametrize("size", [-1, 2**63, 10**400, 1.5, "1", None])
def test_a_size_that_no_disk_has_is_no_note(size):
    assert decode(forged(size=size)) is None


@pytest.mark.parametrize("name", ["owner", "tags", "id", "visibility", "os_glance_stage_host", "imagesync_record"])
def test_what_is_no_property_is_never_taken_off(name):
    record = ours(imagesync_record=forged(names=["new", name]), os_glance_stage_host="x")

    patch = described(record, SPEC.metadata, TERMS).patch(record.image)

    assert [step for step in patch if step["op"] == "remove"] == []
    assert name not in record.metadata.properties


@pytest.mark.parametrize("container", ["ovf", "docker", None])
def test_bytes_in_another_container_attest_nothing(container):
    assert ours(container_format=container).digest is None


def test_a_property_that_a_rule_asks_for_diverts_nothing():
    wanted = Metadata("Title", {"kernel_id": "8f"})
    record = ours(spec=replace(SPEC, metadata=wanted))

    assert record.drift(TERMS) == ()
    assert described(record, wanted, TERMS).patch(record.image) == []
