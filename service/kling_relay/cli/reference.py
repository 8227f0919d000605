"""The command line as a document, made of the commands themselves: docs/cli.md."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from kling_relay.cli.program import NAME, program

_BEFORE = f"""\
# The command line

`{NAME}` runs the service, and uses it. In the project it is `.venv/bin/{NAME}`, put there by `make setup`.

```sh
{NAME} up                                             # the service, with an embedded PostgreSQL and the sandbox
export RELAY_KEY=$({NAME} keys create my-backend)     # a key, alone on standard output
{NAME} submit text2video "a spaceship under way" --wait --download results
{NAME} events --follow                                # in another terminal
{NAME} listen --forward-to http://localhost:3000/hook # signed deliveries without a public address
{NAME} subscriptions create https://example.com/hook --event task.succeed
{NAME} deliveries retry --status exhausted
```

## In general

- **Where and who.** Commands that use a service take `--url` (or `RELAY_URL`; usually `http://RELAY_HOST:RELAY_PORT`)
  and `--key` (or `RELAY_KEY`). Without either, in the directory where the demo ran, they use the demo's key. Commands
  that run it read [its settings](settings.md).
- **For programs.** `--json` prints one JSON document; commands that go on print one per line. Answers go to standard
  output, everything else to standard error; an error is one JSON object there, with `error`, `advice` and, where the
  service refused, `status`, `code`, `request_id` and `faults`. Colours are for terminals only (`NO_COLOR=1`: never).
- **Times** are a length (`30m`, `2h`, `7d`: so long ago, or ahead) or ISO 8601. They are shown in your time zone.
- **Exit codes.** 0 done; 1 refused, or the task failed; 2 wrong usage or settings; 3 no answer, so that trying again
  may help; 4 not final in time; 70 a bug of ours (`{NAME} --debug …` shows where); 130 Ctrl-C.
- **Completion.** `eval "$({NAME} completion bash)"`; zsh and fish too.

`submit` sends an idempotency key with every order, so it is sent again by itself where no answer came. `listen` carries
each event once and tells what the program answered; `--after` with the cursor that `--json` shows goes back.
"""
_SHARED = ("url", "key", "as_json", "help")


def page() -> str:
    """Return the whole document, in Markdown."""
    context = click.Context(program, info_name=NAME)
    parts = [_BEFORE, "\n## Commands\n"]
    for name in program.list_commands(context):
        parts += _of(program.commands[name], context)
    return "".join(parts)


def _of(command: click.Command, parent: click.Context) -> Iterator[str]:
    """Yield what there is to say of a command, and of the commands in it."""
    context = click.Context(command, parent=parent, info_name=command.name)
    usage = " ".join(command.collect_usage_pieces(context))
    level = "####" if parent.parent else "###"
    yield f"\n{level} {context.command_path}\n\n{_prose(command)}\n\n```\n{context.command_path} {usage}\n```\n"
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    told = [each for each in options if each.name not in _SHARED]
    if told:
        yield "\n| option | |\n|---|---|\n"
        for option in told:
            if record := option.get_help_record(context):
                names, meaning = (cell.replace("|", "\\|").replace("\n", " ") for cell in record)
                yield f"| `{names}` | {meaning} |\n"
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _of(each, context)


def _prose(command: click.Command) -> str:
    """Return a command's help, its examples (the lines that click is told to leave alone) as a block."""
    text, _, example = cleandoc(command.help or "").partition("\b\n")
    block = "\n".join(line.strip() for line in example.strip().splitlines())
    return text.strip() + (f"\n\n```sh\n{block}\n```" if block else "")
