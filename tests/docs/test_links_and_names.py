"""Whatever documents name exists: linked files, settings, commands with their options, targets of make. No file of the
project names the machine that it was made on, or a package registry.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from kling_relay.cli.program import NAME, program
from kling_relay.settings import describe
from tests.docs.pages import blocks, pages, prose, text, tracked
from tests.support.paths import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SETTING = re.compile(r"RELAY_[A-Z_]*[A-Z]")
_COMMAND = re.compile(rf"(?<![=/\w-]){NAME} ((?:[a-z]+|--[a-z]+)(?:[^\n`#|;&)]*))")
_MAKE = re.compile(r"(?:^|`)make ([a-z-]+)\b", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FOREIGN = (
    "/work" + "/",
    "/tmp" + "/brief",
    "python" + "hosted",
    "pypi" + ".org",
    "registry." + "npmjs",
    "../" + "shared",
)
"""Concatenated, so that this file does not contain them."""
_LOCKED = {"tests/api/clients/node/package-lock.json"}
"""npm writes the origin of each package into its lock file."""


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    headings = _HEADING.findall(path.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: str) -> Iterator[tuple[str, Path, str]]:
    """Give each relative link of a page, with its file and anchor."""
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        yield link, (ROOT / page).parent / path if path else ROOT / page, anchor


@pytest.mark.parametrize("page", pages())
@pytest.mark.long
def test_every_link_leads_somewhere(page: str) -> None:
    known = {ROOT / path for path in tracked()}
    known |= {directory for path in known for directory in path.parents}
    broken = [
        link
        for link, target, anchor in links(page)
        if target.resolve() not in known or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_setting_that_a_document_names_exists() -> None:
    names = {row.name for row in describe()}
    said = {(path, word) for path in tracked() if path.endswith(".md") for word in _SETTING.findall(text(path))}
    assert {(path, word) for path, word in said if word not in names} == set()


def spoken() -> list[tuple[str, str]]:
    """Return every command of ours that a document writes as code, with its page."""
    shell = [(each.page, command) for each in blocks("sh", "shell", "bash", "console", "") for command in each.commands]
    inline = [(page, code) for page in pages() for code in re.findall(r"`([^`\n]+)`", prose(page))]
    return sorted(
        {
            (page, words.strip())
            for page, code in [*shell, *inline]
            for words in _COMMAND.findall(code.replace("\\\n", " "))
        }
    )


def fault_of(words: str) -> str:
    """Return the fault of a command line after the program's name, or an empty string."""
    try:
        parts = shlex.split(words.replace("…", " "))
    except ValueError:
        parts = words.split()
    command: click.Command = program
    context = click.Context(program, info_name=NAME)
    options = {name for each in program.params for name in each.opts}
    for part in parts:
        if part.startswith("-"):
            name = part.split("=")[0]
            if name not in options | {"--help"}:
                return f"has no option {name}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, part)
            if found is None:
                return "" if not part[:1].islower() else f"has no command {part}"
            command = found
            options |= {name for each in command.params for name in [*each.opts, *each.secondary_opts]}
    return ""


def test_every_command_that_a_document_names_exists_with_its_options() -> None:
    said = spoken()
    assert len(said) > 30
    assert [f"{page}: {NAME} {words}: {fault}" for page, words in said if (fault := fault_of(words))] == []


def test_a_missing_command_or_option_would_be_noticed() -> None:
    assert fault_of("events --folow") == "has no option --folow"
    assert fault_of("keys destroy x") == "has no command destroy"
    assert fault_of("dance") == "has no command dance"
    assert fault_of("keys create NAME --scope read") == ""


def test_every_target_of_make_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    said = {(page, target) for page in pages() for target in _MAKE.findall(text(page))}
    assert len(said) > 5
    assert {(page, target) for page, target in said if target not in targets} == set()


def test_every_piece_of_yaml_is_yaml() -> None:
    for block in blocks("yaml"):
        assert list(yaml.safe_load_all(block.text)), block.name


def test_no_file_names_the_machine_it_was_made_on_or_a_registry() -> None:
    found = []
    for path in set(tracked()) - _LOCKED:
        try:
            lines = text(path).splitlines()
        except UnicodeDecodeError:  # a picture or a film
            continue
        found += [f"{path}:{number}" for number, line in enumerate(lines, 1) if any(word in line for word in _FOREIGN)]
    assert found == []
