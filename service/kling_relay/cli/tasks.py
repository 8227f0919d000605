"""`submit`, `tasks` and `watch`: ordering from the terminal, and seeing what becomes of it."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kling_relay.cli import watch as watching
from kling_relay.cli.connection import calls_service
from kling_relay.cli.output import Screen, coloured, moment, plain, safe
from kling_relay.cli.time_arguments import Length, Moment
from kling_relay.core.operation import Kind

if TYPE_CHECKING:
    from datetime import timedelta

    from kling_relay.client import Relay, Task
    from kling_relay.client.order import Image

KINDS = click.Choice([kind.value for kind in Kind])
STATUSES = click.Choice(["submitted", "processing", "succeed", "failed"])
CAMERAS = click.Choice(["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"])
AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_WITHIN = "How long to wait.  [default: for ever]"


@click.command()
@click.argument("kind", type=KINDS)
@click.argument("prompt", required=False)
@click.option("--negative-prompt", help="What should not be seen.")
@click.option("--image", metavar="FILE|URL|-", help="The picture to begin with; - reads it from standard input.")
@click.option("--image-tail", metavar="FILE|URL", help="The picture that a video ends with.")
@click.option("--image-fidelity", type=float, help="How closely to follow the picture, 0 to 1.")
@click.option("--n", type=int, help="How many pictures.")
@click.option("--aspect-ratio", metavar="W:H", help="16:9, 9:16, 1:1 and, for pictures, 4:3, 3:4, 3:2, 2:3.")
@click.option("--model", "model_name", help="The model, as in kling-v1.")
@click.option("--mode", help="std or pro.")
@click.option("--duration", help="Seconds of video: 5 or 10.")
@click.option("--cfg-scale", type=float, help="How closely to follow the prompt, 0 to 1.")
@click.option("--camera", type=CAMERAS, help="How the camera moves.")
@click.option("--camera-move", metavar="AXIS=N", help=f"For --camera simple: one of {', '.join(AXES)}, -10 to 10.")
@click.option("--notify-hook", metavar="URL", help="Where this task's events are delivered, in Kling's format.")
@click.option("--external-task-id", metavar="ID", help="Your own name for the task.")
@click.option("--idempotency-key", metavar="WORD", help="Makes the order repeatable: the same word, the same task.")
@click.option("--set", "more", multiple=True, metavar="NAME=VALUE", help="Any other field; the value as JSON or text.")
@click.option("--quote", is_flag=True, help="Only say what it would cost.")
@click.option("--wait", is_flag=True, help="Wait until the task is final, with a progress bar.")
@click.option("--within", type=Length(), help=_WITHIN)
@click.option("--download", type=click.Path(file_okay=False, path_type=Path), help="Wait, and save the results here.")
@calls_service
async def submit(
    relay: "Relay",
    screen: Screen,
    *,
    kind: str,
    image: str | None,
    image_tail: str | None,
    camera: str | None,
    camera_move: str | None,
    idempotency_key: str | None,
    more: tuple[str, ...],
    quote: bool,
    wait: bool,
    within: "timedelta | None",
    download: Path | None,
    **fields: Any,
) -> int | None:
    """Order pictures or a video of KIND, and print the task's id.

    \b
    kling-relay submit text2video "a spaceship under way" --wait --download .
    kling-relay submit image2video --image rabbit.png --duration 10 --mode pro
    """  # noqa: D301 - click's mark for lines that stay as they are
    order = {
        **fields,
        "image": _image(image, "--image"),
        "image_tail": _image(image_tail, "--image-tail"),
        "camera_control": _camera(camera, camera_move),
        **_more(more),
    }
    if quote:
        found = await relay.quote(kind, order)
        if screen.as_json:
            screen.document(found)
        else:
            screen.facts({"price": f"{found.amount} {found.currency}", "by": found.prices, "because": found.lines})
        return None
    task = await relay.submit(kind, order, idempotency_key=idempotency_key)
    if not (wait or download or within):
        _show(screen, task)
        return None
    if not screen.is_live:
        screen.say(f"{task.task_id} {task.task_status}")
    final = await watching.wait(relay, screen, task, within)
    saved = await watching.download(final, download) if download else []
    _show(screen, final, saved)
    return 0 if final.has_succeeded else 1


@click.command()
@click.option("--status", multiple=True, type=STATUSES, help="Only these; may be given several times.")
@click.option("--kind", multiple=True, type=KINDS, help="Only these; may be given several times.")
@click.option("--since", type=Moment(), help="Made since: 2h, 7d, or a time.")
@click.option("--until", type=Moment(), help="Made until.")
@click.option("--text", help="Looked for in ids, models and orders.")
@click.option("--limit", "-n", default=20, show_default=True, help="How many.")
@calls_service
async def tasks(
    relay: "Relay",
    screen: Screen,
    *,
    status: tuple[str, ...],
    kind: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    text: str | None,
    limit: int,
) -> None:
    """List tasks, newest first."""
    found = relay.tasks(status=status, kind=kind, since=since, until=until, text=text, limit=limit)
    listed = [each async for each in found]
    if screen.as_json:
        screen.document(listed)
        return
    rows = [
        (each.task_id, each.kind, each.task_status, moment(each.created_at), each.external_task_id, _outcome(each))
        for each in listed
    ]
    screen.table(
        ("task", "kind", "status", "made", "external id", "outcome"),
        rows,
        "No such tasks. `kling-relay submit text2image PROMPT` orders one.",
    )


@click.command()
@click.argument("task")
@click.option("--within", type=Length(), help=_WITHIN)
@calls_service
async def watch(relay: "Relay", screen: Screen, *, task: str, within: "timedelta | None") -> int:
    """Print the steps of a TASK until it is final.

    Exits with 1 where it failed.
    """
    return 0 if await watching.follow(relay, screen, task, within) == "succeed" else 1


def _show(screen: Screen, task: "Task", saved: list[Path] | None = None) -> None:
    if screen.as_json:
        screen.document({**plain(task), **({"saved": [str(path) for path in saved]} if saved is not None else {})})
        return
    if not task.is_final:
        click.echo(task.task_id)
        return
    click.echo(f"{task.task_id} {coloured(task.task_status)} {safe(task.task_status_msg)}".rstrip())
    for line in saved or task.urls:
        click.echo(safe(str(line)))


def _outcome(task: "Task") -> str:
    return task.task_status_msg or (task.urls[0] if task.urls else "")


def _image(given: str | None, option: str) -> "Image | None":
    if given is None or given.startswith(("http://", "https://", "data:")):
        return given
    if given == "-":
        return sys.stdin.buffer.read()
    path = Path(given).expanduser()
    if not path.is_file():
        raise click.BadParameter(f"{given!r} is neither a file nor an address.", param_hint=option)
    return path


def _camera(kind: str | None, move: str | None) -> Mapping[str, Any] | None:
    if move is None:
        return None if kind is None else {"type": kind}
    axis, _, text = move.partition("=")
    try:
        amount = float(text)
    except ValueError:
        amount = 0
    if axis not in AXES or not amount:
        raise click.BadParameter(f"{move!r} is not AXIS=N, as in zoom=-3.", param_hint="--camera-move")
    return {"type": kind or "simple", "config": {axis: int(amount) if amount.is_integer() else amount}}


def _more(pairs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not name or not sign:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint="--set")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
