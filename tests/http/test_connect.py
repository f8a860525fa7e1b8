"""Whom we talk to, and what we tell them: addresses, TLS, credentials, proxies."""

import base64
import contextlib
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.errors import ConfigError, ForbiddenAddressError, HttpStatusError, TooSlowError, UnreachableError
from imagesync.http import Credential, HttpPolicy, get, origin_of
from imagesync.testing import hazards
from imagesync.testing.hazards import HazardServer
from imagesync.testing.tls import TlsAuthority

BODY = b"bytes of an image"
PUBLIC = HttpPolicy()
TOKEN = "t0ken"


def read(url: str, policy: HttpPolicy) -> bytes:
    with get(url, policy, max_bytes=1 << 20) as response:
        return response.read()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name resolve to ``answers``, one after the other; the last one stays. Return the names asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: object, **_options: object) -> list[tuple[object, ...]]:
        if host[:1].isdigit():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


# --- addresses -------------------------------------------------------------------------------------------------------
SPELLINGS = [
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "127.1",
    "0177.0.0.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "x.localhost",
    "127.0.0.1.",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_loopback_is_refused_in_every_spelling_before_any_byte(server: HazardServer, host: str) -> None:
    server.at("/image", hazards.answer(BODY))

    with pytest.raises(ForbiddenAddressError, match="allow_private_addresses"):
        read(server.url("/image", host), PUBLIC)

    assert server.connections == 0


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00::1]", "100.64.0.1"])
def test_private_and_metadata_addresses_are_refused_without_connecting(host: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="allow_private_addresses"):
        read(f"http://{host}/latest/meta-data", PUBLIC)


def test_a_name_that_resolves_to_loopback_is_refused_before_any_byte(
    server: HazardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])

    with pytest.raises(ForbiddenAddressError, match=r"resolves to 127\.0\.0\.1, a loopback address"):
        read(server.url("/image", "images.example.org"), PUBLIC)

    assert server.connections == 0


def test_a_name_that_resolves_differently_the_second_time_gains_nothing(
    server: HazardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["93.184.216.34"], ["127.0.0.1"])

    with pytest.raises(ForbiddenAddressError):
        read(server.url("/image", "images.example.org"), PUBLIC)

    assert asked == ["images.example.org"]
    assert server.connections == 0


def test_the_connected_peer_counts_and_not_what_was_resolved(
    server: HazardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["93.184.216.34"])
    elsewhere = ("127.0.0.1", server.port)
    # A network that leads a public address to an inside host.
    monkeypatch.setattr("imagesync.http.connect.create_connection", lambda *_args: socket.create_connection(elsewhere))

    with pytest.raises(ForbiddenAddressError, match="loopback"):
        read(server.url("/image", "images.example.org"), PUBLIC)

    assert server.requests == []


def test_a_refused_address_among_others_is_passed_over(server: HazardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["10.0.0.1", "127.0.0.1"])
    policy = replace(PUBLIC, named_hosts=frozenset({"other.example.org"}))

    with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1"):
        read(server.url("/image", "images.example.org"), policy)

    assert server.connections == 0


def test_the_next_address_is_tried_when_one_does_not_answer(
    server: HazardServer, private: HttpPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    server.at("/image", hazards.answer(BODY))

    assert read(server.url("/image", "images.example.org"), private) == BODY


def test_a_host_that_does_not_answer_is_left_in_time(private: HttpPolicy) -> None:
    # A full queue of connections that nobody accepts: the kernel drops what comes on top.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as queue:
        address = deaf.getsockname()
        for _ in range(3):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)

        with pytest.raises(UnreachableError, match="no connection in time"):
            read(f"http://127.0.0.1:{address[1]}/", replace(private, connect_timeout=0.3))


def test_private_addresses_can_be_allowed(server: HazardServer, private: HttpPolicy) -> None:
    assert read(server.at("/image", hazards.answer(BODY)), private) == BODY


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_that_the_operator_named_may_be_private(server: HazardServer, host: str) -> None:
    server.at("/list", hazards.answer(BODY))

    assert read(server.url("/list", host), replace(PUBLIC, named_hosts=frozenset({host}))) == BODY


def test_a_redirect_from_a_named_host_to_another_private_one_is_refused(
    server: HazardServer, other: HazardServer
) -> None:
    other.at("/admin", hazards.answer(BODY))
    server.at("/list", hazards.redirect(other.url("/admin", "127.0.0.1")))

    with pytest.raises(ForbiddenAddressError):
        read(server.url("/list", "localhost"), replace(PUBLIC, named_hosts=frozenset({"localhost"})))

    assert other.connections == 0


