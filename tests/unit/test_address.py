"""Addresses: every spelling of a private address is refused, unless its network is allowed."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_relay.core.address import PUBLIC_ONLY, Address, DialPolicy, ascii_url, check_url, is_public, local_url

INNER = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2620:4f:8000::1", "3ffe::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::a9fe:a9fe", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "99.255.255.255", "172.32.0.1", "193.0.0.1", "2606:4700:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("text", INNER)
def test_a_private_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not PUBLIC_ONLY.admits(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_an_address_with_a_zone_is_not_public() -> None:
    assert not is_public(IPv6Address("2606:4700::1%eth0"))


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_the_check_is_never_laxer_than_the_standard_library(ip: IPv4Address | IPv6Address) -> None:
    if is_public(ip):
        assert ip.is_global
        assert not ip.is_multicast


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_hides_inside_an_ipv6_one(number: int) -> None:
    for disguise in (number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert not is_public(IPv6Address(disguise))


HIDDEN = [
    "http://127.0.0.1/", "http://127.0.0.1./", "http://127.1/", "http://127.0.1/", "http://2130706433/",
    "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0X7F.1/", "http://0177.0.0.1/", "http://017700000001/",
    "http://00000000177.1/", "http://127.0.0.01/", "http://127.0.0.0x1/", "http://127.0.0.1%2f/", "http://127%2e0.0.1/",
    "http://%31%32%37.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127.0.0.1/", "http://１２７.1/",
    "http://0/", "http://0x/", "http://0.0.0.0/", "http://256.256.256.256/", "http://4294967296/", "http://1.2.3.4.5/",
    "http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://ⓛocalhost/", "http://loc\u00adalhost/",
    "http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/", "http://[fec0::1]/", "http://[fd00:ec2::254]/", "http://[::1", "http://::1/",
    "http://[v1.7f]/", "http://[127.0.0.1]/", "http://[::1]x/", "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/", "http://0xa9fea9fe/", "http://169.254.43518/", "http://100.100.100.200/", "http://10.1/",
    "http://user@127.0.0.1/", "http://example.com@127.0.0.1/", "http://127.0.0.1#@example.com/",
    "http://example.com\\@127.0.0.1/", "http://exam\tple.com/", " http://example.com/", "http://example.com/ x",
    "http://example.com/\r\nHost: inner", "http://example.com\x00/", "http://a:b@example.com/", "http://@example.com/",
    "http://example.com/#f", "http://example.com/#", "http://", "http:///x", "http:/127.0.0.1/", "http:127.0.0.1",
    "//127.0.0.1/", "127.0.0.1", "", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "unix:/run/x",
    "javascript:alert(1)", "http+unix://%2Frun%2Fx/", "http://example.com:0/", "http://example.com:99999/",
    "http://example.com:x/", "http://example.com:-1/", "http://exa..mple.com/", "http://.example.com/", "http://./",
    "http://-a.example/", "http://a b.example/", "http://" + "a" * 64 + ".example/", "http://" + "a." * 127 + "com/",
    "http://example.com/" + "a" * 2048, "http://ex<ample.com/", "http://example.com/\ud800", "http://exämple\ud800/",
    "http://example.1/", "http://example.0x7f/",
]  # fmt: skip


@pytest.mark.parametrize("url", HIDDEN)
def test_every_disguise_is_refused_with_a_sentence(url: str) -> None:
    fault = check_url(url)
    assert isinstance(fault, str), fault
    assert fault.startswith(("must", "is not"))


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://Example.com", Address("https://example.com/", "https", "example.com", 443)),
        ("http://example.com.:8080/a?b=%20", Address("http://example.com:8080/a?b=%20", "http", "example.com", 8080)),
        ("http://8.8.8.8/x", Address("http://8.8.8.8/x", "http", "8.8.8.8", 80)),
        ("http://[2606:4700:0::1]:81/", Address("http://[2606:4700::1]:81/", "http", "2606:4700::1", 81)),
        ("https://ö.example/ü", Address("https://xn--nda.example/%C3%BC", "https", "xn--nda.example", 443)),
        ("https://a_b.example/{x}?y=[1]", Address("https://a_b.example/{x}?y=[1]", "https", "a_b.example", 443)),
        ("http://inner-name/", Address("http://inner-name/", "http", "inner-name", 80)),
    ],
)  # fmt: skip
def test_a_valid_url_is_stored_in_one_spelling(url: str, stored: Address) -> None:
    assert check_url(url) == stored
    assert check_url(stored.url) == stored


def test_only_allowed_ports_are_accepted() -> None:
    few = DialPolicy(ports=(range(80, 81), range(443, 444)))
    assert isinstance(check_url("https://example.com/", few), Address)
    assert check_url("https://example.com:22/", few) == "must not use port 22"
    assert isinstance(check_url("https://example.com:22/"), Address)


def test_only_an_allowed_network_admits_private_addresses() -> None:
    loopback = DialPolicy.parse("127.0.0.0/8, ::1/128")
    for url in ("http://127.0.0.1:8080/", "http://[::1]/", "http://localhost:1/"):
        assert isinstance(check_url(url, dial_policy=loopback), Address)
    for url in ("http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://0x7f.1/", "http://169.254.169.254/"):
        assert isinstance(check_url(url, dial_policy=loopback), str)


def test_all_wrong_networks_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"like 10.0.0.0/8: ten, 10.0.0.1/8$"):
        DialPolicy.parse("ten,::1,10.0.0.1/8,")
    assert DialPolicy.parse("") == PUBLIC_ONLY


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=60))
def test_no_text_raises_and_a_stored_url_is_stored_unchanged(tail: str) -> None:
    for url in (tail, "http://" + tail, "https://example.com/" + tail):
        stored = check_url(url)
        if isinstance(stored, Address):
            assert check_url(stored.url) == stored
            assert stored.url.isascii()


@pytest.mark.parametrize(
    ("host", "ascii_name"),
    [
        ("faß.de", "xn--fa-hia.de"),
        ("FAß.DE", "xn--fa-hia.de"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ．com", "example.com"),
        ("a_b.faß.de", "a_b.xn--fa-hia.de"),
        ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
    ],
)
def test_a_host_is_read_by_idna_2008_as_browsers_do(host: str, ascii_name: str) -> None:
    address = check_url(f"https://{host}:8443/h")
    assert isinstance(address, Address), address
    assert (address.host, address.url) == (ascii_name, f"https://{ascii_name}:8443/h")
    assert ascii_url(f"https://{host}:8443/h?a=b") == f"https://{ascii_name}:8443/h?a=b" or host.isascii()


@pytest.mark.parametrize("host", ["a\u200db.example", "\u0301a.example", "ab--ö.example", "ö" * 64 + ".example"])
def test_a_host_that_idna_2008_forbids_is_refused(host: str) -> None:
    assert check_url(f"https://{host}/") == "must name a valid host"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("fd00::7", "http://[fd00::7]:8080"),
        ("[fd00::7]", "http://[fd00::7]:8080"),
    ],
)
def test_every_address_has_a_url_that_can_be_dialled(host: str, url: str) -> None:
    assert local_url(host, 8080) == url
