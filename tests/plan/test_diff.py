from datetime import timedelta

import pytest

from imagesync.backend import Format, State
from imagesync.lists.select import Cause as Skip
from imagesync.model import UNPACKED, Accepted
from imagesync.plan.spec import fingerprint
from imagesync.plan.values import Kind


def accepted(world, **more):
    trusted = world.trusted()
    content = trusted.content
    values = {
        "subscription": "fedcloud",
        "list": content.identifier,
        "version": content.version,
        "digest": content.digest,
        "created": content.created,
        "expires": content.expires,
        "accepted_at": world.now,
        "signer": content.signer,
        "expiries": {},
    }
    return Accepted(**{**values, **more})


# --- what is endorsed ---
def test_new_image_is_registered(world):
    assert world.offer("a").decisions() == [("register", "new", "a")]


def test_image_that_is_as_endorsed_is_kept(world):
    assert world.offer("a").hold("a").decisions() == [("keep", "current", "a")]


def test_changed_content_is_replaced_and_names_the_old_record(world):
    world.offer("a", content="new").hold("a", content="old")

    plan = world.plan()

    assert [(action.kind, action.cause) for action in plan.actions] == [("replace", "changed")]
    assert plan.actions[0].superseded == (world.owned[0],)


def test_changed_mpuri_updates_metadata_and_uploads_nothing(world):
    world.offer("a", mpuri="https://appdb.egi.eu/store/vo/image/a:2/").hold("a")

    plan = world.plan()

    assert [(action.kind, action.cause) for action in plan.actions] == [("update", "metadata")]
    assert plan.actions[0].metadata.properties["APPLIANCE_MPURI"].endswith("a:2/")
    assert "APPLIANCE_MPURI" in plan.actions[0].reason


def test_metadata_update_keeps_what_describes_the_file(world):
    world.offer("a", title="New title").hold("a")

    update = world.plan().actions[0].metadata

    assert update.name == "New title"
    assert update.properties["imagesync_sha512"] == world.owned[0].digest


def test_changed_min_ram_updates_metadata(world):
    world.offer("a", ram_min=512).hold("a")

    assert "min_ram" in world.plan().actions[0].reason


def test_state_properties_are_the_backends_and_no_difference(world):
    world.offer("a").hold("a").property("imagesync_state", "published")

    assert world.decisions() == [("keep", "current", "a")]


def test_retired_record_is_restored_when_its_image_comes_back(world):
    world.offer("a").hold("a", state=State.RETIRED)

    assert world.decisions() == [("restore", "came-back", "a")]


def test_restored_record_supersedes_the_one_published_meanwhile(world):
    world.offer("a", content="old").hold("a", content="old", state=State.RETIRED).hold("a", content="new")

    plan = world.plan()

    assert [action.kind for action in plan.actions] == ["restore"]
    assert plan.actions[0].superseded == (world.owned[1],)


def test_staged_record_of_the_wanted_form_is_left_for_the_upload_to_find(world):
    world.offer("a").hold("a", state=State.STAGED)

    assert world.decisions() == [("register", "new", "a")]


def test_newest_copy_that_is_only_staged_does_not_retire_the_published_one(world):
    world.offer("a").hold("a").hold("a", state=State.STAGED)

    assert ("keep", "current", "a") in world.decisions()
    assert not any(action.kind is Kind.RETIRE for action in world.plan().actions)


def test_staged_record_of_another_form_is_cleaned_up_first(world):
    world.offer("a", content="new").hold("a", content="old", state=State.STAGED)

    assert world.decisions() == [("delete", "leftover", "a"), ("register", "new", "a")]


def test_of_two_published_records_the_newest_right_one_stays(world):
    world.offer("a").hold("a", ref="old").hold("a", ref="new")

    actions = world.plan().actions

    assert [(a.kind, a.cause, a.image.ref) for a in actions] == [
        ("retire", "superseded", "old"),
        ("keep", "current", "new"),
    ]
    assert not actions[0].counted


def test_a_false_record_beside_a_right_one_is_retired_as_tampered_however_new_it_is(world):
    world.offer("a").hold("a", ref="right").hold("a", ref="false").change(digest="f" * 128)

    actions = world.plan().actions

    assert [(a.kind, a.cause, a.image.ref) for a in actions] == [
        ("retire", "tampered", "false"),
        ("keep", "current", "right"),
    ]
    assert not actions[0].counted


