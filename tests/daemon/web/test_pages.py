"""What the pages show, and what they never let through."""

import re
from datetime import timedelta

import pytest

from imagesync.daemon.web.access import POLICY, Rules
from imagesync.model import Digest, Fingerprint, Format
from imagesync.state import ArtifactRecord, BootRecord, open_state

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NASTY = "<script>alert(1)</script>\x1b]0;x\x07\u202ejavascript:alert(1)\x00"
SECRET = "open sesame"
BEARER = {"authorization": f"Bearer {SECRET}"}


def main_of(answer):
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text.partition("<main")[2].partition("</main>")[0]))


def ref_of(client, number=0):
    return client.get("/api/v1/status").json()["targets"][0]["images"][number]["ref"]


def test_with_everything_as_endorsed_it_says_so(place):
    client = place.accept().hold().ran().passed().open()

    assert "Everything is as endorsed" in main_of(client.get("/"))


def test_what_is_not_is_said_with_since_why_and_next(place):
    place.next["fedcloud"] = place.now + 2 * HOUR
    failed = {"state": "failed", "reason": "register failed: no room", "since": place.now - 30 * HOUR}
    text = main_of(place.accept().hold(**failed).ran(code=1).open().get("/"))

    assert "1 thing is not as endorsed" in text
    assert "warning Image one on site is failed register failed: no room 2026-11-21 06:00 1 d 6 h ago" in text
    assert "looked at again at 2026-11-22 14:00 UTC" in text


def test_a_list_page_has_the_chain_the_versions_and_the_ends(place):
    crl = {"matter": "crl-expiry", "subject": "the CRL of Test CA", "at": "2026-11-22T13:00:00Z"}
    text = main_of(place.accept().ran(ends=[crl]).open().get("/lists/fedcloud"))

    assert "/DC=org/DC=example/CN=Robot: endorser signed the list" in text
    assert "/DC=org/DC=example/CN=Test CA is trusted" in text
    assert "Expires 2026-12-22 12:00 in 30 d" in text
    assert "the CRL of Test CA 2026-11-22 13:00 in 1 h" in text
    assert re.search(r"As received 1 2026-11-22 12:00 now 2026-11-22 12:00 now", text)
    assert "https://lists.example/fedcloud" in text
    assert "signature" not in text


def test_the_signed_list_can_be_fetched_as_it_was_received(place):
    client = place.accept().open()
    path = re.search(r'href="(/lists/fedcloud/[0-9a-f]{64})"', client.get("/lists/fedcloud").text)[1]

    answer = client.get(path)
    assert answer.content.startswith(b"MIME-Version: 1.0")
    assert answer.headers["content-disposition"].startswith('attachment; filename="fedcloud-')
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_message_of_another_list_is_not_given(place):
    place.lists = ("fedcloud", "other")
    client = place.accept().accept("other", entries=[{"dc:identifier": "x"}]).open()
    path = re.search(r'href="/lists/other/([0-9a-f]{64})"', client.get("/lists/other").text)[1]

    assert client.get(f"/lists/fedcloud/{path}").status_code == 404


def test_an_image_page_has_the_chain_of_digests_and_what_the_list_says(place):
    entry = {"dc:identifier": "one", "dc:description": "A web server", "sl:checksum:sha512": "ab" * 64}
    entry |= {"ad:user:fullname": "Jane", "hv:uri": "https://images.example/one.vmdk?signature=s3cret"}
    made = ArtifactRecord(
        Fingerprint("f"), Digest("ab" * 64), Format.VMDK, Digest("cd" * 64), Format.QCOW2, 3 << 20, 8 << 30
    )
    client = place.accept(entries=[entry]).hold(digest="cd" * 64, format="qcow2").made(made).ran().open()
    answer = client.get(f"/targets/site/{ref_of(client)}")
    text = main_of(answer)

    assert "A web server" in text
    assert f"The list names {'ab' * 64} https://images.example/one.vmdk" in text
    assert f"Downloaded and verified {'ab' * 64} vmdk" in text
    assert f"Converted {'cd' * 64} qcow2, 3.0 MiB, a disk of 8.0 GiB" in text
    assert f"Stored on site {'cd' * 64} qcow2, the same bytes" in text
    assert "Jane" not in answer.text
    assert "s3cret" not in answer.text


def test_the_properties_of_an_image_are_shown_as_they_were_written(place):
    client = place.accept().hold().described("one", os_distro="debian", nasty=NASTY).ran().open()
    text = main_of(client.get(f"/targets/site/{ref_of(client)}"))

    assert "What its record says As imagesync wrote it 2026-11-22 12:00 now" in text
    assert "name Image one min_ram 512 MiB" in text
    assert "os_distro debian" in text
    assert "alert(1)" in text


