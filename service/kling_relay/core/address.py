"""Which addresses may be dialled: the public internet, and the networks in RELAY_ALLOWED_NETWORKS.

`ipaddress.is_global` accepts NAT64, 6to4, site-local and more, so the ranges are listed here. An address in a URL is
checked when the URL is given. A name is resolved and checked every time it is dialled.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from urllib.parse import quote, urlsplit

import idna

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host: metadata and DNS at a public address
        "169.254.0.0/16",  # link-local, and most metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
"""Everything that is routed publicly. Mapped, NAT64, unique-local, site-local, link-local and multicast are outside."""
_CLOSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)

MAX_URL = 2048
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN = "".join(map(chr, range(0x21, 0x7F)))
"""Characters of a path or query that are kept; everything that is not ASCII is percent-encoded."""
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - keys, not a bind
"""An address that stands for all of this machine's cannot be dialled; its loopback address can."""


def is_public(ip: Ip) -> bool:
    """Return whether `ip` is on the public internet."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _CLOSED_V4)
    return ip.scope_id is None and ip in _OPEN_V6 and not any(ip in network for network in _CLOSED_V6)


@dataclass(frozen=True, slots=True)
class DialPolicy:
    """The networks that may be dialled although they are not public, and the ports (none listed means all)."""

    networks: tuple[Network, ...] = ()
    ports: tuple[range, ...] = ()

    @classmethod
    def parse(cls, cidrs: str | Iterable[str]) -> "DialPolicy":
        """Return the networks in a list of CIDRs or in a comma-separated text. Raises ValueError with every fault."""
        texts = [text.strip() for text in (cidrs.split(",") if isinstance(cidrs, str) else cidrs)]
        networks, invalid_texts = [], []
        for text in filter(None, texts):
            try:
                networks.append(ip_network(text))
            except ValueError:
                invalid_texts.append(text)
        if invalid_texts:
            raise ValueError(f"not a network like 10.0.0.0/8: {', '.join(invalid_texts)}")
        return cls(tuple(networks))

    def admits(self, ip: Ip) -> bool:
        """Return whether `ip` may be dialled: it is public, or in one of the networks."""
        return is_public(ip) or any(ip in network for network in self.networks)

    def admits_port(self, port: int) -> bool:
        """Return whether `port` may be dialled."""
        return not self.ports or any(port in ports for ports in self.ports)


PUBLIC_ONLY = DialPolicy()
"""Public addresses only, and every port."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that may be stored: `url` is what is dialled, in ASCII; `port` is always set."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


class _AddressError(ValueError):
    """The message is the sentence for the client."""


def check_url(url: str, dial_policy: DialPolicy = PUBLIC_ONLY) -> Address | str:
    """Return the address in `url`, or a sentence that says what is wrong with it."""
    try:
        return _read(url, dial_policy)
    except _AddressError as error:
        return str(error)


def _read(url: str, dial_policy: DialPolicy) -> Address:
    if not url or len(url) > MAX_URL:
        raise _AddressError(f"must be a URL of at most {MAX_URL} characters")
    if any(character <= " " or character in "\\\x7f" for character in url) or not _is_encodable(url):
        raise _AddressError("must not contain spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port, bracketed = parts.port, "[" in parts.netloc
        # urllib's own lower case is not that of Unicode's host names: it makes a final sigma of "Σ"
        name = parts.hostname if bracketed else parts.netloc.rpartition("@")[2].partition(":")[0]
    except ValueError:
        raise _AddressError("is not a URL: its host or port cannot be read") from None
    if parts.scheme not in {"http", "https"}:
        raise _AddressError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _AddressError("must not contain a user name or password")
    if "#" in url:
        raise _AddressError("must not contain a fragment (#…)")
    if not name:
        raise _AddressError("must name a host")
    port = {"http": 80, "https": 443}[parts.scheme] if port is None else port
    if port == 0 or not dial_policy.admits_port(port):
        raise _AddressError(f"must not use port {port}")
    host = _host(name, bracketed, dial_policy)
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc += f":{port}"
    path, query = (quote(part, safe=_PLAIN) for part in (parts.path or "/", parts.query))
    return Address(f"{parts.scheme}://{netloc}{path}" + (f"?{query}" if query else ""), parts.scheme, host, port)


def _host(name: str, bracketed: bool, dial_policy: DialPolicy) -> str:
    """Return a host as it will be dialled, in ASCII and lower case."""
    if "%" in name:
        raise _AddressError("must not contain % in its host")
    if bracketed:
        return _literal(IPv6Address, name, dial_policy)
    try:
        name = ascii_host(name).removesuffix(".")
    except ValueError:
        raise _AddressError(_NO_HOST) from None
    if _ends_in_a_number(name):
        return _literal(IPv4Address, name, dial_policy)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _AddressError(_NO_HOST)
    if labels[-1] == "localhost":
        _literal(IPv4Address, "127.0.0.1", dial_policy)
    return name


def ascii_host(name: str) -> str:
    """Return a host's name in ASCII and lower case (IDNA 2008, UTS #46 non-transitional). Raises ValueError.

    So "faß.de" is xn--fa-hia.de, as in browsers; the older IDNA of Python's codec makes fass.de of it, another owner's
    host. Other characters for digits and dots become those that resolvers read.
    """
    if name.isascii():
        return name.lower()
    mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
    return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split("."))


def ascii_url(url: str) -> str:
    """Return `url` with its host in ASCII, and everything else as it is. Raises ValueError."""
    parts = urlsplit(url)
    if parts.netloc.isascii():
        return url
    user, at, rest = parts.netloc.rpartition("@")
    host, colon, port = rest.partition(":")
    return parts._replace(netloc=f"{user}{at}{ascii_host(host)}{colon}{port}").geturl()


_NO_HOST = "must name a valid host"


def _ends_in_a_number(name: str) -> bool:
    """Return whether resolvers might read `name` as an IPv4 address in one of its notations."""
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def _literal(family: type[Ip], text: str, dial_policy: DialPolicy) -> str:
    try:
        ip = family(text)
    except AddressValueError:
        not_decimal = "must write an IPv4 address as four decimal numbers"
        raise _AddressError(not_decimal if family is IPv4Address else _NO_HOST) from None
    if not dial_policy.admits(ip):
        raise _AddressError("must not point to an address that is not public")
    return str(ip)


def _is_encodable(url: str) -> bool:
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return True


def local_url(host: str, port: int | str) -> str:
    """Return the URL at which this machine reaches what listens on `host`, which may have the brackets of IPv6."""
    host = _LOOPBACK.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host and "[" not in host else f"http://{host}:{port}"
