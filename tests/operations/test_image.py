"""The image, as far as it goes without an engine: the Dockerfile's build steps are followed in a temporary root.

Two things are not as in the real build, for want of an engine and a network: the base image is this machine's Python,
and the locked dependencies are linked from this environment (by their records, in the versions that the lock file
says) instead of fetched. What is copied, built, installed, compiled and started is the real thing.
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
    """The Dockerfile's stages, each beginning with its FROM; what stands before the first is left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        step = Step(*line.split(maxsplit=1))
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def of_last(word: str) -> list[str]:
    return [step.rest for step in stages()[-1] if step.word == word]


def locked(path: Path) -> dict[str, str]:
    """The versions that a lock file pins for this Python, by name."""
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
    """Whether .dockerignore keeps `path` out of the build; the last pattern that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#"):
            parts = [path, *map(str, Path(path).parents)]
            anywhere = pattern.removeprefix("**/")
            if any(fnmatch(it, pattern) or (anywhere != pattern and fnmatch(Path(it).name, anywhere)) for it in parts):
                verdict = not line.startswith("!")
    return verdict


def copy(step: Step, root: Path) -> None:
    """Follow one COPY of the first stage: files into a directory, or one directory onto another."""
    *sources, target = step.rest.split()
    place = root / target.removeprefix("/") if target.startswith("/") else root / "build" / target
    for source in sources:
        start = ROOT / source
        for path in [start] if start.is_file() else sorted(it for it in start.rglob("*") if it.is_file()):
            inside = path.name if start.is_file() else str(path.relative_to(start))
            if not ignored(str(path.relative_to(ROOT))):
                (place / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place / inside)


def run(step: Step, root: Path) -> None:
    """Follow one RUN of the first stage with this machine's Python; raises CalledProcessError."""
    command = step.rest.replace(HOME, f"{root}{HOME}")
    if "-r requirements/run.txt" in command:
        link_dependencies(next((root / "opt" / "kling-relay" / "lib").glob("python*/site-packages")))
        return
    if "-r build.txt" in command:  # the pinned setuptools: made sure to be this environment's, then used from there
        command = command.partition("&&")[0]
    # What is linked belongs to this environment: only what was really installed is compiled.
    command = re.sub(r"(compileall .*) \S+/lib ", rf"\1 {root}{HOME}/lib/python*/site-packages/kling_relay ", command)
    path = f"{Path(sys.executable).parent}:{os.defpath}"  # `python` is the base image's in the Dockerfile
    subprocess.run(["/bin/sh", "-ceu", command], cwd=root / "build", env={"PATH": path}, check=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the first stage was followed."""
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
    """Run a command as the last stage would: its environment alone, nothing of this tree within reach."""
    home = f"{root}{HOME}"
    environment = {"PATH": f"{home}/bin:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1", **extra}
    words = [word.replace(HOME, home) for word in command]
    words[0] = shutil.which(words[0], path=environment["PATH"]) or words[0]
    return subprocess.run(words, cwd=root, env=environment, check=False, capture_output=True, text=True, timeout=60)


def test_the_command_starts_from_what_the_build_installed(built: Path) -> None:
    (entry,) = of_last("ENTRYPOINT")
    started = in_image(built, *json.loads(entry), "--version")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (started.returncode, version in started.stdout) == (0, True), started


def test_the_build_holds_the_package_the_migrations_and_their_bytecode(built: Path) -> None:
    where = in_image(
        built,
        "python",
        "-c",
        "import kling_relay.store.schema.migrate as it; print(it.__file__, it.scripts(), it.head())",
    )
    module, scripts, head = where.stdout.split()
    assert module.startswith(f"{built}{HOME}/lib/")
    assert scripts == f"{built}{HOME}/share/kling-relay/alembic"
    assert head != "None"
    assert Path(scripts, "..", "alembic.ini").resolve().is_file()
    installed = Path(module).parents[1]
    sources = list(installed.rglob("*.py"))
    assert sources
    assert [it for it in sources if not list(it.parent.glob(f"__pycache__/{it.stem}.*.pyc"))] == []


def test_nothing_for_development_is_in_the_build(built: Path) -> None:
    probe = "import importlib.util as u; print([n for n in ('pip', 'pytest', 'setuptools', 'mypy') if u.find_spec(n)])"
    assert in_image(built, "python", "-c", probe).stdout.strip() == "[]"
    assert not {"tests", "bench", "docs", ".git"} & {it.name for it in (built / "build").iterdir()}


class _Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port_of_the_living() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Alive) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_health_check_asks_both_ports(built: Path, port_of_the_living: int) -> None:
    check = json.loads(of_last("HEALTHCHECK")[0].partition("CMD ")[2])
    alive, silent = str(port_of_the_living), "1"  # nobody listens on port 1
    outcomes = [
        in_image(built, *check, RELAY_PORT=port, RELAY_METRICS_PORT=metrics).returncode
        for port, metrics in ((alive, silent), (silent, alive), (silent, silent))
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
    assert all(f"org.opencontainers.image.{it}=" in labels for it in names)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in of_last("ARG")


def test_every_dependency_is_held_to_its_hash_and_needs_no_compiler() -> None:
    installs = [step.rest for step in stages()[0] if step.word == "RUN" and " install " in step.rest]
    for command in installs:
        fetched = "--require-hashes" in command and "--only-binary=:all:" in command
        assert fetched or "--no-index" in command, command
    assert "setuptools" in locked(ROOT / "requirements" / "dev.txt")
    assert set(locked(ROOT / "requirements" / "run.txt")) <= set(locked(ROOT / "requirements" / "dev.txt"))


def test_the_build_sees_only_what_it_needs() -> None:
    kept = [
        "service/kling_relay/__init__.py",
        "alembic/env.py",
        "requirements/run.txt",
        "pyproject.toml",
        "deploy/healthcheck.py",
    ]
    out = [
        ".git/config",
        ".relay/keys",
        ".env",
        "tests/operations/test_image.py",
        "service/kling_relay/__pycache__/x.pyc",
        ".venv/bin/python",
    ]
    assert [it for it in kept if ignored(it)] == []
    assert [it for it in out if not ignored(it)] == []
