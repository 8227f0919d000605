"""Shared by the tests of orders: operations, rule books, images and a reader of faults."""

import base64
import struct

import pytest

from kling_relay.core.errors import InvalidOrder
from kling_relay.core.operation import GENERATIONS, IMAGE2VIDEO, TEXT2VIDEO
from kling_relay.core.order import check
from kling_relay.core.rulebook import Rulebook
from kling_relay.provider.rulebook_file import load_rulebook

SEED = load_rulebook("seed")
KLING = load_rulebook("kling-2026")
URL = "https://pics2.baidu.com/feed/fc1f4134970a304e8662f052c91a3188c8175c32.jpeg"
T2V, I2V, IMAGES = TEXT2VIDEO, IMAGE2VIDEO, GENERATIONS


def png(width: int, height: int, padding: int = 0) -> str:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9 + padding)
    return base64.b64encode(head).decode()


def faults(operation: str, body: object, book: Rulebook = SEED) -> dict[str, str]:
    with pytest.raises(InvalidOrder) as refusal:
        check(operation, body, book)
    assert refusal.value.code == 1201
    assert refusal.value.http_status == 400
    assert all(fault.field in refusal.value.message for fault in refusal.value.faults)
    return {fault.field: fault.detail for fault in refusal.value.faults}
