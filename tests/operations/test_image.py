"""The image, without a container engine: the steps of the Dockerfile are run in a temporary root.

Two things differ from the real build: the base image is this machine's Python, and the locked dependencies are linked
from this environment, in the locked versions, instead of downloaded. All other steps are the real ones.
"""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from typing_extensions import override

from tests.support.installed import link
from tests.support.paths import ROOT

HOME = "/opt/kling-relay"


class Step(NamedTuple):
    """One instruction of the Dockerfile."""

    word: str
    rest: str


def stages() -> list[list[Step]]:
    """Return the stages of the Dockerfile, each from its FROM; lines before the first FROM are left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    result: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        step = Step(*line.split(maxsplit=1))
        if step.word == "FROM":
            result.append([])
        if result:
            result[-1].append(step)
    return result


def of_last(word: str) -> list[str]:
    return [step.rest for step in stages()[-1] if step.word == word]


def locked(path: Path) -> dict[str, str]:
    """Return the versions that a lock file pins, by name."""
    pins = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE)
    return dict(pins)


def link_dependencies(site: Path) -> None:
    """Link what requirements/run.txt pins, and nothing else, from this environment into `site`."""
    for name, version in locked(ROOT / "requirements" / "run.txt").items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # pinned for another platform or Python
        assert installed == version, f"{name} is {installed} here, but the lock file says {version}"
        link([name], site)


def ignored(path: str) -> bool:
    """Return whether .dockerignore excludes `path`; the last matching pattern decides."""
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#"):
            parts = [path, *map(str, Path(path).parents)]
            anywhere = pattern.removeprefix("**/")
            if any(
                fnmatch(part, pattern) or (anywhere != pattern and fnmatch(Path(part).name, anywhere)) for part in parts
            ):
                is_ignored = not line.startswith("!")
    return is_ignored


def copy(step: Step, root: Path) -> None:
    """Run one COPY of the first stage: files into a directory, or one directory onto another."""
    *sources, target = step.rest.split()
    destination = root / target.removeprefix("/") if target.startswith("/") else root / "build" / target
    for source in sources:
        start = ROOT / source
        for path in [start] if start.is_file() else sorted(entry for entry in start.rglob("*") if entry.is_file()):
            inside = path.name if start.is_file() else str(path.relative_to(start))
            if not ignored(str(path.relative_to(ROOT))):
                (destination / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, destination / inside)


def run(step: Step, root: Path) -> None:
    """Run one RUN of the first stage with this machine's Python. Raises CalledProcessError."""
    command = step.rest.replace(HOME, f"{root}{HOME}")
    if "-r requirements/run.txt" in command:
        link_dependencies(next((root / "opt" / "kling-relay" / "lib").glob("python*/site-packages")))
        return
    if "-r build.txt" in command:  # this environment has the pinned setuptools
        command = command.partition("&&")[0]
    # Linked files belong to this environment: compile only the installed ones.
    command = re.sub(r"(compileall .*) \S+/lib ", rf"\1 {root}{HOME}/lib/python*/site-packages/kling_relay ", command)
    path = f"{Path(sys.executable).parent}:{os.defpath}"  # `python` is the base image's in the Dockerfile
    subprocess.run(["/bin/sh", "-ceu", command], cwd=root / "build", env={"PATH": path}, check=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the first stage has run."""
    root = tmp_path_factory.mktemp("image")
    (root / "build").mkdir()
    (root / "opt").mkdir()
    for step in stages()[0]:
        match step.word:
            case "COPY":
                copy(step, root)
            case "RUN":
                run(step, root)
            case word:
                assert word in {"FROM", "ENV", "WORKDIR"}
    return root


def in_image(root: Path, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command as in the last stage: with its environment, and nothing of this source tree in reach."""
    home = f"{root}{HOME}"
    environment = {"PATH": f"{home}/bin:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1", **extra}
    words = [word.replace(HOME, home) for word in command]
    words[0] = shutil.which(words[0], path=environment["PATH"]) or words[0]
    return subprocess.run(words, cwd=root, env=environment, check=False, capture_output=True, text=True, timeout=60)


def test_the_entrypoint_starts_in_the_built_image(built: Path) -> None:
    (entry,) = of_last("ENTRYPOINT")
    started = in_image(built, *json.loads(entry), "--version")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (started.returncode, version in started.stdout) == (0, True), started


def test_the_build_contains_the_package_the_migrations_and_bytecode(built: Path) -> None:
    where = in_image(
        built,
        "python",
        "-c",
        "from kling_relay.store.schema import migrate; print(migrate.__file__, migrate.scripts(), migrate.head())",
    )
    module, scripts, head = where.stdout.split()
    assert module.startswith(f"{built}{HOME}/lib/")
    assert scripts == f"{built}{HOME}/share/kling-relay/alembic"
    assert head != "None"
    assert Path(scripts, "..", "alembic.ini").resolve().is_file()
    installed = Path(module).parents[1]
    sources = list(installed.rglob("*.py"))
    assert sources
    assert [path for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))] == []


