"""What the commands about deliveries say."""

import pytest

from kling_relay.cli.deliveries import next_attempt
from kling_relay.client import Delivery


@pytest.mark.parametrize(
    ("held", "at", "text"),
    [
        ("probe", "2026-11-22T12:00:05.000Z", "held until the probe at 2026-11-22"),
        ("paused", None, "held: the subscription is paused"),
        ("disabled", None, "held: the subscription is disabled"),
        (None, "2026-11-22T12:00:05.000Z", "2026-11-22"),
        (None, None, ""),
    ],
)
def test_a_held_delivery_says_why_and_until_when(held: str | None, at: str | None, text: str) -> None:
    delivery = Delivery(
        id="d", event="e", subscription="s", status="pending", attempt_count=5, held=held, next_attempt_at=at
    )
    assert next_attempt(delivery).startswith(text)
