"""Orders with pictures of any size, and the memory of a process as the system sees it."""

import base64
import re
from pathlib import Path

import orjson

from tests.support.paths import ROOT

MIB = 2**20
_SIDES = (1024).to_bytes(4) * 2
_HEAD = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + _SIDES + b"\x08\x02\x00\x00\x00"


def order_of(size: int, *, pictures: int = 2, prefix: str = "") -> bytes:
    """Return the JSON of an order of about `size` bytes, most of it pictures in Base64."""
    picture = _HEAD + bytes(range(256)) * (size * 3 // 4 // pictures // 256)
    text = prefix + base64.b64encode(picture).decode()
    fields = {"image": text, "image_tail": text} if pictures == 2 else {"image": text}
    return orjson.dumps({"model_name": "kling-v1", "mode": "std", "prompt": "小兔子", **fields})


def rss(pid: int) -> float:
    """Return the memory of a process in MiB."""
    return _figure(pid, "VmRSS")


def peak_rss(pid: int) -> float:
    """Return the most memory in MiB that a process has had since it began."""
    return _figure(pid, "VmHWM")


def chart_limit() -> float:
    """Return the memory limit of the chart's containers in MiB."""
    values = (ROOT / "helm/kling-relay/values.yaml").read_text()
    api = values.partition("\napi:\n")[2].partition("\nworker:\n")[0]
    limit = re.search(r"limits:\s+memory: (\d+)Mi", api)
    assert limit
    return float(limit[1])


def _figure(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    figure = re.search(rf"{name}:\s+(\d+) kB", status)
    assert figure
    return int(figure[1]) / 1024