def test_restoring_in_place_of_a_false_record_says_so(world):
    world.offer("a").hold("a", ref="right", state=State.RETIRED).hold("a", ref="false").change(digest="f" * 128)

    assert world.decisions() == [("restore", "tampered", "a")]


@pytest.mark.parametrize("stored", [None, "f" * 128])
def test_record_with_other_bytes_than_recorded_is_replaced_as_tampered(world, stored):
    world.offer("a").hold("a").change(digest=stored)

    assert world.decisions() == [("replace", "tampered", "a")]


def test_converted_record_is_right_by_the_digest_in_the_state(world):
    world.offer("a").hold("a").change(digest="c" * 128)
    world.target["recorded"] = {world.owned[0].fingerprint: "c" * 128}

    assert world.decisions() == [("keep", "current", "a")]


def test_state_stands_over_the_property_on_the_record(world):
    world.offer("a").hold("a").change(digest="c" * 128).property("imagesync_sha512", "c" * 128)
    world.target["recorded"] = {world.owned[0].fingerprint: "d" * 128}

    assert world.decisions() == [("replace", "tampered", "a")]


def test_what_an_editable_record_says_of_its_own_bytes_is_not_believed(world):
    world.offer("a").hold("a").change(digest="c" * 128).property("imagesync_sha512", "c" * 128)
    assert world.decisions() == [("keep", "current", "a")]

    world.target["editable"] = True
    assert world.decisions() == [("replace", "unverified", "a")]


def test_passed_through_record_needs_nobody_to_remember_it(world):
    world.offer("a").hold("a")
    world.target["editable"] = True

    assert world.decisions() == [("keep", "current", "a")]


def test_editable_record_with_other_bytes_than_remembered_is_tampered(world):
    world.offer("a").hold("a").change(digest="c" * 128).property("imagesync_sha512", "c" * 128)
    world.target |= {"editable": True, "recorded": {world.owned[0].fingerprint: "d" * 128}}

    assert world.decisions() == [("replace", "tampered", "a")]


def test_drift_of_a_record_is_put_right(world):
    world.offer("a").hold("a").change(drift=("visibility", "members"))

    assert [(a.kind, a.reason) for a in world.plan().actions] == [("update", "changed: members, visibility")]


def test_drift_of_a_retired_record_is_put_right_and_it_stays_retired(world):
    world.hold("a", state=State.RETIRED).change(drift=("members",))

    [action] = world.plan().actions

    assert (action.kind, action.reason) == ("update", "retired, and changed: members")
    assert action.metadata == action.image.metadata


def test_image_that_failed_lately_is_skipped_until_its_time(world):
    world.offer("a")
    world.target["postponed"] = {world.plan().actions[0].key: "failed 2 times"}

    assert world.decisions() == [("skip", "back-off", "a")]


def test_replacement_that_failed_lately_holds_the_old_record(world):
    world.offer("a", content="new").hold("a", content="old")
    world.target["postponed"] = {world.owned[0].key: "failed 2 times"}

    assert world.decisions() == [("hold", "back-off", "a")]


def test_what_was_tampered_with_stays_named_so_while_its_replacement_is_put_off(world):
    world.offer("a").hold("a").change(digest="0" * 128)
    world.target["postponed"] = {world.owned[0].key: "failed 2 times"}

    (action,) = world.plan().actions

    assert (action.kind, action.cause) == ("hold", "tampered")
    assert action.reason.endswith("; failed 2 times")


def test_outside_the_hours_for_heavy_work_uploads_wait(world):
    world.offer("a").offer("b", content="new").hold("b", content="old").hold("c")
    world.target["waiting"] = "waits until 22:00"

    assert world.decisions() == [("retire", "withdrawn", "c"), ("hold", "waiting", "b"), ("skip", "waiting", "a")]
    assert {action.reason for action in world.plan().actions if action.cause == "waiting"} == {
        "endorsed by version 1; waits until 22:00",
        "other content or form in version 1; waits until 22:00",
    }


def test_what_was_tampered_with_is_replaced_at_any_hour(world):
    world.offer("a").hold("a").change(digest="0" * 128)
    world.target["waiting"] = "waits until 22:00"

    assert world.decisions() == [("replace", "tampered", "a")]


