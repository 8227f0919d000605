"""The command `kling-relay`: every error ends in a sentence, and with --debug in a traceback."""

import sys
from io import TextIOWrapper

import click

_BUG = 70
"""sysexits.h: an internal software error."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the output cannot show is not an error
    try:
        from kling_relay.cli.program import NAME, program  # noqa: PLC0415 - an import that fails is reported below too

        code = program.main(prog_name=NAME, standalone_mode=False)  # returns the code of `ctx.exit`
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"Error: {type(error).__name__}: {error}", err=True)
        click.echo(
            "This is a bug in kling-relay. Run the command again with `kling-relay --debug …` to see where.", err=True
        )
        sys.exit(_BUG)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
