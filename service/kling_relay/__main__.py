"""argv -> the command line; whatever goes wrong is told in a sentence, and as a traceback only with --debug."""

import sys

import click

_BUG = 70
"""sysexits.h: an internal software error."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    from kling_relay.cli.program import NAME, program  # noqa: PLC0415 - so that even an import that fails is told below

    try:
        code = program.main(prog_name=NAME, standalone_mode=False)  # what `ctx.exit` said, without exiting
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone: there is nobody to tell
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"Error: {type(error).__name__}: {error}", err=True)
        click.echo(f"This is a bug of ours. `{NAME} --debug …` shows where.", err=True)
        sys.exit(_BUG)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