# --- what is not endorsed any more ---
def test_withdrawn_image_is_retired_and_counted(world):
    world.offer("a").hold("a", "b")

    assert world.decisions() == [("retire", "withdrawn", "b"), ("keep", "current", "a")]
    assert world.plan().actions[0].counted


def test_newly_excluded_image_is_retired_and_counted(world):
    world.offer("a").skip("b").hold("a", "b")

    assert world.decisions() == [("retire", "excluded", "b"), ("keep", "current", "a")]


def test_newly_excluded_image_is_held_where_that_is_configured(world):
    world.offer("a").skip("b").hold("a", "b").view["keep_unselected"] = True

    assert world.decisions() == [("keep", "current", "a"), ("hold", "unsubscribed", "b")]


def test_skipped_image_that_is_not_there_is_only_reported(world):
    assert world.skip("b").decisions() == [("skip", "excluded", "b")]


def test_image_skipped_as_unparsable_is_not_removed(world):
    world.offer("a").skip("b", Skip.BROKEN, "hv:size is missing").hold("a", "b")

    assert world.decisions() == [("keep", "current", "a"), ("hold", "broken", "b")]


def test_entry_without_identifier_holds_every_removal_of_the_list(world):
    world.offer("a").skip(None, Skip.BROKEN, "no identifier").hold("a", "b")

    assert ("hold", "broken", "b") in world.decisions()


def test_expired_image_is_retired_and_not_counted(world):
    world.skip("a", Skip.EXPIRED, "expired").hold("a", expires=world.now - timedelta(days=1))

    action = world.plan().actions[0]

    assert (action.kind, action.cause, action.counted) == ("retire", "expired", False)


def test_locally_denied_image_is_retired_even_when_its_list_is_unknown(world):
    world.hold("a").unknown = "HTTP 503"
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    assert world.decisions() == [("retire", "revoked", "a")]


def test_a_denied_version_goes_at_once_and_its_successor_comes(world):
    world.offer("a", content="repaired").hold("a")
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    assert world.decisions() == [("retire", "revoked", "a"), ("register", "new", "a")]


def test_a_denied_version_that_is_retired_does_not_keep_its_successor_away(world):
    world.offer("a", content="repaired").hold("a", state=State.RETIRED, why="revoked").hold("a", content="repaired")
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    assert world.decisions() == [("keep", "grace", "a"), ("keep", "current", "a")]


def test_a_record_that_was_retired_before_it_was_denied_is_retired_once_more(world):
    world.hold("a", state=State.RETIRED, at=world.now - timedelta(days=99)).unknown = "HTTP 503"
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    (action,) = world.plan().actions

    assert (action.kind, action.cause, action.counted) == ("retire", "revoked", False)


def test_a_superseded_record_that_is_denied_is_retired_once_more_and_its_successor_stays(world):
    world.offer("a", content="repaired").hold("a", state=State.RETIRED, why="superseded").hold("a", content="repaired")
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    assert world.decisions() == [("retire", "revoked", "a"), ("keep", "current", "a")]


def test_a_denied_record_is_never_published_again(world):
    world.offer("a").hold("a", state=State.RETIRED, why="revoked")
    world.target["revoked"] = {world.owned[0].ref: "denied locally: CVE"}

    assert "restore" not in {kind for kind, _, _ in world.decisions()}


def test_retired_record_waits_for_its_grace(world):
    world.hold("a", state=State.RETIRED, at=world.now - timedelta(days=29))

    assert world.decisions() == [("keep", "grace", "a")]


def test_retired_record_is_deleted_after_its_grace(world):
    world.hold("a", state=State.RETIRED, at=world.now - timedelta(days=30))

    assert world.decisions() == [("delete", "grace-over", "a")]


def test_partial_upload_of_a_withdrawn_image_is_cleaned_up(world):
    assert world.hold("a", state=State.PARTIAL).decisions() == [("delete", "leftover", "a")]


# --- unknown is not empty ---
def test_unknown_list_holds_every_image(world):
    world.hold("a", "b").unknown = "HTTP 503"

    assert world.decisions() == [("hold", "unknown", "a"), ("hold", "unknown", "b")]


