"""Cross-origin access: pages of any origin may call the API, because the key is in a header and never in a cookie."""

from collections.abc import Iterable

from kling_relay.web.http.response import Response

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, Relay-Unknown-Fields",
}
"""Headers that let a page of another origin read a response."""
_REQUEST_HEADERS = (
    "Authorization, X-API-KEY, Content-Type, x-ptoken, x-vtoken, x-ctoken, Mj-Version, Idempotency-Key, Last-Event-ID, "
    "traceparent"
)
_ONE_DAY = "86400"


def preflight_response(methods: Iterable[str]) -> Response:
    """Return the response to a browser's OPTIONS."""
    allowed_methods = ", ".join([*sorted(methods), "OPTIONS"])
    return Response(
        status=204,
        headers={
            **CORS_HEADERS,
            "Access-Control-Allow-Methods": allowed_methods,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": _ONE_DAY,
            "Allow": allowed_methods,
        },
    )
