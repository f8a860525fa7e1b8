"""A loopback server that misbehaves on purpose. PUBLIC.

What happens at a path is a *behaviour*: a function that is given the connection after a request was read, and writes
to it what it likes::

    with HazardServer() as server:
        server.at("/image", endless())
        server.at("/flaky", in_turn(status(503, retry_after="0"), answer(b"bytes")))
        url = server.url("/image")

Raw sockets, one thread per connection. Closing the server ends every behaviour and waits for its thread.
"""

from imagesync.testing.hazards.behaviours import (
    answer,
    drip_body,
    drip_chunk_header,
    drip_headers,
    encoded,
    endless,
    endless_chunks,
    endless_headers,
    garbage,
    html,
    in_turn,
    redirect,
    reset,
    stall,
    status,
    truncated,
    truncated_chunks,
    tunnel,
    without_length,
)
from imagesync.testing.hazards.server import Behaviour, Connection, HazardServer, Request

__all__ = [
    "Behaviour",
    "Connection",
    "HazardServer",
    "Request",
    "answer",
    "drip_body",
    "drip_chunk_header",
    "drip_headers",
    "encoded",
    "endless",
    "endless_chunks",
    "endless_headers",
    "garbage",
    "html",
    "in_turn",
    "redirect",
    "reset",
    "stall",
    "status",
    "truncated",
    "truncated_chunks",
    "tunnel",
    "without_length",
]
