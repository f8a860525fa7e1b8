"""How often a service is asked."""

import pytest
from imagesync_glance.faults import AnswerError
from imagesync_glance.repetition import Patience


class Answers:
    """A service that gives the answers, one after the other; it counts how often it was asked."""

    def __init__(self, *statuses):
        self.rest = list(statuses)

    def __call__(self):
        status = self.rest.pop(0)
        if status >= 400:
            raise AnswerError(status, "")
        return status


@pytest.fixture
def patience():
    return Patience(backoff=0.0)


def test_what_fails_now_and_then_is_asked_again(patience):
    assert patience.ask(Answers(500, 503, 200)) == 200


def test_a_service_that_is_down_is_asked_once_until_it_answers_again(patience):
    with pytest.raises(AnswerError):
        patience.ask(Answers(500, 500, 500, 500))

    with pytest.raises(AnswerError):
        patience.ask(Answers(503))
    assert patience.ask(Answers(200)) == 200
    assert patience.ask(Answers(500, 200)) == 200


def test_the_log_of_an_attempt_shows_no_secret_of_an_address(patience, caplog):
    from imagesync_glance.faults import summary
    from requests import ConnectionError as BrokenError

    error = BrokenError("no way\nthrough <b>http://user:s3cret@proxy.example.org:3128</b>")

    assert summary(error) == "no way through http://proxy.example.org:3128"
    caplog.set_level("INFO")
    patience.ask(Answers(503, 200))
    assert "attempt 1 failed, next in 0.0 s: 503" in caplog.text


def test_a_refusal_is_an_answer(patience):
    with pytest.raises(AnswerError):
        patience.ask(Answers(500, 500, 500, 500))
    with pytest.raises(AnswerError):
        patience.ask(Answers(404))

    assert patience.ask(Answers(500, 200)) == 200
