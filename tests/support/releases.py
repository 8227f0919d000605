"""The code of the release before this one, taken from its tag."""

import asyncio
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.paths import ROOT


def newest_tag() -> str | None:
    """Return the newest release's tag (v1.2.3), or None without releases or git."""
    try:
        said = _git("tag", "--list", "v[0-9]*", "--sort=-version:refname")
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(said.decode().split()), None)


@asynccontextmanager
async def code_of(reference: str) -> AsyncIterator[Path]:
    """Give a directory with the files of the commit `reference`."""
    with TemporaryDirectory(prefix="relay-release-") as place:
        await asyncio.to_thread(_unpack, reference, Path(place))
        yield Path(place)


def _unpack(reference: str, place: Path) -> None:
    packed = place / "release.tar"
    _git("archive", "--output", str(packed), reference)
    with tarfile.open(packed) as archive:
        archive.extractall(place, filter="data")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
