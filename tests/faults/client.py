"""A careful client: it orders with an Idempotency-Key, and repeats the order until it has a response."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.support.service import KEY
from tests.support.waiting import eventually

_AGAIN_AFTER = 0.1


@dataclass(slots=True)
class Client:
    """Calls one URL. A call returns `None` if no response came."""

    url: str
    session: aiohttp.ClientSession
    key: str = KEY
    answers: dict[int, int] = field(default_factory=dict)

    async def call(self, method: str, path: str, **request: Any) -> tuple[int, Any] | None:
        """Return status and body, or None if the connection broke or nothing listens."""
        headers = {"Authorization": f"Bearer {self.key}", **request.pop("headers", {})}
        try:
            async with self.session.request(method, self.url + path, headers=headers, **request) as answer:
                body = await answer.read()
                self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
                return answer.status, orjson.loads(body) if body else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def order(self, word: str, prompt: str, **members: Any) -> str | None:
        """Order once and return the task's id, or None if the response was lost or says to try again."""
        said = await self.call(
            "POST",
            "/kling/v1/videos/text2video",
            json={"prompt": prompt, **members},
            headers={"Idempotency-Key": word},
        )
        if said is None or said[0] >= 500:
            return None
        status, body = said
        assert status == 200, said
        return str(body["data"]["task_id"])

    async def insist(self, word: str, prompt: str, **members: Any) -> str:
        """Order until there is a response."""
        while True:
            task = await self.order(word, prompt, **members)
            if task is not None:
                return task
            await asyncio.sleep(_AGAIN_AFTER)

    async def got(self, path: str) -> Any:
        """Return the body of GET, once it answers 200."""

        async def fact() -> Any:
            said = await self.call("GET", path)
            return [said[1]] if said is not None and said[0] == 200 else None

        return (await eventually(fact, 20))[0]

    async def final(self, task: str, within: float = 20) -> dict[str, Any]:
        """Wait until the task has ended and return it."""

        async def fact() -> dict[str, Any]:
            said = await self.call("GET", f"/v1/tasks/{task}")
            found = said[1] if said is not None and said[0] == 200 else {}
            return found if found.get("task_status") in {"succeed", "failed"} else {}

        return dict(await eventually(fact, within))

    async def subscribed(self, url: str, **members: Any) -> str:
        """Subscribe to all events and return the subscription's id."""
        said = await self.call("POST", "/v1/subscriptions", json={"url": url, "events": ["*"], **members})
        assert said is not None, "nobody listens"
        assert said[0] == 201, said
        return str(said[1]["id"])