@pytest.mark.parametrize(("scope", "path"), [("list", "/lists/fedcloud"), ("target", "/targets/site"), ("target", "/")])
def test_a_pause_is_shown_with_end_reason_and_who(place, scope, path):
    place.accept().hold().ran().paused(scope, {"list": "fedcloud", "target": "site"}[scope], until=place.now + DAY)

    assert "paused until 2026-11-23 12:00 in 1 d by ops@host since 2026-11-22 11:00" in main_of(place.open().get(path))
    assert "<script>alert" not in place.open().get(path).text


def test_the_history_of_an_image_is_shown(place):
    action = {"kind": "register", "key": "list-fedcloud/one", "outcome": "failed", "error": "no room", "title": "t"}
    client = place.accept().hold().ran(actions=[action]).open()

    assert "register failed no room" in main_of(client.get(f"/targets/site/{ref_of(client)}"))


def test_the_plan_is_shown_with_its_age_and_never_made_in_the_request(place):
    action = {"kind": "retire", "title": NASTY, "key": "k", "reason": "not in version 2", "bytes": 0}
    target = {"name": "site", "error": None, "notices": [], "actions": [action], "more": 0, "kept": 3}
    place.planned = {"lists": [{"name": "fedcloud", "verdict": "trusted", "reason": ""}], "targets": [target]}
    text = main_of(place.accept().open().get("/plan"))

    assert "As of 2026-11-22 11:59 1 min ago" in text
    assert "retire" in text
    assert "3 kept as they are" in text


def test_passes_are_drawn_and_listed(place):
    for number in range(5):
        place.ran(number, ago=(number + 1) * HOUR, code=number % 2)
    answer = place.open().get("/passes")

    assert answer.text.count('<g class="run') == 5
    assert answer.text.count('class="duration"') == 5
    assert "exit 1, 0 done" in main_of(answer)


def test_work_that_goes_on_is_shown_and_the_page_renews_itself_without_scripts(place):
    place.live.begin("fedcloud", place.now)
    place.live.take("fedcloud", {"event": "task", "task": 1, "step": "download", "title": NASTY, "total": 200})
    place.live.take("fedcloud", {"event": "progress", "task": 1, "done": 50})
    answer = place.accept().open().get("/")

    assert '<progress max="100" value="25.0"' in answer.text
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in answer.text
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize("path", ["/", "/lists/fedcloud", "/targets/site", "IMAGE", "/passes", "/plan"])
def test_hostile_text_is_neutral_and_cut_on_every_page(place, path):
    entry = {"dc:identifier": "one", "dc:description": NASTY * 50_000, "hv:uri": "javascript:alert(1)", NASTY: NASTY}
    place.planned = {"lists": [], "targets": []}
    place.troubles["fedcloud"] = NASTY
    place.hold(title=NASTY * 30_000, state="failed", reason=NASTY * 30_000)
    place.accept(entries=[entry], version=NASTY).ran(lists=[("fedcloud", "refused", NASTY)], code=3, error=NASTY)
    client = place.open()
    answer = client.get(f"/targets/site/{ref_of(client)}" if path == "IMAGE" else path)

    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert not re.search("[\x00-\x08\x1b\u202e]", answer.text)
    assert len(answer.text) < 40_000
    assert re.findall(r'(?:href|src|action)="(?!/|#main")[^"]*"', answer.text) == []


def test_every_answer_forbids_scripts_of_others(place):
    client = place.accept().open()

    for path in ("/", "/nothing", "/metrics", "/api/v1/status", "/static/imagesync.css"):
        assert client.get(path).headers["content-security-policy"] == POLICY
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/lists/none", "/targets/none", "/targets/site/none", "/static/none", "/none", "/static/../app.py"]
)
def test_what_is_not_there_is_404(place, path):
    assert place.accept().open().get(path).status_code == 404


def test_a_state_that_cannot_be_read_is_said_with_503(place):
    (place.root / "state.db").write_text("no database, and long enough to be looked at as one" * 50)
    client = place.open()

    assert client.get("/").status_code == 503
    assert "is damaged" in client.get("/").text
    assert "is damaged" in client.get("/api/v1/status").json()["error"]
    assert client.get("/readyz").status_code == client.get("/metrics").status_code == 503
    assert client.get("/healthz").status_code == 200


