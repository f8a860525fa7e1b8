import contextlib
import http.client
import socket
import threading
import time

import pytest

from imagesync.testing import hazards
from imagesync.testing.hazards import Behaviour, HazardServer

FOREVER = {
    "endless": hazards.endless(),
    "endless chunks": hazards.endless_chunks(),
    "endless headers": hazards.endless_headers(),
    "drip of body": hazards.drip_body(),
    "drip of headers": hazards.drip_headers(),
    "drip of a chunk header": hazards.drip_chunk_header(),
    "stall": hazards.stall(b"x", 10),
    "silence": hazards.stall(headers=False),
}


def ask(server: HazardServer, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", path, headers={"X-Test": "yes"})
        with connection.getresponse() as response:
            return response.status, response.read()


def test_requests_are_recorded_and_what_has_no_behaviour_is_missing() -> None:
    with HazardServer() as server:
        server.at("/there", hazards.answer(b"body"))

        assert ask(server, "/there?x=1") == (200, b"body")
        assert ask(server, "/elsewhere") == (404, b"")
        assert server.targets() == ["/there?x=1", "/elsewhere"]
        assert server.requests[0].headers["x-test"] == "yes"
        assert server.connections == 2


def test_behaviours_take_turns_and_the_last_one_stays() -> None:
    with HazardServer() as server:
        server.at("/", hazards.in_turn(hazards.status(503), hazards.answer(b"a"), hazards.answer(b"b")))

        assert [ask(server, "/")[0] for _ in range(4)] == [503, 200, 200, 200]
        assert ask(server, "/")[1] == b"b"


def test_a_new_behaviour_begins_anew() -> None:
    with HazardServer() as server:
        server.at("/", hazards.answer(b"old"))
        ask(server, "/")
        server.at("/", hazards.in_turn(hazards.answer(b"first"), hazards.answer(b"second")))

        assert ask(server, "/")[1] == b"first"


@pytest.mark.parametrize("behaviour", FOREVER.values(), ids=FOREVER.keys())
def test_closing_the_server_ends_every_behaviour(behaviour: Behaviour) -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as serving:
        server = serving.enter_context(HazardServer())
        server.at("/", behaviour)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            if behaviour is not FOREVER["silence"]:
                assert client.recv(1) == b"H"
            serving.close()

    assert time.monotonic() - began < 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hazard")]
