"""The notation of values in settings: `15s`, `32MiB`, lists with commas. A wrong value is refused with a sentence.

The sentence never contains the value, because it may be a secret.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr

from kling_relay.core.address import ascii_url
from kling_relay.settings.postgres_url import read_postgres_url

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)?")
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
_MIN_SIGNING_KEY = 32
OFF = "off"
"""The value of a limit that shall not hold."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Unset:
    """The default of a setting in words, for the documents."""

    means: str


@dataclass(frozen=True, slots=True)
class Ports:
    """A range of TCP ports, including both ends."""

    first: int
    last: int


def read_duration(text: str) -> timedelta:
    """Return the time in a text such as `15s`, `2m`, `1h30m`, `250ms` or `90d`. Raises ValueError."""
    if text == "0":
        return timedelta()
    if not re.fullmatch(f"(?:{_PART.pattern})+", text):
        raise ValueError("should be a time such as 250ms, 15s, 2m, 6h or 90d")
    return sum((timedelta(seconds=float(n) * _SECONDS[unit]) for n, unit in _PART.findall(text)), timedelta())


def write_duration(time: timedelta) -> str:
    """Return a time as text for `read_duration`, in one unit: 60s and 24h rather than 1m and 1d."""
    left = round(time.total_seconds() * 1000)
    for unit, seconds in _SECONDS.items():
        count, rest = divmod(left, round(seconds * 1000))
        if count > 1 and not rest:
            return f"{count}{unit}"
    return f"{left}ms" if left else "0"


def read_size(text: str) -> int:
    """Return the bytes in a text such as `32MiB`, `64KiB` or `512`. Raises ValueError."""
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError("should be a size such as 512B, 64KiB or 32MiB")
    return int(match[1]) * _BYTES[match[2] or "B"]


def write_size(size: int) -> str:
    """Return a size as text for `read_size`."""
    unit = next((unit for unit, factor in _BYTES.items() if size % factor == 0 and size), "B")
    return f"{size // _BYTES[unit]}{unit}"


def read_ports(text: str) -> Ports:
    """Return the ports in a text such as `443` or `1024-65535`. Raises ValueError."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and 0 < int(first) <= int(last or first) < 65536):
        raise ValueError("should be ports such as 443 or 1024-65535")
    return Ports(int(first), int(last or first))


def write_ports(ports: Ports) -> str:
    """Return ports as text for `read_ports`."""
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def read_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network in a CIDR such as `10.0.0.0/8`. Raises ValueError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("should be networks such as 10.1.0.0/16 or fd00::/8, without host bits") from None


def _from_text(read: Callable[[str], Value]) -> BeforeValidator:
    return BeforeValidator(lambda value: read(value.strip()) if isinstance(value, str) else value)


def _from_list(read: Callable[[str], Value]) -> BeforeValidator:
    def read_list(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(read(word.strip()) for word in value.split(",") if word.strip())

    return BeforeValidator(read_list)


def _listed(write: Callable[[Any], str]) -> PlainSerializer:
    def write_list(values: Iterable[Any]) -> str:
        return ",".join(write(value) for value in values)

    return PlainSerializer(write_list, return_type=str)


def _positive(time: timedelta) -> timedelta:
    if not time:
        raise ValueError("should be longer than 0")
    return time


def _address(text: str) -> str:
    """Return an http(s) URL with a host in ASCII, without user, query and trailing slash, so that paths can follow."""
    try:
        text = ascii_url(text)
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        is_valid = is_valid and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("should be an address such as https://relay.example.com, without user, query or fragment")
    return text.rstrip("/")


def _postgres(secret: SecretStr) -> SecretStr:
    return SecretStr(read_postgres_url(secret.get_secret_value()))


def _signing_key(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _MIN_SIGNING_KEY:
        raise ValueError("should be keys of at least 32 characters each; `openssl rand -base64 32` makes one")
    return secret


def _webhook_secret(secret: SecretStr) -> SecretStr:
    prefix, _, key = secret.get_secret_value().partition("_")
    try:
        is_valid = prefix == "whsec" and bool(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError("should be whsec_ followed by Base64")
    return secret


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,512}", secret.get_secret_value()):
        raise ValueError("should be 16 to 512 printable characters without spaces")
    return secret


def _proxy(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if text != "env":
        try:
            parts = urlsplit(text)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError("should be an HTTP proxy such as http://user:password@proxy.example:3128, or env")
    return SecretStr(text)


def _printable(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("should be printable characters without spaces")
    return secret


_AS_TIME = PlainSerializer(write_duration, return_type=str)
Duration = Annotated[timedelta, _from_text(read_duration), AfterValidator(_positive), _AS_TIME]
DurationOrNone = Annotated[timedelta, _from_text(read_duration), _AS_TIME]
Durations = Annotated[tuple[timedelta, ...], _from_list(read_duration), _listed(write_duration)]
Size = Annotated[int, _from_text(read_size), Field(gt=0), PlainSerializer(write_size, return_type=str)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
CountOrOff = Annotated[
    Annotated[int, Field(gt=0, le=1_000_000)] | None,
    _from_text(lambda text: None if text == OFF else text),
    PlainSerializer(lambda count: OFF if count is None else str(count), return_type=str),
]
Port = Annotated[int, Field(ge=0, le=65_535)]
Words = Annotated[tuple[str, ...], _from_list(str), _listed(str)]
PortRanges = Annotated[tuple[Ports, ...], _from_list(read_ports), _listed(write_ports)]
Networks = Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], _from_list(read_network), _listed(str)]
Address = Annotated[str, AfterValidator(_address)]
Postgres = Annotated[SecretStr, AfterValidator(_postgres)]
SigningKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_signing_key)], ...], _from_list(SecretStr), Field(min_length=1)
]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
ProxyAddress = Annotated[SecretStr, AfterValidator(_proxy)]
Token = Annotated[SecretStr, AfterValidator(_token)]
ProviderKey = Annotated[SecretStr, AfterValidator(_printable)]