# --- who may look -----------------------------------------------------------------------------------------------------
def test_with_a_secret_nothing_is_shown_without_it(place):
    client = place.accept().ran().open(Rules(SECRET))

    assert client.get("/").status_code == 401
    assert client.get("/", auth=("anybody", "wrong")).status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/", headers={"authorization": "Basic !!!"}).status_code == 401
    assert client.get("/", auth=("anybody", SECRET)).status_code == 200
    assert client.get("/metrics", headers=BEARER).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_foreign_name_for_this_machine_is_not_served(place):
    client = place.accept().open(Rules(local=True))

    assert client.get("/", headers={"host": "evil.example:8642"}).status_code == 421
    for host in ("localhost:8642", "127.0.0.1:8642", "127.0.0.2:8642", "[::1]:8642", "[0:0:0:0:0:0:0:1]:8642"):
        assert client.get("/", headers={"host": host}).status_code == 200


def test_without_a_secret_nothing_can_be_asked_for(place):
    client = place.accept().open()

    assert "Look at it now" not in client.get("/lists/fedcloud").text
    assert client.post("/lists/fedcloud/sync", data={"token": ""}).status_code == 403
    assert client.post("/api/v1/lists/fedcloud/sync").status_code == 403
    assert place.hastened == []


def test_a_form_of_ours_makes_a_pass_due(place):
    client = place.accept().open(Rules(SECRET))
    token = re.search(r'name="token" value="(\w+)"', client.get("/lists/fedcloud", headers=BEARER).text)[1]

    answer = client.post("/lists/fedcloud/sync", data={"token": token}, auth=("a", SECRET))
    assert (answer.status_code, answer.headers["location"]) == (303, "/passes")
    assert place.hastened == ["fedcloud"]


@pytest.mark.parametrize("form", [{}, {"token": "x"}, {"token": "\u20ac"}, {f"f{n}": "" for n in range(20)}])
def test_a_form_of_somebody_else_does_nothing(place, form):
    client = place.accept().open(Rules(SECRET))

    assert client.post("/lists/fedcloud/sync", data=form, auth=("a", SECRET)).status_code == 403
    assert place.hastened == []


def test_a_form_that_another_site_sends_does_nothing(place):
    headers = {"sec-fetch-site": "cross-site"}
    answer = (
        place.accept()
        .open(Rules(SECRET))
        .post("/lists/fedcloud/sync", data={"token": Rules(SECRET).token()}, auth=("a", SECRET), headers=headers)
    )

    assert (answer.status_code, place.hastened) == (403, [])


def test_a_form_without_end_is_refused(place):
    answer = place.accept().open(Rules(SECRET)).post("/lists/fedcloud/sync", content=b"x" * 100_000, headers=BEARER)

    assert answer.status_code == 413


def test_a_program_makes_a_pass_due_with_a_bearer_token_only(place):
    client = place.accept().open(Rules(SECRET))

    assert client.post("/api/v1/lists/fedcloud/sync", auth=("a", SECRET)).status_code == 403
    assert client.post("/api/v1/lists/none/sync", headers=BEARER).status_code == 404
    assert client.post("/api/v1/lists/fedcloud/sync", headers=BEARER).json()["due"] == "2026-11-22T12:00:00Z"
    assert place.hastened == ["fedcloud"]


def test_an_image_page_shows_whether_it_starts_with_its_screen_and_a_harmless_console(place):
    source = Digest("ab" * 64)
    client = (
        place.accept(entries=[{"dc:identifier": "one", "sl:checksum:sha512": source}]).hold(digest="cd" * 64).open()
    )
    boot = BootRecord(
        Digest("cd" * 64), "ram=0", source, place.now, "panic", "panic-text", "Kernel panic - not syncing", "tcg", 33.0,
        "<script>alert(1)</script>", b"\x89PNG picture",
    )  # fmt: skip
    with open_state(place.url) as state:
        state.boots.note(boot)
    path = f"/targets/site/{ref_of(client)}"

    page = client.get(path).text
    screen = client.get(f"{path}/screen")

    assert "<b>panic</b>: Kernel panic - not syncing" in page
    assert f'<a href="{path}/screen"><img src="{path}/screen"' in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert (screen.status_code, screen.headers["content-type"], screen.content) == (200, "image/png", boot.screen)
    assert 'imagesync_boot_checks{verdict="panic"} 1.0' in client.get("/metrics").text
    assert 'imagesync_boot_check_seconds{verdict="panic"} 33.0' in client.get("/metrics").text


def test_an_image_that_was_not_started_has_no_screen(place):
    client = place.accept().hold().open()
    path = f"/targets/site/{ref_of(client)}"

    assert "Does it start?" not in client.get(path).text
    assert client.get(f"{path}/screen").status_code == 404
