"""`submit`, `tasks` and `watch`: order a task, list tasks, and watch one."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli import watch as watching
from kling_relay.cli.connection import calls_service
from kling_relay.cli.operation_name import OperationName
from kling_relay.cli.output import Output, coloured, local_time, plain, safe
from kling_relay.cli.time_arguments import Length, Moment

if TYPE_CHECKING:
    from datetime import timedelta

    from kling_relay.client import Relay, Task
    from kling_relay.client.order import Image

STATUSES = click.Choice(["submitted", "processing", "succeed", "failed"])
CAMERAS = click.Choice(["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"])
AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_WITHIN = "How long to wait.  [default: no limit]"


@click.command()
@click.argument("operation", type=OperationName())
@click.argument("prompt", required=False)
@click.option("--negative-prompt", help="What the result must not show.")
@click.option("--image", metavar="FILE|URL|-", help="The first picture; - reads it from standard input.")
@click.option("--image-tail", metavar="FILE|URL", help="The last picture of a video.")
@click.option("--image-fidelity", type=float, help="How closely to follow the picture, 0 to 1.")
@click.option("--n", type=int, help="Number of pictures.")
@click.option("--aspect-ratio", metavar="W:H", help="16:9, 9:16, 1:1; for pictures also 4:3, 3:4, 3:2, 2:3.")
@click.option("--model", "model_name", help="The model, e.g. kling-v1.")
@click.option("--mode", help="std or pro.")
@click.option("--duration", help="Seconds of video: 5 or 10.")
@click.option("--cfg-scale", type=float, help="How closely to follow the prompt, 0 to 1.")
@click.option("--camera", type=CAMERAS, help="How the camera moves.")
@click.option(
    "--camera-move",
    "camera_moves",
    multiple=True,
    metavar="AXIS=N",
    help=f"For --camera simple: one of {', '.join(AXES)}, -10 to 10. Repeatable.",
)
@click.option("--notify-hook", metavar="URL", help="Deliver this task's events to this URL, in Kling's format.")
@click.option("--external-task-id", metavar="ID", help="Your name for the task.")
@click.option(
    "--idempotency-key", metavar="KEY", help="Makes the order safe to repeat: the same key returns the same task."
)
@click.option(
    "--set", "more", multiple=True, metavar="NAME=VALUE", help="Any other field; the value is JSON or text. Repeatable."
)
@click.option("--quote", is_flag=True, help="Only print the price.")
@click.option("--wait", is_flag=True, help="Wait until the task is final, with a progress bar.")
@click.option("--within", type=Length(), help=_WITHIN)
@click.option(
    "--download", type=click.Path(file_okay=False, path_type=Path), help="Wait, and save the results in this directory."
)
@calls_service
async def submit(
    relay: "Relay",
    output: Output,
    *,
    operation: str,
    image: str | None,
    image_tail: str | None,
    camera: str | None,
    camera_moves: tuple[str, ...],
    idempotency_key: str | None,
    more: tuple[str, ...],
    quote: bool,
    wait: bool,
    within: "timedelta | None",
    download: Path | None,
    **fields: Any,
) -> int | None:
    """Order pictures or a video, and print the task's id.

    OPERATION is text2image, image2image, text2video, image2video, or any path that the service has, such as
    videos/image2video. Fields without an option are given with --set.

    \b
    kling-relay submit text2video "a spaceship under way" --wait --download .
    kling-relay submit image2video --image rabbit.png --duration 10 --mode pro
    """  # noqa: D301 - click's mark for lines that stay as they are
    order = {
        **fields,
        "image": _image(image, "--image"),
        "image_tail": _image(image_tail, "--image-tail"),
        "camera_control": _camera(camera, camera_moves),
        **_more(more),
    }
    if quote:
        price = await relay.quote(operation, order)
        if output.as_json:
            output.document(price)
        else:
            output.facts({"price": f"{price.amount} {price.currency}", "list": price.prices, "rules": price.lines})
        return None
    task = await relay.submit(operation, order, idempotency_key=idempotency_key)
    if not (wait or download or within):
        _show(output, task)
        return None
    if not output.is_live:
        output.note(f"{task.task_id} {task.task_status}")
    final = await watching.wait(relay, output, task, within)
    files = await watching.download(final, download) if download else []
    _show(output, final, files)
    return 0 if final.has_succeeded else 1


@click.command()
@click.option("--status", multiple=True, type=STATUSES, help="Only tasks with this status. Repeatable.")
@click.option("--kind", multiple=True, type=OperationName(), help="Only tasks of this kind. Repeatable.")
@click.option("--since", type=Moment(), help="Tasks ordered since: 2h, 7d, or a time.")
@click.option("--until", type=Moment(), help="Tasks ordered until.")
@click.option("--text", help="Search ids, models and orders for this text.")
@click.option("--limit", "-n", default=20, show_default=True, help="At most this many.")
@calls_service
async def tasks(
    relay: "Relay",
    output: Output,
    *,
    status: tuple[str, ...],
    kind: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    text: str | None,
    limit: int,
) -> None:
    """List tasks, newest first."""
    pages = relay.tasks(status=status, kind=kind, since=since, until=until, text=text, limit=limit)
    listed = [task async for task in pages]
    if output.as_json:
        output.document(listed)
        return
    rows = [
        (task.task_id, task.kind, task.task_status, local_time(task.created_at), task.external_task_id, _result(task))
        for task in listed
    ]
    output.table(
        ("task", "kind", "status", "created", "external id", "result"),
        rows,
        "No tasks found. Order one with `kling-relay submit text2image PROMPT`.",
    )


@click.command()
@click.argument("task")
@click.option("--within", type=Length(), help=_WITHIN)
@calls_service
async def watch(relay: "Relay", output: Output, *, task: str, within: "timedelta | None") -> int:
    """Print the steps of a task until it is final.

    The exit code is 1 if the task failed.
    """
    return 0 if await watching.follow(relay, output, task, within) == "succeed" else 1


def _show(output: Output, task: "Task", files: list[Path] | None = None) -> None:
    if output.as_json:
        output.document({**plain(task), **({"saved": [str(path) for path in files]} if files is not None else {})})
        return
    if not task.is_final:
        click.echo(task.task_id)
        return
    click.echo(f"{task.task_id} {coloured(task.task_status)} {safe(task.task_status_msg)}".rstrip())
    for line in files or task.urls:
        click.echo(safe(str(line)))


def _result(task: "Task") -> str:
    return task.task_status_msg or (task.urls[0] if task.urls else "")


def _image(value: str | None, option: str) -> "Image | None":
    if value is None or value.startswith(("http://", "https://", "data:")):
        return value
    if value == "-":
        return sys.stdin.buffer.read()
    path = Path(value).expanduser()
    if not path.is_file():
        raise click.BadParameter(f"{value!r} is neither a file nor a URL.", param_hint=option)
    return path


def _camera(kind: str | None, moves: tuple[str, ...]) -> Mapping[str, Any] | None:
    if not moves:
        return None if kind is None else {"type": kind}
    config: dict[str, float] = {}
    for move in moves:
        axis, _, text = move.partition("=")
        try:
            amount = float(text)
        except ValueError:
            amount = 0
        if axis not in AXES or not amount:
            raise click.BadParameter(f"{move!r} is not AXIS=N, e.g. zoom=-3.", param_hint="--camera-move")
        if axis in config:
            raise click.BadParameter(f"{axis} is given twice.", param_hint="--camera-move")
        config[axis] = int(amount) if amount.is_integer() else amount
    return {"type": kind or "simple", "config": config}


def _more(pairs: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not name or not sign:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint="--set")
        if name in fields:
            raise click.BadParameter(f"{name} is given twice.", param_hint="--set")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields
