"""Conditional requests, tokens, files, and dates that pass while the clock runs."""

import time
from datetime import timedelta

import pytest

from imagesync.testing.faults import Redirect, Status
from imagesync.testing.list_server import ListServer
from imagesync.testing.tls import TlsAuthority

TOKEN = "s3cret-token"


# --- conditional requests ---
def test_an_unchanged_list_is_asked_for_conditionally(synced):
    result = synced.sync()

    request = synced.shaky.server.requests_for(synced.shaky.path)[-1]
    assert (request.status, request.headers["if-none-match"]) == (
        304,
        '"' + request.headers["if-none-match"][1:-1] + '"',
    )
    assert (result.code, result.list("shaky")["verdict"], result.list("shaky")["version"]) == (0, "trusted", "1")


def test_an_unchanged_list_is_verified_again(synced):
    (synced.root / "anchors").mkdir()
    for file in synced.trust.anchors.glob("*.0"):
        (synced.root / "anchors" / file.name).write_bytes(file.read_bytes())
    synced.options["trust"] = {"anchors": str(synced.root / "anchors")}
    synced.configure()

    result = synced.sync()

    assert synced.shaky.server.requests_for(synced.shaky.path)[-1].status == 304
    assert (result.code, result.list("shaky")["verdict"]) == (3, "refused")
    assert result.list("shaky")["reason"].startswith("revocation-unknown")
    assert len(synced.titles()) == 4


def test_a_refused_list_leaves_no_condition_behind(synced):
    synced.shaky.publish(signer=synced.trust.stranger)
    assert synced.given("sync", "--json").code == 3

    result = synced.sync()

    assert synced.shaky.server.requests_for(synced.shaky.path)[-1].status == 200
    assert (result.code, len(synced.titles())) == (3, 4)


# --- where lists come from ---
def test_a_list_may_be_a_file(provider):
    file = provider.root / "shaky.list"
    file.write_bytes(provider.shaky.message)
    provider.subscription_options["shaky"] = {"url": file.as_uri()}
    provider.configure()

    assert (provider.sync().code, len(provider.titles())) == (0, 4)
    assert provider.shaky.server.requests_for(provider.shaky.path) == []


def test_a_file_that_is_gone_holds_its_images(synced):
    synced.subscription_options["shaky"] = {"url": (synced.root / "absent.list").as_uri()}
    synced.configure()

    result = synced.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (1, "unavailable")
    assert "check the path" in result.list("shaky")["hint"]


@pytest.fixture
def protected(provider):
    """Return a site whose shaky list wants a token, over TLS, with one image there and one at a stranger's."""
    provider.root.joinpath("tls").mkdir()
    authority = TlsAuthority(provider.root / "tls")
    provider.shaky = provider.open("protected", tls=authority.server("127.0.0.1"))
    provider.shaky.vo = "shaky.example.org"
    provider.other = provider.open("other", tls=authority.server("127.0.0.1"))
    own, elsewhere = (provider.shaky.add(provider.image(title), title=title) for title in ("own", "elsewhere"))
    image = provider.shaky.images[elsewhere]
    image.uri = provider.other.server.serve_image("x", provider.root / "publisher" / "elsewhere.img")
    provider.shaky.publish()
    for path in (provider.shaky.path, provider.shaky.image_path(own)):
        provider.shaky.server.protect(path, TOKEN)
    (provider.root / "token").write_text(f"{TOKEN}\n")
    (provider.root / "token").chmod(0o600)
    provider.subscription_options["shaky"] = {
        "token": {"file": str(provider.root / "token")},
        "ca_bundle": str(authority.bundle),
    }
    provider.configure()
    return provider


def tokens(server: ListServer):
    return [request.headers.get("authorization") for request in server.requests]


def test_a_token_goes_to_the_lists_own_host_only(protected):
    result = protected.sync()

    assert (result.code, protected.titles()) == (0, ["elsewhere", "own", "steady-1", "steady-2"])
    assert [bool(token) for token in tokens(protected.shaky.server)] == [True, True]
    assert tokens(protected.other.server) == [None]
    assert TOKEN not in result.out + result.err
    assert TOKEN.encode() not in protected.root.joinpath("state.db").read_bytes()


def test_a_token_does_not_follow_a_redirect_to_another_host(protected):
    copy = protected.other.server.put("/copy.list", protected.shaky.message)
    protected.shaky.server.misbehave(protected.shaky.path, Redirect(copy))

    result = protected.sync()

    assert result.code == 0
    assert protected.other.server.requests[0].path == "/copy.list"
    assert set(tokens(protected.other.server)) == {None}


def test_a_wrong_token_says_what_to_check(protected):
    (protected.root / "token").write_text("wrong")

    result = protected.fails_alone()

    assert (result.code, result.list("shaky")["verdict"]) == (1, "unavailable")
    assert "check the token" in result.list("shaky")["hint"]


# --- dates ---
def wait_until(moment):
    # The command line has no clock but the machine's.
    time.sleep(max(0.0, moment.timestamp() - time.time()) + 0.1)


def test_an_image_retires_at_its_own_date_also_when_its_list_is_down(provider, in_seconds):
    due = in_seconds(8)
    provider.shaky.add(provider.image("short"), title="short", expires=due)
    provider.shaky.publish()
    provider.given("sync", "--json")
    assert "short" in provider.titles()
    provider.shaky.server.misbehave(provider.shaky.path, Status(503))
    wait_until(due)

    result = provider.sync()

    assert (result.code, result.done()) == (1, [("retire", "short")])
    assert result.action("short")["cause"] == "expired"
    assert len(provider.titles()) == 4


def test_the_last_accepted_list_stands_until_the_grace_after_its_own_date(provider, in_seconds):
    due = in_seconds(8)
    provider.shaky.expires = due
    provider.shaky.publish()
    provider.given("sync", "--json")
    wait_until(due)

    result = provider.sync()
    assert (result.code, result.list("shaky")["verdict"], len(provider.titles())) == (3, "refused", 4)
    assert "retirement is due at" in result.action("shaky-1")["reason"]

    provider.options["expiry_grace"] = 0
    provider.configure()
    result = provider.sync()
    assert result.done() == [("retire", "shaky-1"), ("retire", "shaky-2")]
    assert {one["cause"] for one in result.target()["actions"] if one["kind"] == "retire"} == {"list-expired"}


def test_an_image_that_expired_before_it_was_seen_is_skipped_and_not_fetched(provider):
    past = provider.trust.now - timedelta(days=1)
    late = provider.shaky.add(provider.image("late"), title="late", expires=past)
    provider.shaky.publish()

    result = provider.sync()

    assert (result.action("late")["kind"], result.action("late")["cause"]) == ("skip", "expired")
    assert provider.shaky.server.requests_for(provider.shaky.image_path(late)) == []


def test_dates_far_ahead_are_no_error(provider):
    provider.shaky.expires = provider.trust.now.replace(year=2499)
    provider.shaky.publish()

    result = provider.sync()

    assert (result.code, result.list("shaky")["expires"][:4]) == (0, "2499")


def test_with_a_clock_that_contradicts_the_servers_nothing_expires(provider, in_seconds):
    due = in_seconds(8)
    provider.shaky.add(provider.image("short"), title="short", expires=due)
    provider.shaky.publish()
    provider.given("sync", "--json")
    provider.steady.server.now -= timedelta(hours=2)
    wait_until(due)

    result = provider.sync()

    assert (result.code, result.json["clock"], "short" in provider.titles()) == (1, "clock", True)
