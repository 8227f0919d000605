"""Orders, looks up and lists with the Python client that openapi-generator makes, and prints what it read."""
# mypy: ignore-errors

import json
import os
from datetime import UTC, datetime

import openapi_client as api

configuration = api.Configuration(host=os.environ["RELAY_URL"], access_token=os.environ["RELAY_KEY"])
with api.ApiClient(configuration) as client:
    kling, tasks, money = api.KlingApi(client), api.TasksApi(client), api.MoneyApi(client)
    quoted = api.QuotedVideosText2videoOrder(operation="videos/text2video", prompt="a rabbit", duration="10")
    quote = money.quote(api.QuoteRequest(quoted))
    ordered = kling.order_videos_text2video(api.VideosText2videoOrder(prompt="a rabbit", duration="10")).data
    detail = tasks.show_task(ordered.task_id, wait=20)
    shown = kling.show_videos_text2video(ordered.task_id).data
    listed = kling.list_videos_text2video(page_size=5).data
    found = tasks.list_tasks(since=datetime(2026, 1, 1, tzinfo=UTC), status=["succeed"]).data
print(
    json.dumps(
        {
            "quoted": quote.amount,
            "task_id": ordered.task_id,
            "created_at": ordered.created_at,
            "charged": detail.charge.charged,
            "expires_at": detail.expires_at,
            "external_task_id": detail.external_task_id,
            "submission": detail.submission,
            "task_status": shown.task_status,
            "listed": listed[0].task_id,
            "found": found[0].task_id,
        }
    )
)
