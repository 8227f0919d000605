"""The rules of language that a machine can check: phrases, names of classes, modules, variables and tests."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import PurePath

import pytest

from tests.docs.pages import pages, text, tracked
from tests.support.paths import ROOT

PACKAGE = "service/kling_relay/"
PHRASES = (
    r"\bso many\b",
    r"(?<!there )\bis no (?!longer|more)",
    r"(?<!there )\bis (?-i:none)\b",
    r"\banew\b",
    r"\b(is|are|was|were) told\b",
    r"\bis heard of\b",
    r"\bbears with\b",
    r"\bthat it may\b",
    r"\blest\b",
    r"\bwhatever there is\b",
    r"\bnobody fores(aw|ees)\b",
)
"""Expressions for phrases that sound translated."""
VAGUE = {"found", "told", "heard", "taken", "seen", "asked"}
"""Participles that hide what a variable holds."""
RENAMED_VERB = re.compile(r"[A-Z][a-z]+[A-Z]\w* (a|an|the)\b")
"""How a docstring begins if a renaming of a class replaced its verb."""
TERMS = frozenset((ROOT / "tests" / "docs" / "module_terms.txt").read_text("utf-8").split())
"""Words of module names that any engineer knows; the rest are in the glossary."""
INDIRECT = ("what", "who", "whoever", "whatever", "where", "it")
"""How the name of a test begins if it has no subject."""
OTHER_TEXTS = (".sql", ".js", ".css", ".html", ".yaml", ".yml", ".tpl", ".toml", ".service", "Makefile", "Dockerfile")
NAMES_THE_PHRASES = "tests/docs/test_language.py"


@cache
def modules(folder: str = "") -> tuple[str, ...]:
    """Return the paths of the Python files below a folder; migrations are history and keep their words."""
    python = [path for path in tracked() if path.endswith(".py") and path.startswith(folder)]
    return tuple(path for path in python if not path.startswith("alembic/versions/"))


@cache
def tree(path: str) -> ast.Module:
    return ast.parse(text(path), path)


def prose(path: str) -> Iterator[tuple[int, str]]:
    """Give the numbered lines of a document, or of the strings and comments of a module."""
    if not path.endswith(".py"):
        yield from enumerate(text(path).splitlines(), 1)
        return
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type in kinds:
            yield from enumerate(token.string.split("\n"), token.start[0])


def variables(path: str) -> Iterator[tuple[int, str]]:
    """Give the names that a module binds: its variables, arguments and fields."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


@pytest.mark.long
def test_no_text_has_a_phrase_that_sounds_translated() -> None:
    pattern = re.compile("|".join(PHRASES), re.IGNORECASE)
    others = [path for path in tracked() if path.endswith(OTHER_TEXTS) and "/vendor/" not in path]
    texts = [path for path in (*modules(), *pages(), *others) if path != NAMES_THE_PHRASES and "/adr/" not in path]
    lines = [(path, number, line) for path in texts for number, line in prose(path) if pattern.search(line)]
    assert [f"{path}:{number}: {line.strip()}" for path, number, line in lines] == []


@pytest.mark.parametrize(
    "sentence", ["This is no list.", "It is none of ours.", "made anew", "so many tasks", "is told"]
)
def test_a_phrase_that_sounds_translated_would_be_noticed(sentence: str) -> None:
    assert re.search("|".join(PHRASES), sentence, re.IGNORECASE)


@pytest.mark.parametrize(
    "sentence", ["There is no alias.", "It is None.", "It is no longer read.", "a renewal", "Tell them."]
)
def test_plain_english_passes(sentence: str) -> None:
    assert not re.search("|".join(PHRASES), sentence, re.IGNORECASE)


@pytest.mark.long
def test_no_docstring_begins_with_the_name_of_a_class_instead_of_a_verb() -> None:
    docstrings = [
        (path, ast.get_docstring(node) or "")
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(path, docstring) for path, docstring in docstrings if RENAMED_VERB.match(docstring)] == []
    assert RENAMED_VERB.match("NewTask a span.")
    assert not RENAMED_VERB.match("`NewTask` a span.")


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for path in modules(PACKAGE):
        if path.startswith((f"{PACKAGE}client/", f"{PACKAGE}sandbox/")):  # the words of its users, and the provider's
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_every_module_name_is_in_the_glossary_or_a_common_term() -> None:
    glossary = set(re.findall(r"[a-z]+", text("docs/glossary.md").lower()))
    known = TERMS | glossary | {f"{word}s" for word in TERMS | glossary}
    names = {path: PurePath(path).stem.strip("_") for path in modules(PACKAGE)}
    assert {path: name for path, name in names.items() if set(name.split("_")) - known - {"init", "main"}} == {}


@pytest.mark.long
def test_limits_are_called_max_and_min() -> None:
    vague = re.compile(r"_?(MOST|LONGEST|LEAST|SHORTEST|LARGEST)_")
    names = [f"{path}:{line}: {name}" for path in modules() for line, name in variables(path) if vague.match(name)]
    assert names == []


def test_variables_of_the_service_are_called_for_what_they_hold() -> None:
    names = [f"{path}:{line}: {name}" for path in modules(PACKAGE) for line, name in variables(path) if name in VAGUE]
    assert names == []


@pytest.mark.long
def test_the_name_of_a_test_has_a_subject() -> None:
    names = [
        node.name
        for path in modules("tests/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert len(names) > 900
    assert [name for name in names if name.split("_")[1] in INDIRECT] == []


def test_a_fixed_sleep_has_its_reason_beside_it() -> None:
    fixed = re.compile(r"\bsleep\((?!0\))[\d.]+\)")
    lines = [(path, *numbered) for path in modules("tests/") for numbered in enumerate(text(path).split("\n"), 1)]
    assert [f"{path}:{number}" for path, number, line in lines if fixed.search(line) and "#" not in line] == []


def test_no_test_file_stands_at_the_root_of_the_tests() -> None:
    assert [path for path in modules("tests/") if PurePath(path).match("tests/test_*.py")] == []
