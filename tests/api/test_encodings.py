"""Bodies as clients and providers write them: byte order marks, character sets and content encodings."""

import gzip
import zlib
from typing import Any
from uuid import UUID

import orjson
import pytest

from kling_relay.core import callback_token
from tests.api.test_limits import raw
from tests.support.relay import CALLBACK_KEY, VIDEO, ApiServer

ORDER = orjson.dumps({"prompt": "兔子"})
PATH = "/kling/v1/videos/text2video"
LIES = {"br": ORDER, "zstd": b"\x28\xb5\x2f\xfd\x04\x00", "gzip, br": gzip.compress(ORDER, mtime=0), "x-unknown": ORDER}


def callback_path(task: str) -> str:
    return f"/callbacks/{task}/{callback_token.make([CALLBACK_KEY], UUID(task))}"


async def outcome_of(api: ApiServer, task: str) -> tuple[str, bytes]:
    row = await api.database.pool.fetchrow("SELECT outcome, body FROM callbacks WHERE task = $1", UUID(task))
    assert row is not None
    return row["outcome"], row["body"]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
async def test_an_order_may_begin_with_a_byte_order_mark(api: ApiServer, mark: bytes) -> None:
    codec = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}[mark]
    status, body = await api.call("POST", PATH, data=mark + ORDER.decode().encode(codec))
    assert status == 200, body
    assert api.provider.orders[-1]["prompt"] == "兔子"
    status, body = await api.call("POST", "/v1/subscriptions", data=b"\xef\xbb\xbf" + b'{"url": "https://a.example/"}')
    assert status == 201, body


async def test_a_callback_may_begin_with_a_byte_order_mark(api: ApiServer) -> None:
    task = await api.order()
    body = b"\xef\xbb\xbf" + orjson.dumps({"task_id": "p", "task_status": "succeed", "task_result": VIDEO})
    assert (await api.call("POST", callback_path(task), "", data=body))[0] == 200
    assert (await api.get(f"{PATH}/{task}"))[1]["data"]["task_status"] == "succeed"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
async def test_the_order_of_bytes_need_not_be_marked_if_the_charset_is_named(api: ApiServer, codec: str) -> None:
    headers = {"Content-Type": f"application/json; charset={codec[:6]}"}
    status, body = await api.call("POST", PATH, headers=headers, data=ORDER.decode().encode(codec))
    assert status == 200, body
    assert api.provider.orders[-1]["prompt"] == "兔子"


async def test_an_order_in_gbk_reaches_the_provider_in_utf8(api: ApiServer) -> None:
    headers = {"Content-Type": "application/json; charset=GBK"}
    status, body = await api.call("POST", PATH, headers=headers, data=ORDER.decode().encode("gbk"))
    assert status == 200, body
    assert api.provider.orders[-1]["prompt"] == "兔子"


@pytest.mark.parametrize(
    ("charset", "codec", "reason"),
    [
        ("gbk", "gbk", "内容违规，請重試"),
        ('"GB2312"', "gb2312", "内容违规"),
        ("gb18030", "gb18030", "失败 🐇"),
        ("big5", "big5", "請重試"),
        ("Shift_JIS", "cp932", "失敗"),
        ("windows-936", "gbk", "内容违规"),
        ("cp950", "cp950", "請重試"),
        ("hz-gb-2312", "hz", "内容"),
        ("ISO-2022-JP", "iso2022_jp", "失敗"),
        ("ks_c_5601-1987", "euc_kr", "실패"),
        ("windows-1251", "cp1251", "ошибка"),
        ("KOI8-R", "koi8-r", "ошибка"),
        ("windows-1252", "cp1252", "10 € “limit”"),
        ("ISO-8859-1", "latin-1", "é"),
        ("ISO-8859-1", "utf-8", "失败"),
        ("no-such-charset", "utf-8", "失败"),
        ("utf-8", "utf-8", "失败"),
    ],
)
@pytest.mark.long
async def test_a_callback_keeps_its_reason_in_any_charset(
    api: ApiServer, charset: str, codec: str, reason: str
) -> None:
    task = await api.order()
    body = f'{{"task_id": "p", "task_status": "failed", "task_status_msg": "{reason}"}}'.encode(codec)
    headers = {"Content-Type": f"application/json;charset={charset}"}
    assert (await api.call("POST", callback_path(task), "", headers=headers, data=body))[0] == 200
    _, shown = await api.get(f"{PATH}/{task}")
    assert shown["data"]["task_status_msg"] == reason


