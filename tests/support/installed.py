"""Installing the package outside the source tree: its wheel, and environments that hold it with some extras.

The dependencies are linked from this environment, not fetched: exactly those that the wheel's metadata asks for.
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.paths import ROOT

_NAME = "kling-relay"


def build_wheel(directory: Path) -> Path:
    """Build the wheel from a copy of the sources, and return its path."""
    source = directory / "source"
    for name in ("service", "alembic"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(directory), str(source))
    return next(directory.glob("*.whl"))


class Environment:
    """A virtual environment with the wheel, its dependencies and those of `extras`."""

    def __init__(self, directory: Path, wheel: Path, extras: Iterable[str] = ()) -> None:
        venv.create(directory, symlinks=True)
        self._directory = directory
        self.python = directory / "bin" / "python"
        _pip("--python", str(self.python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
        site = next(directory.glob("lib/python*/site-packages"))
        self.dependencies = _closure(site, extras)
        link(self.dependencies, site)

    def run(self, *command: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with nothing of the source tree or of our environment in reach."""
        result = subprocess.run(
            [str(self._directory / "bin" / command[0]), *command[1:]],
            cwd=self._directory,
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result


def link(names: Iterable[str], site: Path) -> None:
    """Link the files of installed distributions into the directory `site`."""
    for name in names:
        distribution = metadata.distribution(name)
        for top in {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def _closure(site: Path, extras: Iterable[str]) -> set[str]:
    """Return the names of all distributions that the wheel in `site` needs with these extras."""
    own = next(iter(metadata.distributions(name=_NAME, path=[str(site)])))
    needed: set[tuple[str, str]] = set()
    waiting = {(_NAME, extra) for extra in ("", *extras)}
    while waiting:
        name, extra = item = waiting.pop()
        needed.add(item)
        for text in (own.requires if name == _NAME else metadata.requires(name)) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                dependency = re.sub(r"[-_.]+", "-", requirement.name).lower()
                waiting |= {(dependency, inner) for inner in ("", *requirement.extras)} - needed
    return {name for name, _ in needed} - {_NAME}


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=120)
