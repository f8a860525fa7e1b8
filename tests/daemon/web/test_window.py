"""How often the state is looked at, and who waits for that."""

import asyncio
from dataclasses import replace
from functools import partial
from threading import Event
from unittest.mock import Mock

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.answers import Answers
from imagesync.daemon.web.background import Background
from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.metrics import Metrics
from imagesync.daemon.web.window import Glances
from imagesync.errors import StateError
from imagesync.run.survey import Survey

HANG = 90


class Gated(Survey):
    """Looks when it is let; counts; and fails when it is told to."""

    def __init__(self):
        super().__init__()
        self.begun, self.let, self.looks, self.error = Event(), Event(), 0, None
        self.let.set()

    def look(self, config, outlook, now):
        self.begun.set()
        assert self.let.wait(HANG)
        self.looks += 1
        if self.error:
            raise self.error
        return super().look(config, outlook, now)


@pytest.fixture
def survey():
    return Gated()


@pytest.fixture
def glances(place, survey):
    glances = Glances(replace(place.window(), survey=survey))
    yield glances
    glances.background.wait(HANG)


@pytest.fixture
def times(monkeypatch):
    """Return what sets the ages; without words what is there counts as made just now."""

    def times(fresh=HANG, old=2 * HANG, oldest=3 * HANG):
        for name, seconds in {"_FRESH": fresh, "_OLD": old, "_OLDEST": oldest}.items():
            monkeypatch.setattr(f"imagesync.daemon.web.renewed.{name}", seconds)

    return times


def test_within_a_second_everybody_is_shown_the_same(glances, survey):
    assert glances.situation() is glances.situation()
    assert survey.looks == 1


def test_nobody_waits_for_a_new_look(glances, survey, times):
    first = glances.situation()
    times(fresh=0)
    survey.let.clear()
    survey.begun.clear()
    assert glances.situation() is first
    assert survey.begun.wait(HANG)
    assert glances.situation() is first
    survey.let.set()
    glances.background.wait(HANG)

    assert glances.situation() is not first


def test_what_is_old_is_not_shown(glances, times):
    first = glances.situation()
    times(old=0)

    assert glances.situation() is not first


@pytest.mark.parametrize("error", [StateError("state", "is gone", ""), KeyError("is gone")])
def test_a_look_that_fails_behind_the_back_is_told_to_the_next_who_asks(glances, survey, times, error):
    glances.situation()
    times(fresh=0)
    survey.error = error
    glances.situation()
    glances.background.wait(HANG)

    with pytest.raises(type(error), match="is gone"):
        glances.situation()


def test_nobody_is_shown_what_was_before_a_look_that_failed(glances, survey, times):
    glances.situation()
    times(old=0)
    survey.error = StateError("state", "is gone", "")
    for _ in range(2):
        with pytest.raises(StateError):
            glances.situation()
        times()


def _request(path):
    return Request({"type": "http", "method": "GET", "path": path, "headers": []})


class Counted:
    """An answer that counts how often it was made, and fails when it is told to."""

    def __init__(self):
        self.made, self.error = [], None

    def __call__(self, desk, request):
        if self.error:
            raise self.error
        self.made.append(request.url.path)
        return PlainTextResponse(str(len(self.made)))


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def answers(glances):
    return Answers(Desk(glances, Metrics(glances), Rules()))


@pytest.fixture
def version():
    """Return what is shown of, which a test may change."""
    return ["first"]


@pytest.fixture
def give(answers, counted, version):
    return lambda path: int(asyncio.run(answers.give(counted, lambda: version[0], _request(path))).body)


def test_an_answer_is_made_once_for_many_of_the_same_version(give, counted, version):
    numbers = [give(path) for path in ("/a", "/a", "/b")]
    version[0] = "second"
    numbers += [give(path) for path in ("/a", "/a")]

    assert numbers == [1, 1, 2, 3, 3]
    assert counted.made == ["/a", "/b", "/a"]


def test_nobody_waits_for_a_new_answer(glances, give, times):
    give("/a")
    times(fresh=0)
    assert give("/a") == 1
    glances.background.wait(HANG)

    assert give("/a") == 2


