"""Watching a task: a progress bar on a terminal, a line for each step elsewhere; and fetching what came of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import click

from kling_relay.cli.errors import Failure, NotYet
from kling_relay.cli.output import Screen, coloured, moment, safe

if TYPE_CHECKING:
    from kling_relay.client import Event, Relay, Task, TaskDetail

STEPS = ("submitted", "processing", "succeed")
FINAL = ("succeed", "failed")


async def wait(relay: "Relay", screen: Screen, task: "Task", within: timedelta | None) -> "TaskDetail":
    """Return the task once it is final, showing how far it is to whoever watches. Raises NotFinalError."""
    if not screen.is_live:
        return await relay.wait(task.task_id, within=_seconds(within))
    from rich.console import Console  # noqa: PLC0415 - 80 ms, only where something is drawn
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(task.task_status, total=len(STEPS), completed=1)
        telling = asyncio.ensure_future(_tell(relay, task.task_id, progress.update, bar))
        try:
            return await relay.wait(task.task_id, within=_seconds(within))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def follow(relay: "Relay", screen: Screen, task_id: str, within: timedelta | None) -> str:
    """Print each step of a task, and return its last status. Raises Failure after `within`."""
    status = ""
    try:
        async with asyncio.timeout(_seconds(within)), aclosing(steps(relay, task_id)) as told:
            async for event in told:
                status = str(event.data["task_status"])
                _print(screen, event)
                if status in FINAL:
                    break
    except TimeoutError:
        advice = "Wait longer, or watch again: nothing is lost."
        raise NotYet(f"Task {task_id} is still {status}.", advice=advice, as_json=screen.as_json) from None
    return status


async def download(task: "Task", directory: Path) -> list[Path]:
    """Save the results of a task in a directory and return the files. Raises Failure where one cannot be had."""
    import aiohttp  # noqa: PLC0415 - a quarter of a second

    saved = []
    async with aiohttp.ClientSession() as session:  # its own: a client key is not for whoever keeps the results
        for number, url in enumerate(task.urls):
            suffix = PurePosixPath(urlsplit(url).path).suffix or (".png" if task.kind.makes_images else ".mp4")
            path = directory / f"{task.task_id}-{number}{suffix}"
            part = path.with_name(f"{path.name}.part")
            try:
                async with session.get(url) as answer:
                    if answer.status != 200:
                        raise Failure(f"{url} answers {answer.status}.", advice="Results are kept for 30 days only.")
                    with _opened(part) as file:
                        async for piece in answer.content.iter_chunked(65_536):
                            file.write(piece)
            except aiohttp.ClientError as error:
                advice = "The task itself is well; fetch its result later."
                raise Failure(f"{url} cannot be fetched: {error}", advice=advice) from error
            part.rename(path)
            saved.append(path)
    return saved


async def steps(relay: "Relay", task_id: str) -> "AsyncGenerator[Event, None]":
    """Give the task's events, those that were and those that come."""
    after: str | None = "0"
    for event in await relay.history(task_id):
        after = event.cursor
        yield event
        if event.data["task_status"] in FINAL:
            return
    async with aclosing(relay.stream(after=after, task=task_id)) as stream:
        async for event in stream:
            yield event


async def _tell(relay: "Relay", task_id: str, update: Callable[..., None], bar: int) -> None:
    async with aclosing(steps(relay, task_id)) as told:
        async for event in told:
            status = str(event.data["task_status"])
            update(bar, description=status, completed=STEPS.index(status) + 1 if status in STEPS else len(STEPS))


def _print(screen: Screen, event: "Event") -> None:
    if screen.as_json:
        screen.line(event)
        return
    task = event.task
    said = safe(task.task_status_msg or " ".join(task.urls))
    click.echo(f"{moment(event.timestamp)}  {coloured(task.task_status, 10)}  {said}".rstrip())


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _seconds(within: timedelta | None) -> float | None:
    return None if within is None else within.total_seconds()
