"""The proxy passes on what a real service says, and breaks what it was told to break."""

import time
import tracemalloc
from http.client import HTTPConnection
from threading import Event

import pytest
import requests
from cloud.api import Login, RefusedError
from cloud.faults import CutAnswer, Delay, Hang, Meanwhile, ResetAnswer, ResetRequest, Status
from cloud.processes import wait_until
from cloud.proxy import Proxy
from keystoneauth1.exceptions import ConnectFailure, Unauthorized, UnknownConnectionError

from imagesync.testing.tls import TlsAuthority

MIB = 1 << 20
FILE = r"/v2/images/[^/]+/file"
IMAGES = "/v2/images"
LIMIT = 60


@pytest.fixture
def proxy(cloud):
    with Proxy(cloud.glance_url()) as opened:
        yield opened


@pytest.fixture
def images(project, proxy):
    """The project's Glance, by way of the proxy."""
    return project.images(url=proxy.url)


@pytest.fixture(scope="module")
def identity_proxy(cloud):
    with Proxy(cloud.auth_url) as opened:
        yield opened


def plain(proxy, token, timeout=LIMIT):
    """Ask without retries or discovery."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(proxy.url + IMAGES, headers={"X-Auth-Token": token}, timeout=timeout)


def status_becomes(images, image, status):
    wait_until(lambda: images.show(image)["status"] == status)


def test_what_is_sent_arrives_and_is_counted(images, proxy):
    image = images.add("through", b"x" * 3 * MIB)

    assert images.download(image["id"]) == b"x" * 3 * MIB
    seen = [(one.method, one.path.replace(image["id"], "ID"), one.status, one.sent) for one in proxy.exchanges]
    assert seen[0][:3] == ("POST", IMAGES, 201)
    assert seen[1:] == [
        ("PUT", "/v2/images/ID/file", 204, 3 * MIB),
        ("GET", "/v2/images/ID", 200, 0),
        ("GET", "/v2/images/ID/file", 200, 0),
    ]
    assert proxy.exchanges[-1].received == 3 * MIB
    assert proxy.count("GET") == 2
    assert proxy.count("POST", IMAGES) == 1


def test_a_body_in_chunks_passes(images, proxy):
    image = images.create(name="chunks")["id"]

    images.upload(image, iter([b"a" * MIB, b"b", b"c" * 70000]))

    assert images.download(image) == b"a" * MIB + b"b" + b"c" * 70000
    assert proxy.exchanges[1].sent == MIB + 70001


def test_the_query_passes(images, proxy):
    images.add("one", b"1")

    assert list(images.list(name="other")) == []
    assert proxy.exchanges[-1].query == "limit=1000&name=other"


def test_bodies_are_not_held_in_memory(images):
    image = images.create(name="large")["id"]
    images.upload(image, b"")
    image = images.create(name="large")["id"]
    tracemalloc.start()

    images.upload(image, (b"x" * 65536 for _ in range(512)))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images.show(image)["size"] == 32 * MIB
    assert peak < 4 * MIB


@pytest.mark.parametrize("code", [400, 403, 409, 413, 429, 500, 502, 503])
def test_a_status_stands_in_for_the_answer_and_the_service_is_not_asked(images, project, proxy, code):
    proxy.add("POST", IMAGES, Status(code))

    with pytest.raises(RefusedError, match=f'{code} {{"message": "made by'):
        images.create(name="refused")

    assert list(project.images().list()) == []


def test_retry_after_and_a_page_for_people_can_be_sent(cloud, proxy):
    proxy.add("GET", IMAGES, Status(503, retry_after=7, html=True))

    answer = plain(proxy, cloud.admin.token)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert answer.headers["Content-Type"] == "text/html"


def test_an_answer_can_be_lost_after_the_service_acted(images, project, proxy):
    proxy.add("POST", IMAGES, Status(502, forward=True))

    with pytest.raises(RefusedError, match="502"):
        images.create(name="made all the same")

    assert [image["name"] for image in project.images().list()] == ["made all the same"]


def test_a_token_is_refused_once_and_the_session_logs_in_again(images, proxy):
    proxy.add("GET", IMAGES, Status(401))

    assert list(images.list()) == []
    assert [one.status for one in proxy.exchanges] == [401, 200]


@pytest.mark.parametrize("after", [0, 100_000, 3 * MIB - 1])
def test_an_upload_is_reset_where_it_is_told(images, project, proxy, after):
    image = images.create(name="broken")["id"]
    rule = proxy.add("PUT", FILE, ResetRequest(after))

    with pytest.raises(ConnectFailure):
        images.upload(image, b"x" * 3 * MIB)

    assert (proxy.exchanges[1].sent, proxy.exchanges[1].status, rule.struck) == (after, 0, 1)
    status_becomes(project.images(), image, "queued")
    images.upload(image, b"whole")
    assert project.images().download(image) == b"whole"


@pytest.mark.parametrize("fault", [ResetAnswer, CutAnswer])
def test_a_download_breaks_where_it_is_told(images, proxy, fault):
    image = images.add("broken", b"x" * MIB)["id"]
    proxy.add("GET", FILE, fault(after=1000))

    with pytest.raises(UnknownConnectionError, match="Connection broken"):
        images.download(image)

    assert proxy.exchanges[3].received == 1000


def test_a_cut_answer_ends_in_good_order(cloud, proxy):
    proxy.add("GET", IMAGES, CutAnswer(after=5))
    address = proxy.url.removeprefix("http://")
    connection = HTTPConnection(address, timeout=LIMIT)
    connection.request("GET", IMAGES, headers={"X-Auth-Token": cloud.admin.token})

    answer = connection.getresponse()

    assert len(answer.fp.read()) == 5
    answer.close()
    connection.close()


def test_a_delay_holds_the_request_back(images, proxy):
    proxy.add("GET", IMAGES, Delay(0.5))
    begin = time.monotonic()

    assert list(images.list()) == []

    assert time.monotonic() - begin >= 0.5


def test_a_hanging_service_never_answers(cloud, proxy):
    proxy.add("GET", IMAGES, Hang())

    with pytest.raises(requests.ReadTimeout):
        plain(proxy, cloud.admin.token, timeout=0.2)

    assert not proxy.exchanges[0].over
    proxy.stop()
    proxy.wait_for(1)


def test_something_happens_in_the_middle_of_an_upload(images, project, proxy):
    image = images.create(name="seen")["id"]
    proxy.add("PUT", FILE, Meanwhile(lambda: status_becomes(project.images(), image, "saving"), after=MIB))

    images.upload(image, b"x" * 3 * MIB)

    assert images.download(image) == b"x" * 3 * MIB


def test_something_happens_between_the_act_and_the_answer(images, project, proxy):
    seen = []
    proxy.add("POST", IMAGES, Meanwhile(lambda: seen.extend(project.images().list()), answer=True))

    image = images.create(name="seen")

    assert [found["id"] for found in seen] == [image["id"]]


def test_a_rule_strikes_from_the_nth_match_as_often_as_told(images, proxy):
    rule = proxy.add("GET", IMAGES, Status(500), nth=2, times=2)

    def ask():
        try:
            list(images.list())
        except RefusedError as refused:
            return refused.status
        return 200

    assert [ask() for _ in range(5)] == [200, 500, 500, 200, 200]
    assert rule.struck == 2


def test_a_rule_can_last_and_be_dropped(images, proxy):
    proxy.add("GET", IMAGES, Status(500), times=None)
    for _ in range(3):
        with pytest.raises(RefusedError):
            list(images.list())

    proxy.clear()

    assert list(images.list()) == []
    assert len(proxy.exchanges) == 1


def test_a_stopped_proxy_refuses_and_comes_back_at_the_same_address(images, proxy):
    proxy.stop()
    with pytest.raises(ConnectFailure):
        list(images.list())

    proxy.start()

    assert list(images.list()) == []


def test_stopping_ends_what_is_under_way(cloud, project, proxy):
    image = project.images().create(name="stopped")["id"]
    entered = Event()
    proxy.add("PUT", FILE, Meanwhile(lambda: (entered.set(), proxy_closing.wait(LIMIT)), after=10))
    proxy_closing = Event()

    def bodies():
        yield b"x" * 10
        entered.wait(LIMIT)
        proxy_closing.set()
        proxy.stop()
        yield b"y" * MIB

    with pytest.raises(ConnectFailure):
        project.images(url=proxy.url).upload(image, bodies())


def test_a_service_that_is_down_looks_down_through_the_proxy(project):
    with Proxy("http://127.0.0.1:9") as proxy, pytest.raises(ConnectFailure):
        list(project.images(url=proxy.url).list())


def test_an_answer_before_the_end_of_the_body_arrives(identity_proxy):
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{identity_proxy.url}/auth/tokens", data=b"x" * 8 * MIB, timeout=LIMIT)

    assert answer.status_code == 413


def test_keystone_can_be_had_through_a_proxy(project, identity_proxy):
    login = Login("password", {**project.login().auth, "auth_url": identity_proxy.url})
    identity_proxy.add("POST", "/v3/auth/tokens", Status(401))

    with pytest.raises(Unauthorized):
        login.account().token  # noqa: B018 - reading it logs in

    assert login.account().token
    assert [image["id"] for image in login.account().images().list()] == []


def test_a_region_of_the_catalogue_may_be_a_proxy(cloud, project, proxy):
    region = f"proxy-of-{project.name}"
    cloud.add_region(region, proxy.url)

    image = project.images(region).add("there")

    assert proxy.count("POST", IMAGES) == 1
    assert project.images().show(image["id"])["status"] == "active"
    cloud.remove_region(region)


def test_a_service_can_be_had_over_tls(cloud, project, tmp_path):
    authority = TlsAuthority(tmp_path)
    with Proxy(cloud.glance_url(), authority.server("127.0.0.1")) as proxy:
        headers = {"X-Auth-Token": project.account().token}
        answer = requests.get(proxy.url + IMAGES, headers=headers, verify=str(authority.bundle), timeout=LIMIT)
        assert answer.json()["images"] == []

        with pytest.raises(requests.exceptions.SSLError):
            requests.get(proxy.url + IMAGES, timeout=LIMIT)
