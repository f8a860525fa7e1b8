"""Answers that no Glance should give."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imagesync.backend import State
from imagesync.errors import BackendRefusedError, BackendUnavailableError

IMAGES = "/v2/images"
VERSIONS = json.dumps({"versions": [{"id": "v2.17"}, {"id": "v2.7"}, {"id": "v1.0"}]})
FACTS = {"status": "active", "created_at": "2026-03-01T00:00:00Z", "updated_at": "2026-03-01T00:00:00Z"}


class Imitation:
    """Answers by path and query; the last answer to a question stays."""

    def __init__(self):
        self.answers: dict[str, list[tuple[int, str]]] = {"/": [(300, VERSIONS)]}

    def take(self, path):
        found = next((key for key in sorted(self.answers, key=len, reverse=True) if path.startswith(key)), None)
        if found is None:
            return 404, "{}"
        answers = self.answers[found]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def page(self, *images, more="", status=200):
        body = {"images": list(images), **({"next": f"{IMAGES}?{more}"} if more else {})}
        return status, json.dumps(body)


@pytest.fixture
def imitation():
    """A server that says what a test tells it to; ``url`` is where it is."""
    made = Imitation()

    class Exchange(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = made.take(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def site(make_site, project, imitation):
    return make_site(project, endpoint_override=imitation.url)


def image(project, identifier):
    return {"id": identifier, "owner": project.id, "visibility": "private", "tags": [], **FACTS}


@pytest.mark.parametrize(
    "body",
    ['{"images": {}}', "[]", '{"images": [5]}', '{"images": [{"id": "7e"}]}', "<html>", '{"images": [', "null"],
)
def test_what_is_no_listing_is_an_error_and_never_empty(site, imitation, body):
    with site.open() as backend:
        imitation.answers[IMAGES] = [(200, body)]

        with pytest.raises(BackendUnavailableError):
            backend.owned()


def test_a_listing_that_leads_back_to_itself_is_an_error(site, imitation, project):
    with site.open() as backend:
        imitation.answers[f"{IMAGES}?marker=7e"] = [imitation.page(image(project, "7f"), more="marker=7e")]
        imitation.answers[IMAGES] = [imitation.page(image(project, "7e"), more="marker=7e")]

        with pytest.raises(BackendUnavailableError, match="leads back"):
            backend.owned()


def test_a_listing_that_repeats_an_image_is_read_again(site, imitation, project):
    with site.open() as backend:
        first, second = image(project, "7e"), image(project, "7f")
        imitation.answers[f"{IMAGES}?marker=7e"] = [imitation.page(first), imitation.page(second)]
        imitation.answers[IMAGES] = [imitation.page(first, more="marker=7e")]

        assert backend.owned() == ()


@pytest.mark.parametrize("status", [400, 404])
def test_a_listing_whose_next_page_begins_after_a_deleted_image_is_read_again(site, imitation, project, status):
    with site.open() as backend:
        lost = imitation.page(status=status)
        imitation.answers[f"{IMAGES}?marker=7e"] = [lost, imitation.page()]
        imitation.answers[IMAGES] = [imitation.page(image(project, "7e"), more="marker=7e")]

        assert backend.owned() == ()


def test_a_listing_that_never_comes_to_an_end_is_an_error(site, imitation, project):
    with site.open() as backend:
        imitation.answers[f"{IMAGES}?marker=7e"] = [imitation.page(status=404)]
        imitation.answers[IMAGES] = [imitation.page(image(project, "7e"), more="marker=7e")]

        with pytest.raises(BackendUnavailableError, match="changed each time"):
            backend.owned()


def test_the_next_page_is_asked_of_the_same_server_whatever_the_answer_says(site, imitation, project):
    """A token goes to no other place."""
    with site.open() as backend:
        elsewhere = json.dumps({"images": [image(project, "7e")], "next": "http://127.0.0.1:9/v2/images?marker=7e"})
        imitation.answers[f"{IMAGES}?marker=7e"] = [imitation.page()]
        imitation.answers[IMAGES] = [(200, elsewhere)]

        assert backend.owned() == ()


@pytest.mark.parametrize(
    "versions", ['{"versions": [{"id": "v2.6"}, {"id": "v1.1"}]}', '{"versions": []}', '{"versions": [{"id": "x"}]}']
)
def test_a_glance_that_is_too_old_is_refused_when_the_target_is_opened(site, imitation, versions):
    imitation.answers["/"] = [(300, versions)]

    with pytest.raises(BackendRefusedError, match=r"too old.*2\.7"):
        site.open().__enter__()


@pytest.mark.parametrize("answer", [(500, "{}"), (200, "[]"), (200, "no"), (404, "{}"), (300, "")])
def test_a_glance_that_does_not_say_its_versions_cannot_be_opened(site, imitation, answer):
    imitation.answers["/"] = [answer]

    with pytest.raises(BackendUnavailableError):
        site.open().__enter__()


def test_states_are_told_by_what_glance_says(site, imitation, project):
    record = '{"at": "2026-03-01T12:00:00Z", "list": "l", "image": "i", "fingerprint": "f", "size": 1, "virtual_size": 1, "sha512": ""}'
    ours = {**image(project, "7e"), "tags": ["imagesync:conformance"], "imagesync_record": record, "disk_format": "raw"}
    with site.open() as backend:
        imitation.answers[f"{IMAGES}?owner={project.id}&os_hidden"] = [imitation.page()]
        imitation.answers[IMAGES] = [imitation.page({**ours, "status": "killed"}), imitation.page(ours)]

        assert backend.owned() == ()
        assert [one.state for one in backend.owned()] == [State.PUBLISHED]