def test_unknown_list_does_not_delete_what_it_withdrew_before(world):
    world.hold("a", state=State.RETIRED, at=world.now - timedelta(days=99)).unknown = "HTTP 503"

    assert world.decisions() == [("keep", "grace", "a")]


@pytest.mark.parametrize("why", ["expired", "list-expired", "revoked", "superseded"])
def test_unknown_list_does_not_keep_what_dates_or_we_retired(world, why):
    world.hold("a", state=State.RETIRED, at=world.now - timedelta(days=99), why=why).unknown = "HTTP 503"

    assert world.decisions() == [("delete", "grace-over", "a")]


def test_unknown_list_cleans_up_our_own_leftovers(world):
    world.hold("a", state=State.STAGED).unknown = "HTTP 503"

    assert world.decisions() == [("delete", "leftover", "a")]


# --- paused ---
@pytest.fixture(params=["list", "target"])
def paused(request, world):
    """A world in which the list, or the target, is paused; of a paused target every list has no observation."""
    world.view |= {"paused": "paused until June", "accepted": accepted(world)}
    if request.param == "target":
        world.target["paused"] = "paused until June"
    return world


def test_nothing_of_what_is_paused_comes_or_goes(paused):
    paused.offer("new").hold("a", "withdrawn")

    assert paused.decisions() == [("hold", "paused", "a"), ("hold", "paused", "withdrawn")]
    assert paused.plan().actions[0].reason == "paused until June"


def test_the_dates_of_a_paused_image_count(paused):
    paused.hold("a").view["accepted"] = accepted(paused, expiries={"a": paused.now})

    assert paused.decisions() == [("retire", "expired", "a")]


def test_a_recall_reaches_what_is_paused(paused):
    paused.hold("a", ref="r").target["revoked"] = {"r": "found bad"}

    assert paused.decisions() == [("retire", "revoked", "a")]


@pytest.mark.parametrize("why", ["withdrawn", "expired", "superseded"])
def test_nothing_retired_is_deleted_or_put_right_while_it_is_paused(paused, why):
    paused.hold("a", state=State.RETIRED, at=paused.now - timedelta(days=99), why=why).change(drift=("visibility",))

    assert paused.decisions() == [("keep", "grace", "a")]


def test_a_leftover_of_what_is_paused_is_cleaned_up(paused):
    assert paused.hold("a", state=State.STAGED).decisions() == [("delete", "leftover", "a")]


def test_empty_trusted_list_withdraws_what_an_unknown_one_would_hold(world):
    assert world.hold("a").plan().actions[0].cause == "guard"
    world.view["guard"] = world.views()[0].guard.__class__(allowed=1)
    assert world.decisions() == [("retire", "withdrawn", "a")]


def test_images_of_no_subscription_are_held(world):
    world.hold("a")
    key = world.owned[0].key
    world.change(key=type(key)("", "other-list", "a")).property("imagesync_subscription", "gone")

    assert ("hold", "unsubscribed", "a") in world.decisions()


def test_images_of_a_list_that_the_subscription_left_are_held(world):
    world.hold("a")
    key = world.owned[0].key
    world.change(key=type(key)("", "other-list", "a"))

    assert world.decisions() == [("hold", "unsubscribed", "a")]


# --- expiry is knowledge ---
def test_own_date_retires_an_image_of_an_unknown_list(world):
    world.hold("a", expires=world.now).unknown = "HTTP 503"

    assert world.decisions() == [("retire", "expired", "a")]


def test_dates_of_the_last_accepted_list_stand_over_the_properties(world):
    world.hold("a", expires=world.now).unknown = "HTTP 503"
    world.view["accepted"] = accepted(world, expiries={"a": world.now + timedelta(days=1)})

    assert world.decisions() == [("hold", "unknown", "a")]


def test_list_date_retires_after_the_grace(world):
    world.expires = world.now - timedelta(hours=72)
    world.hold("a").unknown = "expired-list"

    assert world.decisions() == [("retire", "list-expired", "a")]


def test_list_date_within_the_grace_is_announced(world):
    world.expires = world.now - timedelta(hours=71)
    world.hold("a").unknown = "expired-list"

    action = world.plan().actions[0]

    assert action.kind == "hold"
    assert "retirement is due at 2026-11-22T13:00:00Z" in action.reason