def test_the_build_contains_no_development_tool(built: Path) -> None:
    probe = "import importlib.util as u; print([n for n in ('pip', 'pytest', 'setuptools', 'mypy') if u.find_spec(n)])"
    assert in_image(built, "python", "-c", probe).stdout.strip() == "[]"
    assert not {"tests", "bench", "docs", ".git"} & {path.name for path in (built / "build").iterdir()}


class _LivezHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def live_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _LivezHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_health_check_tries_both_ports(built: Path, live_port: int) -> None:
    check = json.loads(of_last("HEALTHCHECK")[0].partition("CMD ")[2])
    alive, closed = str(live_port), "1"  # nothing listens on port 1
    outcomes = [
        in_image(built, *check, RELAY_PORT=port, RELAY_METRICS_PORT=metrics).returncode
        for port, metrics in ((alive, closed), (closed, alive), (closed, closed))
    ]
    assert outcomes == [0, 0, 1]


def test_the_last_stage_needs_no_shell_no_root_and_no_compiler() -> None:
    for word in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(json.loads(rest), list) for rest in of_last(word))
    assert of_last("USER") == ["10001:10001"]
    assert {"8080", "9464"} == set(" ".join(of_last("EXPOSE")).split())
    assert not re.search(r"apt-get|gcc|build-essential|curl|ADD ", (ROOT / "Dockerfile").read_text())
    labels = " ".join(of_last("LABEL"))
    names = ("title", "description", "licenses", "version", "revision", "created")
    assert all(f"org.opencontainers.image.{name}=" in labels for name in names)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in of_last("ARG")


def test_every_dependency_is_checked_by_hash_and_needs_no_compiler() -> None:
    installs = [step.rest for step in stages()[0] if step.word == "RUN" and " install " in step.rest]
    for command in installs:
        fetched = "--require-hashes" in command and "--only-binary=:all:" in command
        assert fetched or "--no-index" in command, command
    assert "setuptools" in locked(ROOT / "requirements" / "dev.txt")
    assert set(locked(ROOT / "requirements" / "run.txt")) <= set(locked(ROOT / "requirements" / "dev.txt"))


def test_dockerignore_sends_only_the_files_of_the_build() -> None:
    sent = [
        "service/kling_relay/__init__.py",
        "alembic/env.py",
        "requirements/run.txt",
        "pyproject.toml",
        "deploy/healthcheck.py",
    ]
    excluded = [
        ".git/config",
        ".relay/keys",
        ".env",
        "tests/operations/test_image.py",
        "service/kling_relay/__pycache__/x.pyc",
        ".venv/bin/python",
    ]
    assert [path for path in sent if ignored(path)] == []
    assert [path for path in excluded if not ignored(path)] == []
