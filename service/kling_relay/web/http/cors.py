"""Pages of any origin may call Kling's paths and ours: the key is in a header of theirs, never in a cookie."""

from collections.abc import Iterable

from kling_relay.web.http.response import Response

_ALLOWED = (
    "Authorization, Content-Type, x-ptoken, x-vtoken, x-ctoken, Mj-Version, Idempotency-Key, Last-Event-ID, traceparent"
)
_EXPOSED = "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_A_DAY = "86400"


def shared() -> dict[str, str]:
    """Return the headers by which a page of another origin may read an answer."""
    return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED}


def preflight(methods: Iterable[str]) -> Response:
    """Return the answer to a browser's OPTIONS."""
    return Response(
        status=204,
        headers={
            **shared(),
            "Access-Control-Allow-Methods": ", ".join([*sorted(methods), "OPTIONS"]),
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": _A_DAY,
            "Allow": ", ".join([*sorted(methods), "OPTIONS"]),
        },
    )
