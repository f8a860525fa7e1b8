"""How often the state is looked at, and who waits for that."""

from dataclasses import replace
from threading import Event

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from imagesync.daemon.web.access import Rules
from imagesync.daemon.web.answers import Answers
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
        self.begun, self.let, self.looks, self.broken = Event(), Event(), 0, False
        self.let.set()

    def look(self, config, outlook, now):
        self.begun.set()
        assert self.let.wait(HANG)
        self.looks += 1
        if self.broken:
            raise StateError("state", "is gone", "")
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
    glances._looking.join(HANG)

    assert glances.situation() is not first


def test_what_is_old_is_not_shown(glances, survey, monkeypatch):
    first = glances.situation()
    monkeypatch.setattr("imagesync.daemon.web.window._OLD", 0.0)

    assert glances.situation() is not first


def test_a_look_that_fails_behind_the_back_is_told_to_the_next_who_asks(glances, survey, monkeypatch):
    glances.situation()
    monkeypatch.setattr("imagesync.daemon.web.window._FRESH", 0.0)
    survey.broken = True
    glances.situation()
    glances._looking.join(HANG)

    with pytest.raises(StateError, match="is gone"):
        glances.situation()


def _request(path):
    return Request({"type": "http", "method": "GET", "path": path, "headers": []})


def test_an_answer_is_made_once_for_each_look(glances):
    made = []
    answers = Answers(Desk(glances, Metrics(glances), Rules()))

    def answer(desk, request):
        made.append(request.url.path)
        return PlainTextResponse(str(len(made)))

    bodies = [answers.give(answer, _request(path)).body for path in ("/a", "/a", "/b")]
    glances.forget()
    bodies.append(answers.give(answer, _request("/a")).body)

    assert bodies == [b"1", b"1", b"2", b"3"]
    assert made == ["/a", "/b", "/a"]


def test_answers_do_not_add_up(glances):
    answers = Answers(Desk(glances, Metrics(glances), Rules()))
    for number in range(1000):
        answers.give(lambda desk, request: PlainTextResponse(""), _request(f"/targets/site/{number}"))

    assert len(answers._kept) == 64
