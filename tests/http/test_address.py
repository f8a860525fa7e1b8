from ipaddress import ip_address

import pytest

from imagesync.http.address import literal, refusal


@pytest.mark.parametrize("address", ["8.8.8.8", "193.167.189.1", "2a00:1450:4001::1", "2606:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    assert refusal(ip_address(address)) == ""


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "private"),
        ("::", "IPv4-compatible"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.7.7", "private"),
        ("fd00:ec2::254", "private"),
        ("100.64.0.1", "not public"),
        ("100.100.100.200", "not public"),
        ("169.254.169.254", "link-local or metadata"),
        ("fe80::1", "link-local"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.8", "protocol assignment"),
        ("192.0.0.192", "protocol assignment"),
        ("192.0.2.1", "private"),
        ("198.18.0.1", "private"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("fec0::1", "site-local"),
        ("::ffff:127.0.0.1", "IPv4-mapped"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:0:127.0.0.1", "translation prefix"),
        ("::ffff:0:a9fe:a9fe", "translation prefix"),
        ("64:ff9b::7f00:1", "translation prefix"),
        ("64:ff9b:1::a00:1", "translation prefix"),
        ("2001:0:1::1", "Teredo tunnel"),
        ("2002:7f00:1::", "6to4 tunnel"),
        ("192.88.99.1", "6to4 relay"),
        ("2001:db8::1", "private"),
    ],
)
def test_an_address_that_is_not_public_is_refused_by_kind(address: str, kind: str) -> None:
    assert refusal(ip_address(address)) == kind


@pytest.mark.parametrize(
    "spelling",
    ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001", "127.0.1"],
)
def test_every_spelling_of_an_address_is_read_as_that_address(spelling: str) -> None:
    address = literal(spelling)

    assert address is not None
    assert refusal(address) == "loopback"


@pytest.mark.parametrize("spelling", ["[::1]", "::1", "[fe80::1%eth0]", "0"])
def test_brackets_scopes_and_zero_are_read(spelling: str) -> None:
    assert literal(spelling) is not None


@pytest.mark.parametrize("host", ["example.org", "localhost", "127.0.0.1.example.org", "1.2.3.4.5", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None
