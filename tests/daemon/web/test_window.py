"""How often the state is looked at, and who waits for that."""

import asyncio
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.answers import Answers
from imagesync.daemon.web.background import Background
from imagesync.daemon.web.desk import Desk
from imagesync.daemon.web.metrics import Metrics
from imagesync.daemon.web.window import Glances
from imagesync.errors import StateError
from imagesync.run.survey import Survey

HANG = 20


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
    return Glances(replace(place.window(), survey=survey))


def test_within_a_second_everybody_is_shown_the_same(glances, survey):
    assert glances.situation() is glances.situation()
    assert survey.looks == 1


def test_nobody_waits_for_a_new_look(glances, survey, monkeypatch):
    first = glances.situation()
    monkeypatch.setattr("imagesync.daemon.web.window._FRESH", 0.0)
    survey.let.clear()
    survey.begun.clear()
    assert glances.situation() is first
    assert survey.begun.wait(HANG)
    assert glances.situation() is first
    survey.let.set()
    glances.background.wait(HANG)

    assert glances.situation() is not first


def test_what_is_old_is_not_shown(glances, survey, monkeypatch):
    first = glances.situation()
    monkeypatch.setattr("imagesync.daemon.web.window._OLD", 0.0)

    assert glances.situation() is not first


@pytest.mark.parametrize("error", [StateError("state", "is gone", ""), KeyError("is gone")])
def test_a_look_that_fails_behind_the_back_is_told_to_the_next_who_asks(glances, survey, monkeypatch, error):
    glances.situation()
    monkeypatch.setattr("imagesync.daemon.web.window._FRESH", 0.0)
    survey.error = error
    glances.situation()
    glances.background.wait(HANG)

    with pytest.raises(type(error), match="is gone"):
        glances.situation()


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
def give(answers, counted):
    return lambda path: int(asyncio.run(answers.give(counted, _request(path))).body)


def test_an_answer_is_made_once_for_many_until_it_is_forgotten(glances, give, counted):
    numbers = [give(path) for path in ("/a", "/a", "/b")]
    glances.forget()
    numbers.append(give("/a"))

    assert numbers == [1, 1, 2, 3]
    assert counted.made == ["/a", "/b", "/a"]


def test_nobody_waits_for_a_new_answer(glances, give, monkeypatch):
    give("/a")
    monkeypatch.setattr("imagesync.daemon.web.answers._FRESH", 0.0)
    assert give("/a") == 1
    glances.background.wait(HANG)

    assert give("/a") == 2


def test_an_old_answer_is_given_only_while_it_is_made_anew(glances, give, monkeypatch):
    give("/a")
    monkeypatch.setattr("imagesync.daemon.web.answers._OLD", 0.0)
    assert give("/a") == 2
    release = Event()
    glances.background.do("/a", lambda: release.wait(HANG))
    assert give("/a") == 2
    monkeypatch.setattr("imagesync.daemon.web.answers._OLDEST", 0.0)
    assert give("/a") == 3
    release.set()
    glances.background.wait(HANG)


@pytest.mark.parametrize(
    "error", [StateError("state", "is gone", ""), HTTPException(404), KeyError("a mistake of ours")]
)
def test_an_answer_that_cannot_be_made_anew_is_given_no_more(glances, give, counted, monkeypatch, error):
    give("/a")
    monkeypatch.setattr("imagesync.daemon.web.answers._FRESH", 0.0)
    counted.error = error
    assert give("/a") == 1
    glances.background.wait(HANG)

    with pytest.raises(type(error)):
        give("/a")


def test_answers_do_not_add_up(answers, give):
    for number in range(1000):
        give(f"/targets/site/{number}")

    assert len(answers._kept) == 64
    assert give("/targets/site/999") == 1000


def test_what_is_asked_for_twice_is_done_once_and_with_rests(monkeypatch):
    background, release, done = Background(), Event(), []
    rests = []
    monkeypatch.setattr("imagesync.daemon.web.background.time.sleep", rests.append)
    monkeypatch.setattr("imagesync.daemon.web.background.time.thread_time", iter((0, 1, 1, 3)).__next__)
    background.do("first", lambda: release.wait(HANG))
    for number in range(3):
        background.do("second", partial(done.append, number))
    assert background.is_due("second")
    release.set()
    background.wait(HANG)

    assert (done, rests) == ([0], [9, 18])
    assert not background.is_due("second")
