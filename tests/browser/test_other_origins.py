"""A page of another origin calls the API, as the gateway's web UI does: with a key in a header, after a preflight."""

from aiohttp import web
from playwright.async_api import Browser

from tests.support.browsing import Complaints
from tests.support.service import KEY, Relay

CALLS = """async ([url, key]) => {
    const headers = {
        Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', 'Mj-Version': '2', 'x-ptoken': 'p',
    };
    const body = JSON.stringify({ prompt: '太空飞船在航行' });
    const created = await fetch(`${url}/kling/v1/videos/text2video`, { method: 'POST', headers, body });
    const order = await created.json();
    const polled = await fetch(`${url}/kling/v1/videos/text2video/${order.data.task_id}?=null`, { headers });
    const refused = await fetch(`${url}/kling/v1/videos/text2video/nothing`, { headers });
    const tasks = await fetch(`${url}/v1/tasks`, { headers });
    const message = (await refused.json()).error.message;
    const requestId = refused.headers.get('X-Request-Id');
    return [created.status, order.request_id === order.data.task_id, (await polled.json()).code, refused.status,
            message.length > 0, requestId !== null, (await tasks.json()).data.length];
}"""


async def elsewhere(_: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>elsewhere</title>", content_type="text/html")


async def test_a_page_of_another_origin_may_call_klings_paths(
    browser: Browser, relay: Relay, complaints: Complaints
) -> None:
    app = web.Application()
    app.router.add_get("/", elsewhere)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        page = await browser.new_page()
        await page.goto(f"http://localhost:{runner.addresses[0][1]}/")
        results = await page.evaluate(CALLS, [relay.url, KEY])
    finally:
        await runner.cleanup()
    assert results == [200, True, 0, 404, True, True, 1]
