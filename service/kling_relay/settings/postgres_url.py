"""The address of PostgreSQL: reads what hosters hand out, and refuses by name what it does not know.

The driver would send a parameter that it does not know to the server, which then refuses every connection. No sentence
contains a piece of a password, even if special characters in it were not escaped.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from kling_relay.core.suggestion import did_you_mean

_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
_FORM = "should be an address such as postgresql://user:password@host:5432/name"
_UNESCAPED = (
    f"{_FORM}, with the special characters of the password escaped: %40 for @, %3A for :, %2F for /, %3F for ?, "
    "%23 for #, %25 for %"
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.~%-]*)(?::(\d{1,5}))?")

_DRIVER = frozenset(
    [
        "host",
        "port",
        "dbname",
        "database",
        "user",
        "password",
        "passfile",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
        "gsslib",
        "service",
    ]
)
"""Parameters that the driver takes."""
_SERVER = frozenset(
    [
        "options",
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
        "role",
        "timezone",
    ]
)
"""Settings of the server that may stand in the address."""
_WITHOUT_EFFECT = frozenset(
    [
        "channel_binding",
        "connect_timeout",
        "application_name",
        "fallback_application_name",
        "client_encoding",
        "gssencmode",
        "gssdelegation",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "requiressl",
        "sslcompression",
        "sslsni",
        "load_balance_hosts",
        "uselibpqcompat",
        "pgbouncer",
        "supa",
        "reserved",
    ]
)
"""Parameters of libpq and of other drivers that are accepted and left out. `pgbouncer` becomes another setting."""
_FILES = frozenset(["sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"])
_INSTEAD: Mapping[str, str] = {
    "connection_limit": "RELAY_POOL_SIZE limits the connections",
    "max_connections": "RELAY_POOL_SIZE limits the connections",
    "pool_size": "RELAY_POOL_SIZE limits the connections",
    "pool_max_conns": "RELAY_POOL_SIZE limits the connections",
    "pool_timeout": "RELAY_RECORD_TIMEOUT limits the wait",
    "socket_timeout": "RELAY_RECORD_TIMEOUT limits the wait",
    "statement_cache_size": "RELAY_DATABASE_POOLER=true turns named statements off",
    "prepared_statement_cache_size": "RELAY_DATABASE_POOLER=true turns named statements off",
    "prepared_statements": "RELAY_DATABASE_POOLER=true turns named statements off",
    "prepareThreshold": "RELAY_DATABASE_POOLER=true turns named statements off",
    "server_side_cursors": "this service uses none",
    "sslaccept": "write sslmode=verify-full to check the certificate, or sslmode=require",
    "schema": "set it for the role (ALTER ROLE … SET search_path = …), or write search_path=…",
    "currentSchema": "set it for the role (ALTER ROLE … SET search_path = …), or write search_path=…",
}
"""Parameters of other drivers, and what to use for them."""
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_MODE_OF: Mapping[str, str] = {
    "no-verify": "require",
    "true": "require",
    "1": "require",
    "false": "disable",
    "0": "disable",
}
"""Spellings of other drivers. Like libpq, `require` encrypts without a check of the certificate."""


def read_postgres_url(text: str) -> str:
    """Return the address for the driver, with every parameter that it would not understand left out.

    Raises ValueError with the reason, which has no piece of the password.
    """
    scheme, separator, rest = text.strip().partition("://")
    if scheme.lower() not in _SCHEMES or not separator or not rest:
        raise ValueError(_FORM)
    match = re.fullmatch(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?", rest)
    if match is None or re.search(r"\s", rest) or "@" in rest[match.end(1) :]:
        raise ValueError(_UNESCAPED)
    authority, path, query = match[1], match[2], match[3] or ""
    login, at, hosts = authority.rpartition("@")
    for host in hosts.split(","):
        endpoint = _HOST.fullmatch(host)
        if endpoint is None or (endpoint[1] and not 0 < int(endpoint[1]) < 65536):
            raise ValueError(_UNESCAPED)
    user, colon, password = login.partition(":")
    parameters = "&".join(_parameters(query))
    address = f"postgresql://{_escape(user)}{colon}{_escape(password)}{at}{hosts}{path}"
    return f"{address}?{parameters}" if parameters else address


def is_behind_pgbouncer(text: str) -> bool:
    """Return whether the address says that there is a PgBouncer in between, as Prisma's does (`pgbouncer=true`)."""
    return re.search(r"[?&]pgbouncer=(true|1)(&|$)", text.strip()) is not None


def server_place(url: str) -> str:
    """Return the host and port of an address, or the directory of its socket, for a sentence."""
    authority, _, query = url.partition("://")[2].partition("?")
    hosts = authority.partition("/")[0].rpartition("@")[2]
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == "host" and not hosts:
            hosts = value
    named = [unquote(host) for host in hosts.split(",") if host]
    return ", ".join(host if host.startswith("/") or re.search(r":\d+$", host) else f"{host}:5432" for host in named)


def _escape(text: str) -> str:
    return quote(unquote(text), safe="")


def _parameters(query: str) -> list[str]:
    """Return the parameters for the driver."""
    kept = []
    for parameter in filter(None, query.split("&")):
        name, equals, value = parameter.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", name):
            raise ValueError("has a part after its ? that is not NAME=VALUE")
        if value and name not in _WITHOUT_EFFECT and not (name == "schema" and value == "public"):
            kept.append(_parameter(name, value))
    return kept


def _parameter(name: str, value: str) -> str:
    """Return a parameter as the driver reads it. Raises ValueError if it has no meaning here."""
    if name in {"sslmode", "ssl"}:
        mode = _SSL_MODE_OF.get(value, value)
        if mode not in _SSL_MODES:
            raise ValueError(f"should have {', '.join(_SSL_MODES)} or no-verify as its {name}")
        return f"sslmode={mode}"
    if name in _FILES:
        return f"{name}={_file(name, value)}"
    if name in _DRIVER or name.lower() in _SERVER:
        return f"{name}={value}"
    if name in _INSTEAD:
        raise ValueError(f"has the parameter {name}, which is not for this service: {_INSTEAD[name]}")
    known = _DRIVER | _SERVER | _WITHOUT_EFFECT
    raise ValueError(f"has the parameter {name}, which is not known here{did_you_mean(name, known)}".rstrip("."))


def _file(name: str, value: str) -> str:
    if name == "sslrootcert" and value == "system":
        paths = ssl.get_default_verify_paths()
        value = quote(paths.cafile or paths.openssl_cafile, safe="/")
    path = Path(unquote(value))
    if not path.is_file():
        raise ValueError(f"names a file that does not exist: {name}={path}")
    return value
