"""The results of tasks: pictures drawn from the prompt, and short videos stored beside this file.

An address contains everything needed to make its result, so it works after a restart and after its task is forgotten.
"""

import asyncio
import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from aiohttp import web

from kling_relay.core.operation import GENERATIONS
from kling_relay.sandbox.orders import Order
from kling_relay.sandbox.ratios import SIZES

_ASSETS = Path(__file__).parent / "assets"
_OPEN = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=86400"}
_MAX_CAPTION = 120
_NAME = re.compile(r"([A-Za-z0-9_-]{1,64})/(\d)-(\d{1,2}x\d{1,2})(?:-(5|10))?\.(png|mp4)")


def task_result(url: str, task_id: str, order: Order, random_bits: int) -> dict[str, Any]:
    """Return Kling's `task_result` with addresses under `url`; 128 `random_bits` become the id of a video."""
    ratio = order.ratio.replace(":", "x")
    if order.operation == GENERATIONS:
        caption = quote(order.prompt[:_MAX_CAPTION], safe="")
        start = f"{url}/sandbox/results/{task_id}"
        return {
            "images": [{"index": n, "url": f"{start}/{n}-{ratio}.png?prompt={caption}"} for n in range(order.n)],
        }
    clip = 5 if order.seconds < 8 else 10
    address = f"{url}/sandbox/results/{task_id}/1-{_clip_ratio(ratio)}-{clip}.mp4"
    return {"videos": [{"id": str(UUID(int=random_bits, version=4)), "url": address, "duration": f"{order.seconds}.1"}]}


def _clip_ratio(ratio: str) -> str:
    """Return the nearest of the three aspect ratios that clips exist in."""
    wide, high = (int(side) for side in ratio.split("x"))
    return "1x1" if wide == high else "16x9" if wide > high else "9x16"


async def serve(request: web.Request) -> web.StreamResponse:
    """Answer GET /sandbox/results/…: a PNG, or an MP4 with ranges, readable by scripts of every origin."""
    name = _NAME.fullmatch(request.match_info["name"])
    if name is None:
        raise web.HTTPNotFound(text="no such result", headers=_OPEN)
    task_id, index, ratio, clip, kind = name.groups()
    if kind == "mp4":
        path = _ASSETS / f"{ratio}-{clip}.mp4"
        if not path.is_file():
            raise web.HTTPNotFound(text="no such clip", headers=_OPEN)
        return web.FileResponse(path, headers={**_OPEN, "Content-Type": "video/mp4"})
    if ratio not in SIZES:
        raise web.HTTPNotFound(text="no such shape", headers=_OPEN)
    caption = request.query.get("prompt", "")[:_MAX_CAPTION]
    # Drawing takes tens of milliseconds, which would block the event loop.

    png = await asyncio.to_thread(_png, f"{task_id}-{index}", ratio, caption)
    return web.Response(body=png, content_type="image/png", headers=_OPEN)


@lru_cache(maxsize=64)
def _png(seed: str, ratio: str, caption: str) -> bytes:
    file = io.BytesIO()
    from kling_relay.sandbox.images import draw  # noqa: PLC0415 - 4 MB, only if somebody looks at a picture

    draw(seed, ratio, caption).save(file, "PNG")
    return file.getvalue()
