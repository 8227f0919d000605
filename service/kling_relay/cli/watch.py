"""Watching a task: a progress bar on a terminal, a line for each step elsewhere; and downloading its results."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import click

from kling_relay.cli.errors import Failure, NotFinalFailure
from kling_relay.cli.output import Output, coloured, local_time, safe
from kling_relay.core.operation import makes_of, operation_of

if TYPE_CHECKING:
    from kling_relay.client import Event, Relay, Task, TaskDetail

STATUSES = ("submitted", "processing", "succeed")
FINAL = ("succeed", "failed")
_SUFFIXES = {"images": ".png", "videos": ".mp4", "audios": ".mp3"}


async def wait(relay: "Relay", output: Output, task: "Task", within: timedelta | None) -> "TaskDetail":
    """Return the task once it is final, with a progress bar on a terminal. Raises NotFinalError."""
    if not output.is_live:
        return await relay.wait(task.task_id, within=_seconds(within))
    from rich.console import Console  # noqa: PLC0415 - 80 ms, only if something is drawn
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(task.task_status, total=len(STATUSES), completed=1)
        draw_task = asyncio.ensure_future(_draw(relay, task.task_id, progress.update, bar))
        try:
            return await relay.wait(task.task_id, within=_seconds(within))
        finally:
            draw_task.cancel()
            await asyncio.gather(draw_task, return_exceptions=True)


async def follow(relay: "Relay", output: Output, task_id: str, within: timedelta | None) -> str:
    """Print each step of a task, and return its last status. Raises Failure after `within`."""
    status = STATUSES[0]
    try:
        async with asyncio.timeout(_seconds(within)), aclosing(task_events(relay, task_id)) as events:
            async for event in events:
                status = str(event.data["task_status"])
                _print(output, event)
                if status in FINAL:
                    break
    except TimeoutError:
        advice = "Wait longer, or run `watch` again; the task is still running."
        raise NotFinalFailure(f"Task {task_id} is still {status}.", advice=advice, as_json=output.as_json) from None
    return status


async def download(task: "Task", directory: Path) -> list[Path]:
    """Save the results of a task in a directory and return the files. Raises Failure if a result is not available."""
    import aiohttp  # noqa: PLC0415 - a quarter of a second

    files = []
    async with aiohttp.ClientSession() as session:  # not the relay's: the key must not reach the host of the results
        for number, url in enumerate(task.urls):
            suffix = PurePosixPath(urlsplit(url).path).suffix or _SUFFIXES.get(makes_of(operation_of(task.kind)), "")
            path = directory / f"{task.task_id}-{number}{suffix}"
            part = path.with_name(f"{path.name}.part")
            try:
                async with session.get(url) as response:
                    if response.status != 200:
                        advice = "Results are kept for 30 days."
                        raise Failure(f"{url} returned status {response.status}.", advice=advice)
                    with _create(part) as file:
                        async for chunk in response.content.iter_chunked(65_536):
                            file.write(chunk)
            except aiohttp.ClientError as error:
                advice = "The task has succeeded; try the download again later."
                raise Failure(f"Downloading {url} failed: {error}", advice=advice) from error
            part.rename(path)
            files.append(path)
    return files


async def task_events(relay: "Relay", task_id: str) -> "AsyncGenerator[Event, None]":
    """Yield the task's events: those in the log, then new ones as they come."""
    cursor: str | None = "0"
    for event in await relay.history(task_id):
        cursor = event.cursor
        yield event
        if event.data["task_status"] in FINAL:
            return
    async with aclosing(relay.stream(after=cursor, task=task_id)) as stream:
        async for event in stream:
            yield event


async def _draw(relay: "Relay", task_id: str, update: Callable[..., None], bar: int) -> None:
    async with aclosing(task_events(relay, task_id)) as events:
        async for event in events:
            status = str(event.data["task_status"])
            update(
                bar, description=status, completed=STATUSES.index(status) + 1 if status in STATUSES else len(STATUSES)
            )


def _print(output: Output, event: "Event") -> None:
    if output.as_json:
        output.line(event)
        return
    task = event.task
    detail = safe(task.task_status_msg or " ".join(task.urls))
    click.echo(f"{local_time(event.timestamp)}  {coloured(task.task_status, 10)}  {detail}".rstrip())


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _seconds(within: timedelta | None) -> float | None:
    return None if within is None else within.total_seconds()
