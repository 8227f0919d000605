"""Limits of the rate at which a key may call one process: token buckets, and the headers that describe them.

The headers are those of draft-ietf-httpapi-ratelimit-headers. Buckets are kept for the keys that called last.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from kling_relay.core.errors import RateLimited

MAX_BUCKETS = 10_000
POLICY, STATE = "RateLimit-Policy", "RateLimit"


@dataclass(slots=True)
class _Bucket:
    """The requests that a key may still make, as of `at`."""

    tokens: float
    at: float


class RateLimit:
    """Counts the requests of each key: `rate` a second, and `burst` at once; `name` is that of the policy."""

    def __init__(self, name: str, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._quoted = f'"{name}";r='
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[UUID, _Bucket] = OrderedDict()
        self._policy = f'"{name}";q={burst};w={max(1, round(burst / rate))}'

    def count(self, key: UUID) -> None:
        """Count one request of a key. Raises RateLimited."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            tokens = bucket.tokens + (now - bucket.at) * self._rate
            bucket.tokens = min(self._burst, tokens)
            bucket.at = now
        if bucket.tokens < 1:
            raise RateLimited(retry_after=(1 - bucket.tokens) / self._rate)
        bucket.tokens -= 1

    def headers(self, key: UUID) -> dict[str, str]:
        """Return the policy, and what of it is left to a key."""
        bucket = self._buckets.get(key)
        tokens = self._burst if bucket is None else bucket.tokens
        seconds_to_full = (self._burst - tokens) / self._rate
        return {POLICY: self._policy, STATE: f"{self._quoted}{int(tokens)};t={int(seconds_to_full + 0.5)}"}


class RateLimits:
    """The limit of all requests, and a lower one of reports, which count in both."""

    def __init__(self, requests: RateLimit | None, reports: RateLimit | None) -> None:
        """None means no limit."""
        self._requests = requests
        self._reports = reports

    def count(self, key: UUID, *, is_report: bool) -> dict[str, str]:
        """Count one request of a key, and return the headers of its limits. Raises RateLimited."""
        if self._requests is not None:
            self._requests.count(key)
        if is_report and self._reports is not None:
            self._reports.count(key)
        return self.headers(key, is_report=is_report)

    def headers(self, key: UUID, *, is_report: bool) -> dict[str, str]:
        """Return the headers of a key's limits."""
        requests = {} if self._requests is None else self._requests.headers(key)
        if not is_report or self._reports is None:
            return requests
        reports = self._reports.headers(key)
        return {name: f"{requests[name]}, {reports[name]}" for name in reports} if requests else reports