# --- TLS -------------------------------------------------------------------------------------------------------------
def test_a_server_of_the_named_authority_is_accepted(secure: HazardServer, trusting: HttpPolicy) -> None:
    assert read(secure.at("/image", hazards.answer(BODY)), trusting) == BODY


def test_a_server_of_an_unknown_authority_is_refused(secure: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(UnreachableError, match="certificate is not trusted") as caught:
        read(secure.at("/image", hazards.answer(BODY)), private)

    assert "`ca_bundle`" in caught.value.hint
    assert secure.requests == []


def test_a_certificate_for_another_host_is_refused(authority: TlsAuthority, trusting: HttpPolicy) -> None:
    with HazardServer(authority.server("other.example.org")) as server:
        with pytest.raises(UnreachableError, match=r"certificate is not trusted.*mismatch"):
            read(server.at("/image", hazards.answer(BODY)), trusting)

        assert server.requests == []


def test_the_environment_adds_no_authority(
    secure: HazardServer, private: HttpPolicy, authority: TlsAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authority.bundle))

    with pytest.raises(UnreachableError, match="certificate is not trusted"):
        read(secure.at("/image", hazards.answer(BODY)), private)


def test_the_environment_gets_no_session_keys(
    secure: HazardServer, trusting: HttpPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))

    read(secure.at("/image", hazards.answer(BODY)), trusting)

    assert not (tmp_path / "keys").exists()


def test_plain_http_on_a_tls_port_is_said(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(UnreachableError, match="TLS failed"):
        read(server.url("/").replace("http:", "https:"), private)


def test_an_authority_in_a_directory_is_found_by_its_hash(
    secure: HazardServer, private: HttpPolicy, authority: TlsAuthority, tmp_path: Path
) -> None:
    directory = tmp_path / "certificates"
    directory.mkdir()
    (directory / "authority.pem").symlink_to(authority.bundle)
    subprocess.run(["openssl", "rehash", str(directory)], check=True)

    assert read(secure.at("/image", hazards.answer(BODY)), replace(private, ca_bundle=directory)) == BODY


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_an_unusable_ca_bundle_is_a_configuration_error(
    secure: HazardServer, private: HttpPolicy, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)

    with pytest.raises(ConfigError, match=r"bundle\.pem: no usable CA bundle"):
        read(secure.url("/image"), replace(private, ca_bundle=bundle))


def test_no_redirect_leads_from_https_to_http(secure: HazardServer, server: HazardServer, trusting: HttpPolicy) -> None:
    url = secure.at("/image", hazards.redirect(server.at("/image", hazards.answer(BODY))))

    with pytest.raises(ForbiddenAddressError, match="from https"):
        read(url, trusting)

    assert server.connections == 0


def test_a_redirect_may_lead_from_http_to_https(
    secure: HazardServer, server: HazardServer, trusting: HttpPolicy
) -> None:
    url = server.at("/image", hazards.redirect(secure.at("/image", hazards.answer(BODY))))

    assert read(url, trusting) == BODY


def test_a_drip_is_ended_under_tls_too(secure: HazardServer, trusting: HttpPolicy) -> None:
    with pytest.raises(TooSlowError):
        read(secure.at("/image", hazards.drip_headers()), replace(trusting, header_timeout=0.5))


# --- credentials -----------------------------------------------------------------------------------------------------
def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"{token}:x-oauth-basic".encode()).decode()


def with_token(policy: HttpPolicy, url: str) -> HttpPolicy:
    return replace(policy, credential=Credential(origin_of(url), "basic", TOKEN))


def test_a_token_goes_to_its_own_origin(secure: HazardServer, trusting: HttpPolicy) -> None:
    url = secure.at("/list", hazards.answer(BODY))

    read(url, with_token(trusting, url))

    assert secure.requests[0].headers["authorization"] == basic(TOKEN)


def test_a_token_is_kept_on_a_redirect_within_its_origin(secure: HazardServer, trusting: HttpPolicy) -> None:
    secure.at("/b", hazards.answer(BODY))
    url = secure.at("/a", hazards.redirect("/b"))

    read(url, with_token(trusting, url))

    assert [request.headers.get("authorization") for request in secure.requests] == [basic(TOKEN)] * 2


