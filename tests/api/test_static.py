"""Static files: their headers, and that no path leads elsewhere."""

import asyncio
import gzip
import json
import re
from pathlib import Path

import aiohttp
import pytest

from kling_relay.web import static
from tests.support.relay import serve_api

CONSOLE = Path(static.__file__).parent / "console"
OUTSIDE = (
    "/console/../static.py",
    "/console/%2e%2e/static.py",
    "/console/..%2fstatic.py",
    "/console//etc/passwd",
    "/console/lib/../../static.py",
    "/console/lib",
    "/console/nothing.js",
)


async def test_the_console_s_policy_allows_only_its_own_scripts(database: str) -> None:
    async with serve_api(database) as api:
        for path in ("/console", "/console/", "/docs", "/docs/"):
            status, body, headers = await api.call_with_headers("GET", path, "")
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert b"<style" not in body
            assert b"style=" not in body
            assert re.findall(rb"<script(?! type=\"module\" src=)", body) == []


async def test_every_file_of_the_console_has_its_media_type(database: str) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
    async with serve_api(database) as api:
        for path in CONSOLE.rglob("*"):
            if path.suffix in kinds:
                status, body, headers = await api.call_with_headers(
                    "GET", f"/console/{path.relative_to(CONSOLE).as_posix()}", ""
                )
                assert (status, headers["Content-Type"].partition(";")[0]) == (200, kinds[path.suffix])
                assert body == path.read_bytes()


async def test_an_unchanged_file_gets_304(database: str) -> None:
    async with serve_api(database) as api:
        _, _, headers = await api.call_with_headers("GET", "/console/main.js", "")
        assert headers["Cache-Control"] == "no-cache"
        tag = next(value for name, value in headers.items() if name.lower() == "etag")
        status, body, _ = await api.call_with_headers("GET", "/console/main.js", "", headers={"If-None-Match": tag})
        assert (status, body) == (304, b"")


async def test_a_browser_that_accepts_gzip_gets_it(database: str) -> None:
    async with serve_api(database) as api, aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(f"{api.url}/openapi.json", headers={"Accept-Encoding": "gzip"}) as response:
            packed = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(packed))["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", OUTSIDE)
async def test_no_path_leads_out_of_the_console(database: str, path: str) -> None:
    async with serve_api(database) as api:
        reader, writer = await _connected(api.url)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n".encode())
        body = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert body.split(b" ")[1] == b"404"


@pytest.mark.parametrize(
    ("path", "section", "name"),
    [("/openapi.json", "paths", "/kling/v1/videos/text2video"), ("/asyncapi.json", "channels", "subscriber")],
)
async def test_a_page_of_any_origin_can_read_the_documents(database: str, path: str, section: str, name: str) -> None:
    async with serve_api(database) as api:
        status, document, headers = await api.call_with_headers("GET", path, "")
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert name in document[section]


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))