def test_an_old_answer_is_given_only_while_it_is_made_anew(glances, give, times):
    give("/a")
    times(old=0)
    assert give("/a") == 2
    release = Event()
    glances.background.do("/a", lambda: release.wait(HANG))
    assert give("/a") == 2
    times(oldest=0)
    assert give("/a") == 3
    release.set()


def test_what_somebody_made_meanwhile_is_not_made_again(glances, give, counted, times):
    release = Event()
    glances.background.do("other", lambda: release.wait(HANG))
    give("/a")
    times(fresh=0)
    give("/a")
    times()
    release.set()
    glances.background.wait(HANG)

    assert counted.made == ["/a"]


@pytest.mark.parametrize(
    "error", [StateError("state", "is gone", ""), HTTPException(404), KeyError("a mistake of ours")]
)
def test_an_answer_that_cannot_be_made_anew_is_given_no_more(glances, give, counted, times, error):
    give("/a")
    times(fresh=0)
    counted.error = error
    assert give("/a") == 1
    glances.background.wait(HANG)

    with pytest.raises(type(error)):
        give("/a")


def test_what_is_no_answer_is_not_kept(answers):
    codes = iter((503, 404, 200))

    def answer(desk, request):
        return PlainTextResponse("", next(codes))

    given = [asyncio.run(answers.give(answer, lambda: None, _request("/a"))).status_code for _ in range(4)]

    assert given == [503, 404, 200, 200]


def test_answers_do_not_add_up_and_what_is_asked_for_stays(answers, give, times):
    times()
    give("/")
    for number in range(1000):
        give(f"/targets/site/{number}")
        assert give("/") == 1

    assert len(answers._kept) == 64


def test_who_asks_right_after_a_pass_began_or_ended_sees_that(place):
    client = place.accept().open()
    before = client.get("/api/v1/status").json()
    place.live.begin("fedcloud", place.now)
    during = client.get("/api/v1/status").json()
    shown = client.get("/").text
    place.live.end("fedcloud")
    after = client.get("/api/v1/status").json()

    assert [len(one["running"]) for one in (before, during, after)] == [0, 1, 0]
    assert "data-busy" in shown
    assert "data-busy" not in client.get("/").text


def test_who_asks_right_after_asking_for_a_pass_sees_when_it_is_due(place):
    client = place.accept().open(Rules("secret"))
    bearer = {"authorization": "Bearer secret"}
    client.get("/api/v1/status", headers=bearer)
    place.next["fedcloud"] = place.now
    due = client.post("/api/v1/lists/fedcloud/sync", headers=bearer).json()["due"]

    assert client.get("/api/v1/status", headers=bearer).json()["next"]["fedcloud"] == due


# --- behind the back --------------------------------------------------------------------------------------------------
def test_what_is_asked_for_twice_is_done_once_and_with_rests():
    rests, done, release = [], [], Event()
    background = Background(rests.append, iter((0, 1, 1, 3)).__next__)
    background.do("first", lambda: release.wait(HANG))
    for number in range(3):
        background.do("second", partial(done.append, number))
    assert background.is_due("second")
    release.set()
    background.wait(HANG)

    assert (done, rests) == ([0], [9, 18])
    assert not background.is_due("second")


def test_it_goes_on_after_what_could_not_be_done_and_logs_that():
    background, done = Background(), []
    with capture_logs() as logs:
        background.do("first", lambda: 1 / 0)
        background.do("second", partial(done.append, 1))
        background.wait(HANG)

    assert done == [1]
    assert [(line["event"], line["name"]) for line in logs] == [("this could not be made anew", "first")]


def test_without_a_thread_it_is_tried_again(monkeypatch):
    background, done = Background(), []
    with monkeypatch.context() as patch:
        patch.setattr("imagesync.daemon.web.background.Thread.start", Mock(side_effect=RuntimeError("no thread")))
        background.do("first", partial(done.append, 1))
    background.do("second", partial(done.append, 2))
    background.wait(HANG)

    assert done == [1, 2]
