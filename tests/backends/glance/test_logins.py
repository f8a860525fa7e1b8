"""Every way to log in, at a real Keystone."""

import logging
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from cloud.cloud import write_clouds_yaml
from cloud.faults import Status
from cloud.proxy import Proxy
from imagesync_glance.session import Cloud
from imagesync_glance.settings import Project, read_settings

from imagesync.errors import BackendError, BackendRefusedError, BackendUnavailableError, ConfigError
from imagesync.testing.tls import TlsAuthority

from .conftest import VO, Hidden, inline


def works(site):
    with site.open() as backend:
        return tuple(backend.owners(VO)) == (site.project.id,) and tuple(backend.owned()) == ()


@pytest.fixture
def clouds(tmp_path, monkeypatch):
    """Call it with entries to have them as the only clouds.yaml."""

    def write(**entries):
        path = write_clouds_yaml(tmp_path / "clouds.yaml", entries)
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))

    return write


WAYS = {
    "password": lambda cloud, project: project.login(),
    "application credential": lambda cloud, project: project.application_credential(),
    "token": lambda cloud, project: project.token_login(),
    "v3oidcaccesstoken": lambda cloud, project: cloud.federation.join(project).by_access_token(),
    "v3oidcclientcredentials": lambda cloud, project: cloud.federation.join(project).by_client_credentials(),
    "v3oidcpassword": lambda cloud, project: cloud.federation.join(project).by_password(),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_is_published_with_every_kind_of_login(cloud, project, make_site, make_bench, way):
    site = make_site(project, **inline(WAYS[way](cloud, project)))
    with site.open() as backend:
        image = make_bench(site).publish(backend)

    assert site.show(image.ref)["status"] == "active"
    assert site.show(image.ref)["os_hidden"] is False


def test_a_cloud_is_found_in_clouds_yaml(site, project, clouds):
    clouds(other={"auth": {}}, here=project.login().entry())

    assert works(site.with_login(cloud="here"))


def test_a_cloud_comes_from_the_environment(site, project, monkeypatch):
    names = {"auth_url": "AUTH_URL", **{key: key.upper() for key in project.login().auth}}
    for key, value in project.login().auth.items():
        monkeypatch.setenv(f"OS_{names[key]}", value)
    monkeypatch.setenv("OS_REGION_NAME", "RegionOne")

    assert works(site.with_login())
    assert works(site.with_login(cloud="envvars"))


def test_the_environment_is_no_part_of_a_login_that_is_written_down(site, monkeypatch):
    monkeypatch.setenv("OS_PASSWORD", "wrong")
    monkeypatch.setenv("OS_PROJECT_NAME", "wrong")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")

    assert works(site)


def test_a_target_is_reached_through_its_proxy_alone(site):
    with pytest.raises(BackendUnavailableError, match="host='127.0.0.1', port=9"):
        site.open(proxy="http://127.0.0.1:9").__enter__()


class ForwardProxy:
    """A proxy for plain HTTP; ``asked`` has the method, the address and what proved the user, of each request."""

    def __init__(self):
        self.asked = []

    @contextmanager
    def running(self):
        proxy = self

        class Exchange(BaseHTTPRequestHandler):
            def forward(self):
                proxy.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kept = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
                upstream = HTTPConnection(parts.hostname, parts.port, timeout=60)
                upstream.request(self.command, parts._replace(scheme="", netloc="").geturl(), body, kept)
                answer = upstream.getresponse()
                content = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                upstream.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815 - names of the library

            def log_message(self, *arguments):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()


def test_everything_goes_through_the_targets_proxy_with_its_password(cloud, site, make_bench):
    forward = ForwardProxy()
    with forward.running() as url:
        through = site.with_settings(proxy={"url": url, "user": "site", "password": Hidden("s3cret")})
        with through.open() as backend:
            image = make_bench(through).publish(backend)

    assert site.show(image.ref)["status"] == "active"
    asked = {(method, address.partition("/v2/images")[0].removesuffix("/")) for method, address, _ in forward.asked}
    glance = cloud.glance_url()
    assert {("GET", glance), ("POST", glance), ("PUT", glance), ("PATCH", glance)} <= asked
    assert ("POST", f"{cloud.auth_url}/auth/tokens") in asked
    assert {proof for _, _, proof in forward.asked} == {f"Basic {b64encode(b'site:s3cret').decode()}"}


@pytest.mark.parametrize("interface", [None, "public", "internal", "admin"])
def test_the_interface_says_which_address_of_the_catalogue_is_used(cloud, make_site, project, interface):
    region, identity = f"interfaces-{uuid4().hex[:12]}", cloud.admin.identity
    identity.add_endpoint(region, "image", cloud.glance_url())
    try:
        with Proxy(cloud.glance_url()) as wanted:
            for endpoint in identity.find("endpoint", region_id=region):
                url = wanted.url if endpoint["interface"] == (interface or "public") else "http://127.0.0.1:9"
                identity.call("PATCH", f"/endpoints/{endpoint['id']}", json={"endpoint": {"url": url}})
            chosen = {} if interface is None else {"interface": interface}

            assert works(make_site(project, region_name=region, **chosen))
            assert wanted.exchanges
    finally:
        identity.remove_region(region)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_neither_password_nor_token_elsewhere(cloud, site, status):
    glance, keystone = Proxy(cloud.glance_url()), Proxy(cloud.auth_url)
    with glance, keystone, Proxy(cloud.glance_url()) as elsewhere:
        auth = {**site.settings["auth"], "auth_url": keystone.url}
        redirected = site.with_settings(auth=auth, endpoint_override=glance.url)
        glance.add("GET", "/v2/images", Status(status, location=f"{elsewhere.url}/v2/images"), times=None)
        with redirected.open() as backend, pytest.raises(BackendRefusedError, match=f"Glance answers {status}"):
            backend.owned()
        tokens = Status(status, location=f"{elsewhere.url}/v3/auth/tokens")
        keystone.add("POST", "/v3/auth/tokens", tokens, times=None)
        with pytest.raises(BackendError):
            redirected.open().__enter__()

        assert keystone.count("POST", "/v3/auth/tokens") == 2
        assert elsewhere.exchanges == []


def test_a_project_is_found_by_its_name(site, project):
    with site.open(projects={VO: {"name": project.name}}) as backend:
        assert tuple(backend.owners(VO)) == (project.id,)


def test_a_project_given_twice_is_one_owner(site, project):
    with site.open(projects={VO: [project.id, {"name": project.name}]}) as backend:
        assert tuple(backend.owners(VO)) == (project.id,)
        assert tuple(backend.owned()) == ()


def test_a_vo_may_have_several_projects_and_a_project_several_vos(cloud, make_site, make_bench):
    first, second = cloud.project(), cloud.project()
    user = cloud.user([first, second])
    site = make_site(first, **inline(first.login(user)), projects={VO: [first.id, second.id], "other": second.id})
    with site.open() as backend:
        assert tuple(backend.owners(VO)) == (first.id, second.id)
        assert tuple(backend.owners("other")) == (second.id,)
        bench = make_bench(site)
        specs = [bench.spec(owner=owner) for owner in backend.owners(VO)]
        refs = {backend.upload(spec, bench.file(1), lambda _: None).ref for spec in specs}

        assert {image.ref for image in backend.owned()} == refs
        assert {image.key.owner for image in backend.owned()} == {first.id, second.id}


def test_a_vo_without_a_project_is_refused_by_name(site):
    with (
        site.open() as backend,
        pytest.raises(BackendRefusedError, match=r"VO another.*projects: \{another: PROJECT\}"),
    ):
        backend.owners("another")


# --- what cannot work -------------------------------------------------------------------------------------------------
def test_a_wrong_password_is_refused_when_the_target_is_opened(site):
    auth = {**site.settings["auth"], "password": Hidden("hunter2")}

    with pytest.raises(BackendRefusedError, match="Keystone answers 401") as caught, site.open(auth=auth):
        pass

    assert "hunter2" not in str(caught.value)


def test_a_secret_that_cannot_be_read_is_refused(site):
    class Lost:
        def value(self):
            raise ConfigError("/etc/secret", "cannot be read")

    with pytest.raises(BackendRefusedError, match="/etc/secret: cannot be read"):
        site.open(auth={**site.settings["auth"], "password": Lost()}).__enter__()


@pytest.mark.parametrize("scheme", ["http://127.0.0.1:9/v3", "http://127.0.0.1:9"])
def test_a_keystone_that_does_not_answer_is_unavailable(site, scheme):
    auth = {**site.settings["auth"], "auth_url": scheme}

    with pytest.raises(BackendUnavailableError):
        site.open(auth=auth).__enter__()


def test_an_unknown_cloud_is_refused(site, clouds):
    clouds(other={"auth": {}})

    with pytest.raises(BackendRefusedError, match="nowhere"):
        site.with_login(cloud="nowhere").open().__enter__()


def test_a_broken_clouds_yaml_is_named_by_its_line_alone(site, clouds, tmp_path):
    clouds()
    (tmp_path / "clouds.yaml").write_text("clouds:\n  here: {auth: {password: hunter2\n")

    with pytest.raises(BackendRefusedError, match=r"clouds\.yaml: is no YAML near line") as caught:
        site.with_login(cloud="here").open().__enter__()

    assert "hunter2" not in str(caught.value)


def test_nothing_that_says_where_keystone_is_is_refused(site, clouds):
    clouds()

    with pytest.raises(BackendRefusedError, match="nothing says where Keystone is"):
        site.with_login().open().__enter__()


def test_a_region_without_an_image_service_is_refused(site):
    with pytest.raises(BackendRefusedError, match="no public image service in region Nowhere"):
        site.open(region_name="Nowhere").__enter__()


def test_an_unknown_kind_of_login_is_refused(site):
    with pytest.raises(BackendRefusedError, match="v3nothing"):
        site.open(auth_type="v3nothing").__enter__()


def test_an_application_credential_for_another_project_is_refused(cloud, project, make_site):
    other = cloud.project()
    site = make_site(project, **inline(other.application_credential()))

    with pytest.raises(BackendRefusedError, match=f"the credentials are for {other.name}"):
        site.open().__enter__()


def test_each_project_may_have_credentials_of_its_own(cloud, make_site, clouds):
    first, second = cloud.project(), cloud.project()
    clouds(a=first.application_credential().entry(), b=second.application_credential().entry())
    projects = {"one": {"id": first.id, "cloud": "a"}, "two": {"name": second.name, "cloud": "b"}}
    site = make_site(first, projects=projects).with_login(cloud="a")
    with site.open() as backend:
        assert [tuple(backend.owners(vo)) for vo in projects] == [(first.id,), (second.id,)]


def test_a_project_that_is_not_for_us_stops_its_vo_alone(cloud, project, make_site, make_bench):
    other = cloud.project()
    site = make_site(project, projects={VO: project.id, "locked": other.id, "both": [project.id, other.id]})
    with site.open() as backend:
        image = make_bench(site).publish(backend)

        assert [one.ref for one in backend.owned()] == [image.ref]
        for vo in ("locked", "both"):
            with pytest.raises(BackendRefusedError, match=f"project {other.id}: Keystone answers 401"):
                backend.owners(vo)


def test_a_role_that_is_taken_away_refuses_the_project(cloud, project, site):
    project.revoke(project.user)

    with pytest.raises(BackendRefusedError, match="has a role on the project"):
        site.open().__enter__()


def test_a_user_who_may_only_read_is_said_before_anything_is_written(project, make_site, make_bench, caplog):
    site = make_site(project, **inline(project.login(project.reader())))
    with site.open() as backend:
        assert "has the role reader alone" in caplog.text
        assert tuple(backend.owned()) == ()
        with pytest.raises(BackendRefusedError, match="Glance answers 403"):
            make_bench(site).upload(backend)


def test_a_credential_that_may_only_list_is_refused_when_it_writes(project, make_site, make_bench):
    login = project.application_credential([{"service": "image", "method": "GET", "path": "/v2/images"}])
    site = make_site(project, **inline(login))
    with site.open() as backend, pytest.raises(BackendRefusedError, match="Glance answers 401"):
        make_bench(site).upload(backend)


def test_a_busy_keystone_is_asked_again(cloud, site):
    with Proxy(cloud.auth_url) as keystone:
        keystone.add("POST", "/v3/auth/tokens", Status(503), times=2)
        with site.open(auth={**site.settings["auth"], "auth_url": keystone.url}) as backend:
            assert tuple(backend.owned()) == ()


def test_what_is_no_glance_is_refused_when_the_target_is_opened(site, cloud):
    with pytest.raises(BackendUnavailableError, match="is this Glance"):
        site.open(endpoint_override=cloud.auth_url).__enter__()


def test_the_cas_of_a_cloud_are_those_of_its_target_alone(cloud, site, tmp_path):
    authority = TlsAuthority(tmp_path)
    with Proxy(cloud.auth_url, authority.server("127.0.0.1")) as keystone:
        auth = {**site.settings["auth"], "auth_url": keystone.url}
        with site.open(auth=auth, cacert=str(authority.bundle)) as backend:
            assert tuple(backend.owned()) == ()
        with pytest.raises(BackendUnavailableError, match="name the CA's certificates as cacert"):
            site.open(auth=auth).__enter__()


def test_a_token_is_renewed_before_it_would_end_too_early(site):
    cloud = Cloud(read_settings(site.settings, "mysite"))
    login = cloud.login(Project(id=site.project.id))
    token = login.session.get_token(login.auth)

    login.renew(60)
    assert login.session.get_token(login.auth) == token
    login.renew(10**6)
    assert login.session.get_token(login.auth) != token
    cloud.close()


def test_no_secret_is_written_anywhere(cloud, project, make_site, make_bench, caplog):
    member = cloud.federation.join(project)
    logins = [project.login(), project.application_credential(), member.by_access_token(), member.by_password()]
    caplog.set_level(logging.DEBUG)
    for login in logins:
        site = make_site(project, **inline(login))
        target = site.open()
        with target as backend:
            make_bench(site).remove(backend, make_bench(site).publish(backend).ref)
        hidden = [item.value() for item in site.settings["auth"].values() if isinstance(item, Hidden)]
        assert hidden
        found = [line for line in caplog.text.splitlines() if any(secret in line for secret in hidden)]
        assert found == []
        assert not any(secret in repr(vars(target)) for secret in hidden)