@pytest.mark.parametrize("encoding", LIES)
async def test_an_unknown_content_encoding_is_refused_in_the_path_s_manner(api: ApiServer, encoding: str) -> None:
    for path, is_kling in ((PATH, True), ("/v1/subscriptions", False)):
        status, body, headers = await api.call_with_headers(
            "POST", path, headers={"Content-Encoding": encoding}, data=LIES[encoding]
        )
        assert (status, body["code"], headers["Accept-Encoding"]) == (415, 1200, "gzip, deflate")
        assert ("error" in body) is is_kling
        assert headers["Content-Type"].startswith("application/json" if is_kling else "application/problem+json")
    assert api.provider.orders == []


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        *LIES.items(),
        ("gzip", ORDER),
        ("gzip", gzip.compress(ORDER, mtime=0)[:-5]),
        ("deflate", b"\x00\xff"),
    ],
)
@pytest.mark.long
async def test_a_callback_that_cannot_be_decoded_is_kept_as_it_came(api: ApiServer, encoding: str, body: bytes) -> None:
    task = await api.order()
    status, answer = await api.call("POST", callback_path(task), "", headers={"Content-Encoding": encoding}, data=body)
    assert (status, answer) == (200, {"code": 0, "message": "ok"})
    assert await outcome_of(api, task) == ("unreadable", body)
    due_at = "SELECT due_at <= now() FROM submissions WHERE task = $1"
    assert await api.database.pool.fetchval(due_at, UUID(task)), "the provider is polled"


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(ORDER, mtime=0)),
        ("GZIP", gzip.compress(ORDER, mtime=0)),
        ("x-gzip", gzip.compress(ORDER, mtime=0)),
        ("deflate", zlib.compress(ORDER)),
        ("deflate", raw_deflate(ORDER)),
        ("identity", ORDER),
        ("", ORDER),
    ],
)
@pytest.mark.long
async def test_a_compressed_order_is_accepted(api: ApiServer, encoding: str, body: bytes) -> None:
    status, answer = await api.call("POST", PATH, headers={"Content-Encoding": encoding}, data=body)
    assert status == 200, answer
    assert api.provider.orders[-1]["prompt"] == "兔子"


async def test_a_small_body_that_decompresses_to_a_huge_one_is_refused(api: ApiServer) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    status, answer = await api.call("POST", PATH, headers={"Content-Encoding": "gzip"}, data=bomb)
    assert (status, answer["code"]) == (413, 1205)


async def test_a_connection_survives_a_body_that_lies_about_its_encoding(api: ApiServer) -> None:
    head = f"Host: x\r\nAuthorization: Bearer {api.key}\r\nContent-Length: {len(ORDER)}\r\n"
    lie = f"POST {PATH} HTTP/1.1\r\n{head}Content-Encoding: gzip\r\n\r\n".encode() + ORDER
    last = f"POST {PATH} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + ORDER
    responses = await raw(api, lie * 2 + last)
    assert [part[:3] for part in responses.split(b"HTTP/1.1 ")[1:]] == [b"400", b"400", b"200"]
    assert responses.count(b"Connection: close") == 1
    unread = f"POST /v1/nowhere HTTP/1.1\r\n{head}Content-Encoding: gzip\r\n\r\n".encode() + ORDER
    responses = await raw(api, unread + last)
    assert [part[:3] for part in responses.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]


BROKEN = {
    "a chunk without a length": f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n",
    "a header without a name": "GET /livez HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "no HTTP at all": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "two lengths": f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_bytes_that_are_not_http_get_our_error_and_the_end_of_the_connection(api: ApiServer, name: str) -> None:
    response = await raw(api, BROKEN[name].encode("latin-1"))
    head, _, content = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4"), response
    assert b"\r\nConnection: close" in head, response
    body: dict[str, Any] = orjson.loads(content)
    assert body["code"] in {1001, 1200}
    assert body["error"]["message"] == body["message"]
