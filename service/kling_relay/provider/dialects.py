"""How a provider is spoken to, as data: paths, the names of the hook's field, what it knows of our ids, how we log in.

The seed's gateway documents `notify_hook` alone; Kling itself `callback_url` and `external_task_id`. Relays between
drop one name and pass another on, so more names can be sent at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import jwt

OWN_FIELDS = frozenset({"notify_hook", "notifyHook", "callback_url", "external_task_id"})
"""Members of an order that are ours to set: the client's are kept on the task and never sent on."""

TOKEN_LIFE = timedelta(seconds=1800)
TOKEN_EARLY = timedelta(seconds=5)
"""How far `nbf` lies in the past, for clocks that differ."""
_RENEW_BEFORE = timedelta(seconds=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak to a provider."""

    name: str
    prefix: str
    """What stands before `/v1/`."""
    hook_fields: tuple[str, ...]
    """The members that carry our hook's address; all are sent."""
    sends_external_id: bool
    """Whether our task id is sent as `external_task_id`."""
    knows_external_id: bool
    """Whether "no such task" to a query by `external_task_id` can be believed."""
    tells_costs: bool
    """Whether there is a GET /account/costs."""
    takes_access_keys: bool
    """Whether a key `ACCESS:SECRET` means signed tokens (HS256) instead of the key itself."""

    def with_hook_fields(self, extra: Iterable[str]) -> "Dialect":
        """Return the same dialect that sends the hook under these names too."""
        return replace(self, hook_fields=tuple(dict.fromkeys((*self.hook_fields, *extra))))


GATEWAY = Dialect(
    name="gateway",
    prefix="/kling",
    hook_fields=("notify_hook",),
    sends_external_id=True,
    knows_external_id=False,
    tells_costs=False,
    takes_access_keys=False,
)
KLING = Dialect(
    name="kling",
    prefix="",
    hook_fields=("callback_url",),
    sends_external_id=True,
    knows_external_id=True,
    tells_costs=True,
    takes_access_keys=True,
)
DIALECTS = {dialect.name: dialect for dialect in (GATEWAY, KLING)}


@dataclass(slots=True)
class ApiKey:
    """A key that is sent as it is."""

    key: str = field(repr=False)

    def authorization(self, now: datetime) -> str:  # noqa: ARG002 - a key does not age; its sibling does
        """Return the header `Authorization`."""
        return f"Bearer {self.key}"


@dataclass(slots=True)
class AccessKeys:
    """An access key and its secret, of which tokens of half an hour are made; renewed five minutes before the end."""

    access: str
    secret: str = field(repr=False)
    _header: str = field(default="", init=False, repr=False)
    _renew_at: datetime | None = field(default=None, init=False, repr=False)

    def authorization(self, now: datetime) -> str:
        """Return the header `Authorization`, good for at least five minutes from `now`."""
        if self._renew_at is None or not self._renew_at - TOKEN_LIFE <= now < self._renew_at:
            claims = {
                "iss": self.access,
                "exp": int((now + TOKEN_LIFE).timestamp()),
                "nbf": int((now - TOKEN_EARLY).timestamp()),
            }
            self._header = "Bearer " + jwt.encode(claims, self.secret, algorithm="HS256")
            self._renew_at = now + TOKEN_LIFE - _RENEW_BEFORE
        return self._header


Credential = ApiKey | AccessKeys


def credential(dialect: Dialect, key: str) -> Credential:
    """Return what `key` is in this dialect."""
    access, colon, secret = key.partition(":")
    if dialect.takes_access_keys and access and colon and secret:
        return AccessKeys(access, secret)
    return ApiKey(key)