def test_expiry_is_exempt_from_the_guard(world):
    world.expires = world.now - timedelta(hours=100)
    world.hold(*"abcdefgh").unknown = "expired-list"

    assert {kind for kind, _, _ in world.decisions()} == {"retire"}


def test_nothing_expires_while_the_clock_is_not_trusted(world):
    world.hold("a", expires=world.now - timedelta(days=1)).hold(
        "b", state=State.RETIRED, at=world.now - timedelta(days=99)
    )
    world.skip("a", Skip.EXPIRED, "expired").target["trust_clock"] = False

    assert world.decisions() == [("keep", "grace", "b"), ("hold", "clock", "a")]


def test_expiry_in_the_last_representable_year_is_no_error(world):
    world.expires = world.now.replace(year=9999, month=12, day=31)
    world.hold("a").unknown = "HTTP 503"

    assert world.decisions() == [("hold", "unknown", "a")]


# --- rollback without state ---
def test_older_version_than_the_records_show_is_refused_on_this_target(world):
    world.version = "7"
    world.hold("a", "b")
    world.version = "5"

    plan = world.offer("a").plan()

    assert {action.kind for action in plan.actions} == {"hold"}
    assert "version 7" in next(iter(plan.refused.values()))


def test_version_that_cannot_be_ordered_against_the_records_is_refused(world):
    world.version = "jessie"
    world.hold("a")
    world.version = "2026"

    assert world.offer("a").plan().refused


def test_lifted_floor_lets_an_older_version_in(world):
    world.version = "7"
    world.hold("a")
    world.version = "5"
    world.view["floor_lifted"] = True

    assert [action.kind for action in world.offer("a").plan().actions] == ["update"]


@pytest.mark.parametrize(
    ("held", "lifted", "caught_up"), [("7", True, False), ("x", True, False), ("5", True, True), ("5", False, False)]
)
def test_a_list_has_caught_up_with_a_lifted_floor_when_no_record_names_a_higher_version(world, held, lifted, caught_up):
    world.version = held
    world.hold("a", state=State.RETIRED)
    world.version = "5"
    world.view["floor_lifted"] = lifted

    assert bool(world.offer("b").plan().caught_up) is caught_up


def test_a_version_that_others_wrote_on_a_record_does_not_block_a_list_that_is_remembered(world):
    world.offer("a").hold("a").property("imagesync_list_version", "999").property("APPLIANCE_VO", "vo.other")
    world.target["editable"] = True
    assert world.plan().refused

    world.view["accepted"] = accepted(world)
    assert not world.plan().refused
    assert world.decisions() == [("update", "metadata", "a")]

    world.target["editable"] = False
    assert world.plan().refused


# --- as a whole ---
def test_additions_come_before_removals_and_leftovers_before_both(world):
    world.offer("new").hold("old").hold("torn", state=State.PARTIAL)

    assert [kind for kind, _, _ in world.decisions()] == ["delete", "register", "retire"]


def test_equal_input_gives_equal_plans(world):
    world.offer(*"cab").hold(*"bxd")

    assert world.plan() == world.plan()


# --- the right bytes under a wrong name ------------------------------------------------------------------------------
def test_the_right_bytes_under_the_name_of_another_format_are_replaced(world):
    world.offer("a").hold("a").change(format=Format.RAW)

    assert world.decisions() == [("replace", "tampered", "a")]


def test_the_bytes_of_the_list_are_no_converted_image(world):
    unpacked = fingerprint(world.image("a").sha512, Format.QCOW2, UNPACKED)
    world.offer("a").hold("a").change(fingerprint=unpacked).property("imagesync_sha512", "0" * 128)

    assert world.decisions() == [("replace", "tampered", "a")]


def test_of_two_right_records_the_one_that_is_remembered_stays(world):
    world.offer("a").hold("a", "a")
    genuine, source = world.owned[0], world.image("a").sha512
    world.change(format=Format.RAW, fingerprint=fingerprint(source, Format.RAW, ""))
    world.target = {"editable": True, "recorded": {genuine.fingerprint: genuine.digest}}

    plan = world.plan()

    assert [(action.kind, action.image.ref) for action in plan.actions] == [
        (Kind.RETIRE, world.owned[1].ref),
        (Kind.KEEP, genuine.ref),
    ]
