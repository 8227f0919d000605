"""Generates docs/cli.md from the commands."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from kling_relay.cli.program import NAME, program

_BEFORE = f"""\
# The command line

`{NAME}` runs the service and calls it. `pip install kling-relay` installs the commands that call a service;
`pip install 'kling-relay[embedded]'` adds the commands that run one, and PostgreSQL. In the source tree, `make setup`
installs it as `.venv/bin/{NAME}`.

```sh
{NAME} up                                             # the service, with an embedded PostgreSQL and the sandbox
export RELAY_KEY=$({NAME} keys create my-backend)     # prints nothing but the key
{NAME} submit text2video "a spaceship under way" --wait --download results
{NAME} events --follow                                # in another terminal
{NAME} listen --forward-to http://localhost:3000/hook # signed deliveries, no public address
{NAME} subscriptions create https://example.com/hook --event task.succeed
{NAME} deliveries retry --status exhausted
```

## In general

- **Address and key.** Commands that call a service take its address from `--url` or `RELAY_URL` (default:
  `http://RELAY_HOST:RELAY_PORT`) and a client key from `--key` or `RELAY_KEY`. With neither, they use the key of the
  demo if one ran in this directory. Commands that run the service read [its settings](settings.md).
- **JSON.** `--json` prints one JSON document, or one per line for commands that run until Ctrl-C. Answers go to
  standard output, everything else to standard error. With `--json` an error is one JSON object with `error` and
  `advice`; a refusal by the service adds `status`, `code`, `request_id` and `faults`. Colours appear only on a
  terminal, and never with `NO_COLOR=1`.
- **Times** are a length (`30m`, `2h`, `7d`), counted from now, or ISO 8601. They are printed in your time zone.
- **Exit codes.** 0 done; 1 refused, or the task failed; 2 wrong usage or settings, or an extra is not installed; 3 no
  answer, trying again may help; 4 not final in time; 70 a bug in kling-relay (`{NAME} --debug …` shows the traceback);
  130 Ctrl-C.
- **Completion.** `eval "$({NAME} completion bash)"`; zsh and fish work too.

`submit` sends an idempotency key with every order, and repeats the order with the same key if no answer comes.
`listen` forwards each event once and prints the program's answer. To forward events again, pass `--after` a cursor
that `--json` printed.
"""
_SHARED = ("url", "key", "as_json", "help")


def page() -> str:
    """Return the whole document, in Markdown."""
    context = click.Context(program, info_name=NAME)
    parts = [_BEFORE, "\n## Commands\n"]
    for name in program.list_commands(context):
        parts += _describe(program.commands[name], context)
    return "".join(parts)


def _describe(command: click.Command, parent: click.Context) -> Iterator[str]:
    """Yield the description of a command and of the commands in it."""
    context = click.Context(command, parent=parent, info_name=command.name)
    usage = " ".join(command.collect_usage_pieces(context))
    level = "####" if parent.parent else "###"
    yield f"\n{level} {context.command_path}\n\n{_prose(command)}\n\n```\n{context.command_path} {usage}\n```\n"
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and option.name not in _SHARED
    ]
    if options:
        yield "\n| option | |\n|---|---|\n"
        for option in options:
            if record := option.get_help_record(context):
                names, meaning = (cell.replace("|", "\\|").replace("\n", " ") for cell in record)
                yield f"| `{names}` | {meaning} |\n"
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            yield from _describe(subcommand, context)


def _prose(command: click.Command) -> str:
    """Return a command's help, with the lines that click leaves unwrapped as a block of code."""
    text, _, example = cleandoc(command.help or "").partition("\b\n")
    block = "\n".join(line.strip() for line in example.strip().splitlines())
    return text.strip() + (f"\n\n```sh\n{block}\n```" if block else "")
