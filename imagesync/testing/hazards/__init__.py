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
    gzip_bomb,
    html,
    in_turn,
    redirect,
    redirect_loop,
    reset,
    stall,
    status,
    truncated,
    truncated_chunks,
    tunnel,
    two_lengths,
    without_length,
    wrong_chunks,
)
from imagesync.testing.hazards.ranges import (
    TAG,
    deaf,
    lying_tag,
    multipart,
    overlong,
    ranged,
    rangeless,
    refusing,
    shifted,
    unlabelled,
)
from imagesync.testing.hazards.server import Behaviour, Connection, HazardServer, Request

__all__ = [
    "TAG",
    "Behaviour",
    "Connection",
    "HazardServer",
    "Request",
    "answer",
    "deaf",
    "drip_body",
    "drip_chunk_header",
    "drip_headers",
    "encoded",
    "endless",
    "endless_chunks",
    "endless_headers",
    "garbage",
    "gzip_bomb",
    "html",
    "in_turn",
    "lying_tag",
    "multipart",
    "overlong",
    "ranged",
    "rangeless",
    "redirect",
    "redirect_loop",
    "refusing",
    "reset",
    "shifted",
    "stall",
    "status",
    "truncated",
    "truncated_chunks",
    "tunnel",
    "two_lengths",
    "unlabelled",
    "without_length",
    "wrong_chunks",
]
