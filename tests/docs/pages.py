"""The project's documents as tests read them: pages, their fenced blocks, and the commands in these."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_LEFT_OUT = {"service/kling_relay/web/console/vendor"}
"""Pages of other projects."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its page and line, its language ("" if it has none), its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, with their continued and quoted lines and comments at line ends."""
        commands: list[str] = []
        held = ""
        for line in self.text.splitlines():
            held = f"{held}\n{line}" if held else line
            if line.endswith("\\") or held.count("'") % 2:
                continue
            if held.strip() and not held.lstrip().startswith("#"):
                commands.append(held)
            held = ""
        return [*commands, held] if held else commands


@cache
def tracked() -> tuple[str, ...]:
    """Return the paths of all files of the project: those that git tracks, and those that it would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # an unpacked release has no git
        skipped = {".venv", ".git", ".relay", "build", "dist", "node_modules"}
        listed = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(path for path in set(listed) if (ROOT / path).is_file()))


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def pages() -> list[str]:
    """Return the paths of the project's own Markdown pages."""
    return [path for path in tracked() if path.endswith(".md") and str(Path(path).parent) not in _LEFT_OUT]


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks in one of these languages, or all of them if no language is given.

    Guides are left out: tests/docs/test_guides.py runs each from its first block to its last.
    """
    return [
        Block(page, body.count("\n", 0, fence.start()) + 1, fence[2], _flush(fence[3], fence[1]))
        for page in pages()
        if not page.startswith("docs/guides/")
        for body in [text(page)]
        for fence in _FENCE.finditer(body)
        if not languages or fence[2] in languages
    ]


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", text(page))


def _flush(body: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
