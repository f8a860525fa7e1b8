"""What can go wrong when a client asks for the rest of a file (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from imagesync.testing.hazards.behaviours import answer
from imagesync.testing.hazards.server import Behaviour, Connection

TAG = {"ETag": '"v1"'}
"""The version that these behaviours speak of."""

_FROM = re.compile(r"bytes=(\d+)-")


def ranged(body: bytes, *, keep: int | None = None, headers: Mapping[str, str] = TAG) -> Behaviour:
    """Answer well: all of ``body``, or from where the client asks if its ``If-Range`` is the validator in ``headers``.

    With ``keep`` the connection is closed after that many bytes of the answer.
    """

    def behave(connection: Connection) -> None:
        start = _start(connection)
        if start is None or connection.request.headers.get("if-range") not in headers.values():
            start = None
        _send(connection, body, start, headers, keep)

    return behave


def lying_tag(body: bytes) -> Behaviour:
    """Give out the rest of ``body`` under the ETag that any other bytes had before."""
    return ranged(body)


def deaf(body: bytes, headers: Mapping[str, str] = TAG) -> Behaviour:
    """Answer with the rest of ``body`` whatever version the client has; ``headers`` are those of the new one."""

    def behave(connection: Connection) -> None:
        _send(connection, body, _start(connection), headers, None)

    return behave


def rangeless(body: bytes) -> Behaviour:
    """Answer 200 with all of ``body`` whatever part is asked for."""
    return answer(body, headers=TAG)


def shifted(body: bytes, *, by: int = 1, more: int = 0) -> Behaviour:
    """Answer with a part that begins ``by`` bytes later than asked, of a file said to be ``more`` bytes longer."""

    def behave(connection: Connection) -> None:
        start = (_start(connection) or 0) + by
        size = len(body) + more
        labelled = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        answer(body[start:], 206, {**TAG, **labelled})(connection)

    return behave


def unlabelled(body: bytes) -> Behaviour:
    """Answer 206 without saying which part it is."""

    def behave(connection: Connection) -> None:
        answer(body[_start(connection) or 0 :], 206, TAG)(connection)

    return behave


def overlong(body: bytes) -> Behaviour:
    """Answer 206 with a right label and more bytes than it says, without a length."""

    def behave(connection: Connection) -> None:
        start = _start(connection) or 0
        connection.head(206, {**TAG, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        connection.send(body[start:] + b"more")

    return behave


def multipart(body: bytes) -> Behaviour:
    """Answer with several parts, each with a head of its own, where one was asked for."""

    def behave(connection: Connection) -> None:
        start = _start(connection) or 0
        head = f"--part\r\nContent-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n\r\n".encode()
        content = head + body[start:] + b"\r\n--part--\r\n"
        answer(content, 206, {**TAG, "Content-Type": "multipart/byteranges; boundary=part"})(connection)

    return behave


def refusing(body: bytes, code: int = 416) -> Behaviour:
    """Refuse every range with a status; answer with all of ``body`` else."""

    def behave(connection: Connection) -> None:
        if _start(connection) is None:
            rangeless(body)(connection)
        else:
            answer(b"", code, {"Content-Range": f"bytes */{len(body)}"})(connection)

    return behave


def _start(connection: Connection) -> int | None:
    found = _FROM.match(connection.request.headers.get("range", ""))
    return int(found[1]) if found else None


def _send(connection: Connection, body: bytes, start: int | None, headers: Mapping[str, str], keep: int | None) -> None:
    part = body[start or 0 :]
    labelled = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start is not None else {}
    connection.head(200 if start is None else 206, {"Content-Length": str(len(part)), **headers, **labelled})
    connection.send(part if keep is None else part[:keep])
