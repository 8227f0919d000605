"""Static files: the console, the API reference and the API's documents, read once at the start, served from memory.

A file is found by its exact name among those under `console/`, so no path can lead anywhere else. The pages run only
scripts from this server (Content-Security-Policy). Browsers revalidate every cached file by an ETag of its content, so
that no page mixes two releases.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from kling_relay.core.rulebook import Rulebook
from kling_relay.web.http.cors import CORS_HEADERS
from kling_relay.web.http.response import Response
from kling_relay.web.spec import asyncapi, openapi

ROOT = Path(__file__).parent / "console"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_TEXT_TYPES = frozenset({"text/javascript", "text/css", "text/html", "text/plain", "text/markdown", "image/svg+xml"})
_MIN_GZIP_BYTES = 600
_CACHE_FONTS = "public, max-age=604800"
_REVALIDATE = "no-cache"
_PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_HEADERS = {
    # results are loaded from wherever the provider stores them, and the console may use a service elsewhere
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
    """A file with its headers; `gzipped` is None for files that are small or compressed already."""

    content: bytes
    gzipped: bytes | None
    media_type: str
    etag: str
    cache_control: str


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """The files of /console and /docs by name, and the API's documents by path."""

    console: Mapping[str, File]
    documents: Mapping[str, File]

    @classmethod
    def load(cls, rulebook: Rulebook) -> "StaticFiles":
        """Read all files, and describe the API with the orders of `rulebook`."""
        documents = {"openapi.json": openapi.document(rulebook), "asyncapi.json": asyncapi.document()}
        return cls(
            dict(read_files(ROOT)),
            {name: _file(orjson.dumps(content), "application/json", name) for name, content in documents.items()},
        )

    def answer(self, request: web.BaseRequest, segments: Sequence[str]) -> Response | None:
        """Return the response to a request for a file, or None if its path or method is another."""
        if request.method not in {"GET", "HEAD"} or not segments:
            return None
        match segments[0]:
            case "console":
                return _respond(request, self.console.get("/".join(segments[1:]) or "index.html"))
            case "docs" if len(segments) == 1:
                return _respond(request, self.console["docs/index.html"])
            case name if len(segments) == 1 and name in self.documents:
                return _respond(request, self.documents[name], CORS_HEADERS)
        return None


def read_files(root: Path) -> Iterator[tuple[str, File]]:
    """Yield every file under `root` with its name relative to it, with slashes as in a URL."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = path.relative_to(root).as_posix()
            media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
            yield name, _file(path.read_bytes(), media_type, name)


def _file(content: bytes, media_type: str, name: str) -> File:
    is_text = media_type in _TEXT_TYPES or media_type == "application/json"
    gzipped = gzip.compress(content, 9, mtime=0) if is_text and len(content) >= _MIN_GZIP_BYTES else None
    return File(
        content=content,
        gzipped=gzipped,
        media_type=f"{media_type}; charset=utf-8" if is_text else media_type,
        etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        cache_control=_CACHE_FONTS if name.endswith(".woff2") else _REVALIDATE,
    )


def _respond(request: web.BaseRequest, file: File | None, extra: Mapping[str, str] | None = None) -> Response:
    if file is None:
        return Response(status=404, body=b"File not found.\n", headers={**_HEADERS, **_PLAIN_TEXT})
    headers = {
        **_HEADERS,
        **(extra or {}),
        "ETag": file.etag,
        "Cache-Control": file.cache_control,
        "Vary": "Accept-Encoding",
    }
    if file.etag in request.headers.get("If-None-Match", ""):
        return Response(status=304, headers=headers)
    headers["Content-Type"] = file.media_type
    if file.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        return Response(body=file.gzipped, headers={**headers, "Content-Encoding": "gzip"})
    return Response(body=file.content, headers=headers)
