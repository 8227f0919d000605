"""Dialects are the differences between providers, as data: paths, the hook's field names, ids and authentication.

The gateway documents only `notify_hook`; Kling itself documents `callback_url` and `external_task_id`. Some relays drop
one name and forward another, so several names can be sent at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import jwt

OWN_FIELDS = frozenset({"notify_hook", "notifyHook", "callback_url", "external_task_id"})
"""Members of an order that we set. The client's own values are stored with the task and not forwarded."""

TOKEN_LIFE = timedelta(seconds=1800)
TOKEN_BACKDATING = timedelta(seconds=5)
"""How far in the past `nbf` is, because clocks differ."""
_RENEW_BEFORE = timedelta(seconds=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider's variant of the API."""

    name: str
    prefix: str
    """The path before `/v1/`."""
    hook_fields: tuple[str, ...]
    """The members that carry our callback URL. All of them are sent."""
    sends_external_id: bool
    """Whether our task id is sent as `external_task_id`."""
    knows_external_id: bool
    """Whether "no such task" can be trusted in a response to a poll by `external_task_id`."""
    has_account: bool
    """Whether GET /account/costs exists."""
    takes_access_keys: bool
    """Whether a key `ACCESS:SECRET` signs tokens (HS256) instead of being sent itself."""

    def with_hook_fields(self, extra: Iterable[str]) -> "Dialect":
        """Return this dialect with more names for the callback URL."""
        return replace(self, hook_fields=tuple(dict.fromkeys((*self.hook_fields, *extra))))


GATEWAY = Dialect(
    name="gateway",
    prefix="/kling",
    hook_fields=("notify_hook",),
    sends_external_id=True,
    knows_external_id=False,
    has_account=False,
    takes_access_keys=False,
)
KLING = Dialect(
    name="kling",
    prefix="",
    hook_fields=("callback_url",),
    sends_external_id=True,
    knows_external_id=True,
    has_account=True,
    takes_access_keys=True,
)
DIALECTS = {dialect.name: dialect for dialect in (GATEWAY, KLING)}


@dataclass(slots=True)
class ApiKey:
    """A key that is sent as it is."""

    key: str = field(repr=False)

    def authorization(self, now: datetime) -> str:  # noqa: ARG002 - the interface of `AccessKeys`
        """Return the header `Authorization`."""
        return f"Bearer {self.key}"


@dataclass(slots=True)
class AccessKeys:
    """An access key and its secret. They sign tokens for half an hour, renewed five minutes before the end."""

    access: str
    secret: str = field(repr=False)
    _header: str = field(default="", init=False, repr=False)
    _renew_at: datetime | None = field(default=None, init=False, repr=False)

    def authorization(self, now: datetime) -> str:
        """Return the header `Authorization`, valid for at least five minutes from `now`."""
        if self._renew_at is None or not self._renew_at - TOKEN_LIFE <= now < self._renew_at:
            claims = {
                "iss": self.access,
                "exp": int((now + TOKEN_LIFE).timestamp()),
                "nbf": int((now - TOKEN_BACKDATING).timestamp()),
            }
            self._header = "Bearer " + jwt.encode(claims, self.secret, algorithm="HS256")
            self._renew_at = now + TOKEN_LIFE - _RENEW_BEFORE
        return self._header


Credential = ApiKey | AccessKeys


def credential(dialect: Dialect, key: str) -> Credential:
    """Return the credential that `key` is in this dialect."""
    access, colon, secret = key.partition(":")
    if dialect.takes_access_keys and access and colon and secret:
        return AccessKeys(access, secret)
    return ApiKey(key)
