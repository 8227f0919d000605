"""The command line without a service: help, completion, wrong usage, and what it imports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kling_relay.cli.output import Output
from kling_relay.cli.program import COMMANDS, program
from tests.support.paths import ROOT

HEAVY = ("aiohttp", "asyncpg", "sqlalchemy", "pydantic", "rich", "PIL", "uvloop", "structlog")


def command(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(program, words, env={"RELAY_URL": None, "RELAY_KEY": None, **environment})


@pytest.mark.parametrize("name", [command.name or "" for command in COMMANDS])
def test_the_summary_of_every_command_fits_in_one_line(name: str) -> None:
    result = command(name, "--help")
    assert result.exit_code == 0
    listed = next(line for line in command("--help").output.splitlines() if line.startswith(f"  {name} "))
    assert not listed.endswith("...")


def test_help_imports_no_heavy_library() -> None:
    code = f"import sys, kling_relay.cli.program; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_a_service_imports_nothing_that_it_seldom_needs() -> None:
    names = ("alembic", "mako", "sqlalchemy.orm", "rich", "pygments", "PIL")
    code = f"import sys, kling_relay.app.commands; print([m for m in {names!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    assert "_KLING_RELAY_COMPLETE" in command("completion", shell).output


def test_completion_knows_commands_and_kinds() -> None:
    words = {"COMP_WORDS": "kling-relay submit ", "COMP_CWORD": "2", "_KLING_RELAY_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(program, [], prog_name="kling-relay", complete_var="_KLING_RELAY_COMPLETE", env=words)
    assert "plain,image2video" in result.output


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("kling-relay subscriptions ", "plain,rotate", "plain,--limit"),
        ("kling-relay subscriptions --", "plain,--limit", "plain,rotate"),
        ("kling-relay deliveries list --st", "plain,--status", "plain,--event"),
        ("kling-relay subscriptions create --format ", "plain,cloudevents", "plain,task"),
    ],
)
def test_completion_knows_the_commands_and_options_of_groups(typed: str, offered: str, not_offered: str) -> None:
    position = len(typed.split()) - (not typed.endswith(" "))
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(position), "_KLING_RELAY_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(program, [], prog_name="kling-relay", complete_var="_KLING_RELAY_COMPLETE", env=words)
    assert offered in result.output.splitlines()
    assert not_offered not in result.output.splitlines()


BY_BASH = """
eval "$(kling-relay completion bash)"
COMP_WORDS=(kling-relay watc) COMP_CWORD=1
"$(complete -p kling-relay | grep -o "_kling[a-z_]*")" kling-relay
echo "${COMPREPLY[@]}"
"""
BY_ZSH = """
compdef() { :; }
compadd() { :; }
_describe() { print -l -- ${(P)3}; }
eval "$(kling-relay completion zsh)"
words=(kling-relay watc) CURRENT=2
_kling_relay_completion
"""
BY_FISH = """
kling-relay completion fish | source
complete -C "kling-relay watc"
"""
SHELLS = {
    "bash": (["--norc", "--noprofile", "-c"], BY_BASH),
    "zsh": (["-fc"], BY_ZSH),
    "fish": (["--no-config", "-c"], BY_FISH),
}


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_an_installed_shell_completes_with_its_script(shell: str, tmp_path: Path) -> None:
    options, script = SHELLS[shell]
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    result = subprocess.run(
        [shell, *options, script], check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    assert "watch" in result.stdout, result.stderr


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kling_relay", "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "text2music"),
        ("submit", "text2video", "a", "--camera-move", "zoom"),
        ("submit", "text2video", "a", "--set", "mode"),
        ("tasks", "--since", "yesterday"),
        ("deliveries", "retry"),
        ("subscriptions", "create", "http://127.0.0.1:1", "--header", "X"),
        ("sandbox", "--set", "loss"),
        ("sandbox", "--set", "loss=2"),
        ("keys", "create", "a", "--scope", "everything"),
        ("up", "--port", "1"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_sentence(words: tuple[str, ...]) -> None:
    result = command(*words)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_service_that_does_not_answer_exits_with_3() -> None:
    result = command("usage", "--url", "http://127.0.0.1:9", "--key", "a", "--json")
    assert result.exit_code == 3
    assert "No answer" in json.loads(result.stderr)["error"]


def test_settings_mask_secrets_and_report_all_faults_at_once() -> None:
    wrong = {"RELAY_PORT": "many", "RELAY_PROT": "1", "RELAY_BOOTSTRAP_KEY": "a-key-that-nobody-should-see"}
    result = command("settings", **wrong)
    assert result.exit_code == 2
    assert all(name in result.stderr for name in ("RELAY_PORT", "RELAY_PROT"))
    fine = command("settings", "--json", RELAY_BOOTSTRAP_KEY=wrong["RELAY_BOOTSTRAP_KEY"], RELAY_PORT="81")
    assert fine.exit_code == 0
    rows = {row["name"]: row["value"] for row in json.loads(fine.stdout)["settings"]}
    assert (rows["RELAY_PORT"], rows["RELAY_BOOTSTRAP_KEY"]) == ("81", "********")
    assert "RELAY_PORT" in command("settings").stdout


def test_a_table_aligns_chinese_text_and_drops_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("太空", "", "succeed"), ("a", None, "said\x1b[31m\nmore")]
    Output().table(("name", "nothing", "status"), rows, "none")
    assert capsys.readouterr().out == "NAME  STATUS\n太空  succeed\na     said [31m more\n"
    Output().table(("name",), [], "There are none.")
    assert capsys.readouterr() == ("", "There are none.\n")


def test_openapi_prints_the_document() -> None:
    assert json.loads(command("openapi").stdout)["openapi"].startswith("3.1")
