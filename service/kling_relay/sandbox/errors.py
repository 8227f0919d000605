"""The provider's error codes: one table of Kling's codes with their HTTP status and message.

Every `RefusalError` carries a code of this table.
"""

from typing import Final

import orjson

CODES: Final[dict[int, tuple[int, str]]] = {
    1000: (401, "Authentication failed"),
    1001: (401, "Authorization is empty"),
    1002: (401, "Authorization is invalid"),
    1003: (401, "Authorization is not yet valid"),
    1004: (401, "Authorization has expired"),
    1100: (429, "Account exception"),
    1101: (429, "Account in arrears"),
    1102: (429, "Account balance not enough"),
    1103: (403, "Unauthorized access to the requested resource"),
    1200: (400, "Invalid request parameters"),
    1201: (400, "Invalid parameters"),
    1202: (404, "The requested method is invalid"),
    1203: (404, "The requested resource does not exist"),
    1300: (400, "Trigger strategy of the platform"),
    1301: (400, "Trigger the content security policy of the platform"),
    1302: (429, "API request too frequent, exceeding the platform's rate limit"),
    1303: (429, "Parallel task over resource pack limit"),
    1304: (429, "Trigger the platform's IP whitelisting policy"),
    5000: (500, "Internal server error"),
    5001: (503, "The server is temporarily unavailable, usually under maintenance"),
    5002: (504, "Internal server timeout"),
}
"""Code: HTTP status and default message, in the order of Kling's own list."""


class RefusalError(Exception):
    """The provider refuses a request."""

    def __init__(self, code: int, message: str = "") -> None:
        self.code = code
        self.status, default = CODES[code]
        self.message = message or default
        super().__init__(f"{code}: {self.message}")

    def body(self, request_id: str) -> bytes:
        """Return Kling's error envelope: without `data`, with a `request_id`."""
        return orjson.dumps({"code": self.code, "message": self.message, "request_id": request_id})
