"""What Keystone, Glance and Nova answer, as errors of the port.

Nothing here says what was sent: requests carry tokens. What a service says itself is quoted, on one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imagesync.errors import (
    BackendConflictError,
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    ConfigError,
)

if TYPE_CHECKING:
    from requests import Response

_LONGEST = 400
_ACTION = re.compile(r"complete (\w+) action")
_MARKUP = re.compile(r"(?:<[^>]*>|\s)+")
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")


UNUSABLE = 0
"""In place of a status: there was an answer, but not what it should be."""


class AnswerError(Exception):
    """A service answered with an error status, or ``UNUSABLE``. Never leaves this package.

    ``retry_after`` is in seconds.
    """

    def __init__(self, status: int, detail: str, retry_after: float | None = None) -> None:
        """Keep the status, what the service said, and how long it asks to wait."""
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


def refusal(response: Response) -> AnswerError:
    """Return the error that an answer stands for."""
    return AnswerError(response.status_code, said(response), _seconds(response.headers.get("Retry-After", "")))


def denied_rule(answer: AnswerError) -> str:
    """Return the rule of Glance's policy that refused a request, empty where it was something else."""
    found = _ACTION.search(answer.detail) if answer.status == 403 else None
    return found[1] if found else ""


def said(response: Response) -> str:
    """Return what a service says in an answer, on one line."""
    text = response.text
    if "json" in response.headers.get("Content-Type", ""):
        text = _message(response) or text
    return _plain(text) or response.reason or "no reason given"


def _message(response: Response) -> str:
    """Return the message of an error: Glance has it at the top, Keystone and Nova one level below."""
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    inner = next((value for value in body.values() if isinstance(value, dict)), body)
    return str(inner.get("message", ""))


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn whatever the OpenStack libraries raise inside into a ``BackendError`` about ``subject``.

    Raises:
        BackendError: the subclass says what kind of failure it is.
    """
    # Only here is one of their errors possible, and importing them takes as long as a small pass.
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import ConfigException
    from requests import RequestException

    try:
        yield
    except AnswerError as answer:
        raise fault(subject, answer) from answer
    except ConfigError as error:
        raise BackendRefusedError(subject, str(error)) from error
    except ConfigException as error:
        raise BackendRefusedError(subject, _one_line(error), "see the cloud's entry in clouds.yaml") from error
    except ClientException as error:
        raise _login_fault(subject, error) from error
    except RequestException as error:
        raise BackendUnavailableError(subject, _one_line(error), "see whether the service runs") from error


# --- login and connections --------------------------------------------------------------------------------------------
def _login_fault(subject: str, error: Exception) -> BackendError:
    from keystoneauth1 import exceptions

    if isinstance(error, exceptions.HttpError):
        detail = said(error.response) if error.response is not None else _one_line(error)
        return _keystone_fault(subject, AnswerError(error.http_status, detail))
    unreachable = {
        exceptions.SSLError: "name the CA's certificates as cacert",
        exceptions.ConnectionError: "see whether the service runs and can be reached",
        exceptions.DiscoveryFailure: "see whether auth_url is Keystone's address",
    }
    for kind, hint in unreachable.items():
        if isinstance(error, kind):
            return BackendUnavailableError(subject, _one_line(error), hint)
    return BackendRefusedError(subject, _one_line(error), "see auth_type and the options of that plugin")


def _keystone_fault(subject: str, answer: AnswerError) -> BackendError:
    """Return the error for an answer to a login. Keystone says 401 also when there is no such project or role."""
    said_so = f"Keystone answers {answer.status}: {answer.detail}"
    if answer.status >= 500 or answer.status in {408, 429}:
        return BackendUnavailableError(subject, said_so, "it is tried again later")
    hint = "see user and secret, and whether that user has a role on the project"
    return BackendRefusedError(subject, said_so, hint)


def summary(error: BaseException | None) -> str:
    """Return on one line what went wrong, for the log: never a foreign exception as it is."""
    match error:
        case AnswerError(status=status, detail=detail):
            return f"{status} {detail}" if status else detail
        case Exception():
            return _one_line(error)
        case _:
            return "no reason given"


def _one_line(error: Exception) -> str:
    return _plain(str(error)) or type(error).__name__


def _plain(text: str) -> str:
    """Return a text on one line, without markup, and without what stands before an address's host: it may be secret."""
    return _USERINFO.sub("", _MARKUP.sub(" ", text)).strip()[:_LONGEST]


