"""Files for browsers: what is served, under which headers, and that nothing else is."""

import asyncio
import gzip
import json
import re
from pathlib import Path

import aiohttp
import pytest

from kling_relay.web import static
from tests.support.relay import house

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


async def test_the_console_comes_with_a_policy_that_runs_scripts_from_here_alone(database: str) -> None:
    async with house(database) as it:
        for path in ("/console", "/console/", "/docs", "/docs/"):
            status, body, headers = await it.full("GET", path, "")
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert b"<style" not in body
            assert b"style=" not in body
            assert re.findall(rb"<script(?! type=\"module\" src=)", body) == []


async def test_every_file_of_the_console_is_served_as_what_it_is(database: str) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
    async with house(database) as it:
        for path in CONSOLE.rglob("*"):
            if path.suffix in kinds:
                status, body, headers = await it.full("GET", f"/console/{path.relative_to(CONSOLE).as_posix()}", "")
                assert (status, headers["Content-Type"].partition(";")[0]) == (200, kinds[path.suffix])
                assert body == path.read_bytes()


async def test_a_file_is_sent_again_only_when_it_changed(database: str) -> None:
    async with house(database) as it:
        _, _, headers = await it.full("GET", "/console/main.js", "")
        assert headers["Cache-Control"] == "no-cache"
        tag = next(value for name, value in headers.items() if name.lower() == "etag")
        status, body, _ = await it.full("GET", "/console/main.js", "", headers={"If-None-Match": tag})
        assert (status, body) == (304, b"")


async def test_a_browser_that_takes_gzip_gets_it(database: str) -> None:
    async with house(database) as it, aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(f"{it.url}/openapi.json", headers={"Accept-Encoding": "gzip"}) as answer:
            packed = await answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(packed))["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", OUTSIDE)
async def test_no_path_leads_out_of_the_console(database: str, path: str) -> None:
    async with house(database) as it:
        reader, writer = await _connected(it.url)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n".encode())
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert said.split(b" ")[1] == b"404"


async def test_the_openapi_document_may_be_read_from_any_page(database: str) -> None:
    async with house(database) as it:
        status, document, headers = await it.full("GET", "/openapi.json", "")
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "/kling/v1/videos/text2video" in document["paths"]


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))
