"""Orders, looks up and lists with the client that openapi-python-client makes, and prints what it read."""
# mypy: ignore-errors

import json
import os
from datetime import UTC, datetime

from kling_relay_client import AuthenticatedClient
from kling_relay_client.api.kling import list_videos_text2video, order_videos_text2video, show_videos_text2video
from kling_relay_client.api.money import quote
from kling_relay_client.api.tasks import list_tasks, show_task
from kling_relay_client.models import (
    QuotedVideosText2VideoOrder,
    QuotedVideosText2VideoOrderDuration,
    QuotedVideosText2VideoOrderOperation,
    VideosText2VideoOrder,
    VideosText2VideoOrderDuration,
)

client = AuthenticatedClient(base_url=os.environ["RELAY_URL"], token=os.environ["RELAY_KEY"])
quoted = QuotedVideosText2VideoOrder(
    operation=QuotedVideosText2VideoOrderOperation.VIDEOSTEXT2VIDEO,
    prompt="a rabbit",
    duration=QuotedVideosText2VideoOrderDuration.VALUE_1,
)
price = quote.sync(client=client, body=quoted)
order = VideosText2VideoOrder(prompt="a rabbit", duration=VideosText2VideoOrderDuration.VALUE_1)
ordered = order_videos_text2video.sync(client=client, body=order).data
detail = show_task.sync(ordered.task_id, client=client, wait=20)
shown = show_videos_text2video.sync(ordered.task_id, client=client).data
listed = list_videos_text2video.sync(client=client, page_size=5).data
found = list_tasks.sync(client=client, since=datetime(2026, 1, 1, tzinfo=UTC)).data
print(
    json.dumps(
        {
            "quoted": price.amount,
            "task_id": ordered.task_id,
            "created_at": ordered.created_at,
            "charged": detail.charge.charged,
            "expires_at": detail.expires_at,
            "external_task_id": detail.external_task_id,
            "submission": detail.submission,
            "task_status": shown.task_status.value,
            "listed": listed[0].task_id,
            "found": found[0].task_id,
        }
    )
)
