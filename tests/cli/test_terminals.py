"""Commands on odd terminals: a closed pipe, an encoding without our characters, Ctrl-C, and addresses as typed."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kling_relay.cli.program import program
from kling_relay.cli.tasks import _camera
from kling_relay.client.errors import UnavailableError
from tests.cli.test_cli import Terminal, terminal  # noqa: F401 - a fixture
from tests.cli.test_demo import start, tmp_path  # noqa: F401 - a fixture
from tests.support.paths import ROOT
from tests.support.service import SIGNING, subscriber
from tests.support.waiting import eventually

PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}


def run(*words: str, encoding: str = "utf-8", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kling_relay", *words],
        env={**PLAIN, "PYTHONIOENCODING": encoding, **environment},
        cwd=ROOT,
        check=False,
        capture_output=True,
        timeout=120,
    )


def test_a_reader_that_leaves_the_doctor_early_causes_no_traceback(database: str, tmp_path: Path) -> None:  # noqa: F811
    settings = {"RELAY_DATABASE_URL": database, "RELAY_SIGNING_KEYS": SIGNING, "RELAY_DATA_DIR": str(tmp_path)}
    script = f"{sys.executable} -u -m kling_relay doctor | head -n 1"
    result = subprocess.run(
        ["sh", "-c", script], env={**PLAIN, **settings}, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_the_doctor_and_the_settings_print_in_any_encoding(encoding: str, tmp_path: Path) -> None:  # noqa: F811
    doctor = run("doctor", encoding=encoding, RELAY_DATA_DIR=str(tmp_path / "none"))
    assert b"Traceback" not in doctor.stderr, doctor.stderr
    assert ("✓" if encoding == "utf-8" else "+").encode() + b" settings: all settings are valid" in doctor.stdout
    settings = run("settings", encoding=encoding)
    assert (settings.returncode, settings.stderr) == (0, b"")
    as_json = run("settings", "--json", encoding=encoding)
    meanings = [row["meaning"] for row in json.loads(as_json.stdout.decode(encoding))["settings"]]
    assert any("…" in meaning for meaning in meanings), "JSON loses no character"


@pytest.mark.parametrize("words", [("demo",), ("up",)], ids=" ".join)
async def test_ctrl_c_while_it_starts_ends_quietly(words: tuple[str, ...], tmp_path: Path) -> None:  # noqa: F811
    process = await start(tmp_path, *words)
    await eventually((tmp_path / ".relay" / "postgresql.users").exists, 30)
    process.send_signal(signal.SIGINT)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode in {0, 130}, output
    for word in (b"Traceback", b"No answer", b"Error", b"bug"):
        assert word not in output, output.decode()


async def test_an_address_that_does_not_speak_tls_is_not_called_forbidden() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with plain:
        url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        result = await asyncio.to_thread(CliRunner().invoke, program, ["usage", "--url", url, "--key", "a"])
    assert result.exit_code == 3
    assert "Operation not permitted" not in result.stderr
    assert "it does not speak TLS; is the address http:// instead of https://?" in result.stderr


def test_a_certificate_that_is_not_valid_is_named_as_the_reason() -> None:
    from kling_relay.client.transport import _tls_reason

    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    assert _tls_reason(error) == "its certificate is not valid (self-signed certificate)"


@pytest.mark.parametrize("words", [("usage",), ("tasks",), ("events",), ("watch", "x"), ("deliveries",)], ids=" ".join)
def test_a_command_that_reads_does_not_speak_of_repeating_orders(words: tuple[str, ...]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        read = CliRunner().invoke(program, [*words, "--url", url, "--key", "a"])
        ordered = CliRunner().invoke(program, ["submit", "text2image", "a", "--url", url, "--key", "a"])
    assert (read.exit_code, ordered.exit_code) == (3, 3)
    assert "Check that the service runs" in read.stderr
    assert "repeat" not in read.stderr
    assert "safe to repeat" in ordered.stderr
    assert "repeat" not in UnavailableError("away", status=503, code=5001).advice


def test_camera_moves_are_joined() -> None:
    assert _camera(None, ("zoom=-3", "pan=2.5")) == {"type": "simple", "config": {"zoom": -3, "pan": 2.5}}
    assert _camera("simple", ("zoom=-3",)) == {"type": "simple", "config": {"zoom": -3}}
    assert _camera("forward_up", ()) == {"type": "forward_up"}
    for option in ("--camera-move", "--set"):
        twice = CliRunner().invoke(program, ["submit", "text2video", "a", option, "zoom=1", option, "zoom=2"])
        assert (twice.exit_code, "zoom is given twice" in twice.stderr) == (2, True)


async def test_the_last_events_are_shown_oldest_first(terminal: Terminal) -> None:  # noqa: F811
    for _ in range(2):
        await terminal.run("submit", "text2image", "a rabbit", "--wait")
    everything = (await terminal.run("events", "--json")).stdout.splitlines()
    assert len(everything) > 3
    assert (await terminal.run("events", "-n", "3", "--json")).stdout.splitlines() == everything[-3:]
    assert len((await terminal.run("events", "-n", "2")).stdout.splitlines()) == 2
    first: dict[str, Any] = json.loads(everything[0])
    following = await terminal.run("events", "-n", "2", "--after", first["cursor"], "--json")
    assert following.stdout.splitlines() == everything[1:3]


@pytest.mark.parametrize("address", ["3000:hook", "ftp://localhost/hook", "http://", "local host/x", "http://a:x/"])
def test_listen_refuses_an_address_to_which_it_could_never_forward(address: str) -> None:
    result = CliRunner().invoke(program, ["listen", "--forward-to", address, "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert "is not an address such as http://localhost:3000/hook" in result.stderr


async def test_listen_takes_an_address_without_a_scheme(terminal: Terminal, tmp_path: Path) -> None:  # noqa: F811
    async with subscriber() as hook:
        words = ("listen", "--forward-to", hook.url.removeprefix("http://"), "--after", "0")
        listening = await start_client(terminal, *words)
        try:
            await terminal.run("submit", "text2image", "a rabbit", "--wait")
            await eventually(lambda: len(hook.heard) >= 1, 20)
            assert hook.heard[0].path == "/hook"
        finally:
            listening.terminate()
            await listening.wait()


async def start_client(terminal: Terminal, *words: str) -> asyncio.subprocess.Process:  # noqa: F811
    from tests.support.service import KEY

    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kling_relay", *words),
        cwd=ROOT,
        env={**PLAIN, "RELAY_URL": terminal.service.url, "RELAY_KEY": KEY},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
