"""Files for browsers: the console, the viewer of the documents, and /openapi.json; read once, from memory after that.

Only what was found under `console/` at the start is served, by its exact name, so no path can lead anywhere else.
Nothing runs on these pages but scripts from here (Content-Security-Policy); what is cached is asked about each time,
by a tag made of the content, so that no page mixes two releases.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from kling_relay.web.http.cors import shared
from kling_relay.web.http.response import Response
from kling_relay.web.spec.openapi import document

ROOT = Path(__file__).parent / "console"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_TEXT = frozenset({"text/javascript", "text/css", "text/html", "text/plain", "text/markdown", "image/svg+xml"})
_MIN_COMPRESSED = 600
_FONTS_KEPT = "public, max-age=604800"
_ASK_EACH_TIME = "no-cache"
_TEXT_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
_HEADERS = {
    # results are shown from wherever the provider keeps them, and the settings may name a service elsewhere
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
        "img-src 'self' data: blob: http: https:; media-src 'self' blob: http: https:; "
        "connect-src 'self' http: https:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as it is sent; `zipped` where that is worth it, `tag` names the content."""

    content: bytes
    zipped: bytes | None
    media: str
    tag: str
    kept: str


@dataclass(frozen=True, slots=True)
class Files:
    """All of /console, /docs and /openapi.json, in memory."""

    console: Mapping[str, File]
    description: File

    @classmethod
    def read(cls) -> "Files":
        """Read them."""
        return cls(dict(read(ROOT)), _file(orjson.dumps(document()), "application/json", "openapi.json"))

    def answer(self, request: web.BaseRequest, segments: Sequence[str]) -> Response | None:
        """Return the answer to a request for a file, or None where a path or method is not of these."""
        if request.method not in {"GET", "HEAD"} or not segments:
            return None
        match segments[0]:
            case "console":
                return _answer(request, self.console.get("/".join(segments[1:]) or "index.html"))
            case "docs" if len(segments) == 1:
                return _answer(request, self.console["docs/index.html"])
            case "openapi.json" if len(segments) == 1:
                return _answer(request, self.description, shared())
        return None


def read(root: Path) -> Iterator[tuple[str, File]]:
    """Give every file under `root` with its name from there, slashes as in a URL."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = path.relative_to(root).as_posix()
            media = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
            yield name, _file(path.read_bytes(), media, name)


def _file(content: bytes, media: str, name: str) -> File:
    is_text = media in _TEXT or media == "application/json"
    zipped = gzip.compress(content, 9, mtime=0) if is_text and len(content) >= _MIN_COMPRESSED else None
    return File(
        content=content,
        zipped=zipped,
        media=f"{media}; charset=utf-8" if is_text else media,
        tag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        kept=_FONTS_KEPT if name.endswith(".woff2") else _ASK_EACH_TIME,
    )


def _answer(request: web.BaseRequest, file: File | None, more: Mapping[str, str] | None = None) -> Response:
    if file is None:
        return Response(status=404, body=b"There is no such file.\n", headers={**_HEADERS, **_TEXT_PLAIN})
    headers = {**_HEADERS, **(more or {}), "ETag": file.tag, "Cache-Control": file.kept, "Vary": "Accept-Encoding"}
    if file.tag in request.headers.get("If-None-Match", ""):
        return Response(status=304, headers=headers)
    headers["Content-Type"] = file.media
    if file.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        return Response(body=file.zipped, headers={**headers, "Content-Encoding": "gzip"})
    return Response(body=file.content, headers=headers)
