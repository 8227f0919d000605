"""What a request goes to: a URL, split once."""

from functools import lru_cache
from typing import NamedTuple

from yarl import URL


class InvalidRequestError(ValueError):
    """The URL is not http or https, has no host, names a user or holds characters that no URL has; or a header holds
    a line break.
    """


class Target(NamedTuple):
    """A URL, split into what to connect to and how a request begins."""

    host: str
    port: int
    is_tls: bool
    authority: str
    rest: str
    """What follows the method: the rest of the request line, and the Host header."""

    def at(self, path: str) -> "Target":
        """Return the same origin with another path, which is not quoted again."""
        return self._replace(rest=_rest(path, self.authority))


@lru_cache(maxsize=8192)
def read_target(url: str) -> Target:
    """Return `url` split, without quoting it again. Raises InvalidRequestError."""
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise InvalidRequestError
    try:
        parts = URL(url, encoded=True)
        host, port, scheme = parts.raw_host, parts.port, parts.scheme
    except ValueError:
        raise InvalidRequestError from None
    if scheme not in {"http", "https"} or not host or port is None or parts.raw_user or parts.raw_password:
        raise InvalidRequestError
    name = f"[{host}]" if ":" in host else host
    authority = name if port == (443 if scheme == "https" else 80) else f"{name}:{port}"
    return Target(host, port, scheme == "https", authority, _rest(parts.raw_path_qs or "/", authority))


def _rest(path: str, authority: str) -> str:
    return f"{path} HTTP/1.1\r\nHost: {authority}\r\n"