# --- answers of Glance ------------------------------------------------------------------------------------------------
def fault(subject: str, answer: AnswerError) -> BackendError:
    """Return the error of the port for an answer of Glance."""
    rule = _RULES.get(answer.status)
    if rule is not None:
        return rule(subject, answer)
    if answer.status >= 500 or answer.status in {UNUSABLE, 408}:
        return BackendUnavailableError(subject, _quoted(answer), "it is tried again later")
    return BackendRefusedError(subject, _quoted(answer), "see Glance's log; report it if the request was wrong")


def _quoted(answer: AnswerError) -> str:
    return f"Glance answers {answer.status}: {answer.detail}" if answer.status else answer.detail


def _conflict(subject: str, answer: AnswerError) -> BackendError:
    return BackendConflictError(subject, _quoted(answer), "it is looked at again in the next pass")


def _forbidden(subject: str, answer: AnswerError) -> BackendError:
    if "protected" in answer.detail.lower():
        return BackendConflictError(subject, _quoted(answer), "remove the image's protection to have it deleted")
    action = denied_rule(answer)
    rule = f"the rule {action} of Glance's policy" if action else "Glance's policy"
    return BackendRefusedError(subject, _quoted(answer), f"give the user a role that {rule} allows, such as member")


def _renewal_refused(subject: str, answer: AnswerError) -> BackendError:
    hint = "see whether the user, its role or its application credential was removed"
    return BackendRefusedError(subject, f"{_quoted(answer)}, also with a new token", hint)


def _over_limit(subject: str, answer: AnswerError) -> BackendError:
    text = answer.detail.lower()
    hints = (hint for words, hint in _LIMITS if all(word in text for word in words))
    return BackendRefusedError(subject, _quoted(answer), next(hints, "raise the quota in Glance, or delete images"))


_LIMITS = (
    (("propert",), "raise image_property_quota in glance-api.conf, or write fewer properties"),
    (("tag",), "raise image_tag_quota in glance-api.conf"),
    (("member",), "raise image_member_quota in glance-api.conf, or share with fewer projects"),
    (("storage", "full"), "Glance's store is full: give it more room, or delete images"),
    (("image_size_total",), "raise the project's limit image_size_total in Keystone, or delete images"),
    (("image_count_total",), "raise the project's limit image_count_total in Keystone, or delete images"),
    (("remaining",), "raise user_storage_quota in glance-api.conf, or delete images"),
    (("too large",), "raise image_size_cap in glance-api.conf, or exclude the image"),
)
"""Words of Glance's own message, and what to do then; the first that fits."""


def _wrong_type(subject: str, answer: AnswerError) -> BackendError:
    if "content-type" in answer.detail.lower() or "content type" in answer.detail.lower():
        return BackendRefusedError(subject, _quoted(answer), "something between here and Glance changes requests")
    hint = "Glance's own inspection refused the bytes: see require_image_format_match in glance-api.conf"
    return BackendRefusedError(subject, _quoted(answer), hint)


def _later(subject: str, answer: AnswerError) -> BackendError:
    return BackendUnavailableError(subject, _quoted(answer), "it is tried again later")


_RULES: dict[int, Callable[[str, AnswerError], BackendError]] = {
    401: _renewal_refused,
    403: _forbidden,
    404: _conflict,
    409: _conflict,
    410: _conflict,
    413: _over_limit,
    415: _wrong_type,
    429: _later,
}