def test_a_token_goes_to_no_other_port(authority: TlsAuthority, secure: HazardServer, trusting: HttpPolicy) -> None:
    with HazardServer(authority.server("127.0.0.1")) as other:
        other.at("/list", hazards.answer(BODY))
        url = secure.at("/list", hazards.redirect(other.url("/list")))

        read(url, with_token(trusting, url))

        assert "authorization" in secure.requests[0].headers
        assert "authorization" not in other.requests[0].headers


def test_a_token_goes_to_no_other_host(secure: HazardServer, trusting: HttpPolicy) -> None:
    secure.at("/list", hazards.answer(BODY))
    url = secure.url("/list", "localhost")

    read(url, with_token(trusting, secure.url("/list", "127.0.0.1")))

    assert "authorization" not in secure.requests[0].headers


def test_a_token_never_goes_over_plain_http(server: HazardServer, trusting: HttpPolicy) -> None:
    url = server.at("/list", hazards.answer(BODY))

    read(url, with_token(trusting, url.replace("http:", "https:")))

    assert "authorization" not in server.requests[0].headers


# --- proxies ---------------------------------------------------------------------------------------------------------
def test_a_configured_proxy_is_asked_and_may_be_private(server: HazardServer) -> None:
    server.at("http://images.example.org/image", hazards.answer(BODY))
    policy = replace(PUBLIC, proxies={"http": server.url("")})

    assert read("http://images.example.org/image", policy) == BODY


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost", "169.254.169.254", "127.0.0.1."])
def test_a_proxy_is_not_asked_for_an_address_that_is_refused(server: HazardServer, host: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        read(f"http://{host}/image", replace(PUBLIC, proxies={"http": server.url("")}))

    assert server.connections == 0


def test_https_goes_through_a_proxy_end_to_end(
    server: HazardServer, trusting: HttpPolicy, authority: TlsAuthority
) -> None:
    with HazardServer(authority.server("images.example.org")) as origin:
        origin.at("/image", hazards.answer(BODY))
        server.at("images.example.org:443", hazards.tunnel(origin.port))
        url = "https://images.example.org/image"
        policy = replace(trusting, allow_private=False, proxies={"https": server.url("")})

        assert read(url, with_token(policy, url)) == BODY
        assert origin.requests[0].headers["authorization"] == basic(TOKEN)
        assert "authorization" not in server.requests[0].headers
        assert server.requests[0].method == "CONNECT"


def test_a_redirect_behind_a_proxy_is_checked_too(server: HazardServer) -> None:
    server.at("http://images.example.org/image", hazards.redirect("http://169.254.169.254/latest"))

    with pytest.raises(ForbiddenAddressError):
        read("http://images.example.org/image", replace(PUBLIC, proxies={"http": server.url("")}))


def test_a_proxy_that_drips_is_left_in_time(server: HazardServer) -> None:
    server.at("images.example.org:443", hazards.drip_headers())

    with pytest.raises(TooSlowError):
        read("https://images.example.org/", replace(PUBLIC, header_timeout=0.4, proxies={"https": server.url("")}))


def test_a_proxy_that_refuses_shows_no_password(server: HazardServer) -> None:
    server.at("images.example.org:443", hazards.status(407))
    proxy = server.url("").replace("//", "//user:s3cret@")

    with pytest.raises(UnreachableError, match="407") as caught:
        read("https://images.example.org/", replace(PUBLIC, proxies={"https": proxy}))

    assert "s3cret" not in str(caught.value)


def test_an_error_of_the_proxy_is_an_http_error(server: HazardServer) -> None:
    server.at("http://images.example.org/image", hazards.status(502))

    with pytest.raises(HttpStatusError):
        read("http://images.example.org/image", replace(PUBLIC, proxies={"http": server.url("")}))


def test_a_socks_proxy_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="only http and https proxies"):
        read("https://images.example.org/", replace(PUBLIC, proxies={"https": "socks5://127.0.0.1:1080"}))


def test_the_systems_store_can_count_beside_a_bundle(
    secure: HazardServer, trusting: HttpPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both are asked: a server is trusted that either of them vouches for."""
    other = tmp_path / "other"
    other.mkdir()
    foreign = TlsAuthority(other, "another authority")
    with HazardServer(foreign.server("127.0.0.1")) as elsewhere:
        urls = [server.at("/", hazards.answer(BODY)) for server in (secure, elsewhere)]
        store = ssl.get_default_verify_paths()._replace(openssl_cafile=str(foreign.bundle), openssl_capath="/missing")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: store)

        assert [read(url, replace(trusting, system_store=True)) for url in urls] == [BODY, BODY]
        with pytest.raises(UnreachableError, match="not trusted"):
            read(urls[1], trusting)
