"""The console's two languages: whatever is said in English is said in Chinese too, with the same gaps to fill."""

import re
from pathlib import Path

from kling_relay.web import static

CONSOLE = Path(static.__file__).parent / "console"
SOURCES = [path for folder in ("lib", "parts", "pages") for path in (CONSOLE / folder).glob("*.js")]
SAID = re.compile(r'\bt\("((?:[^"\\]|\\.)*)"')
PAIR = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|\b([A-Za-z]+)):\s*"((?:[^"\\]|\\.)*)"')
GAP = re.compile(r"\{\w+\}")
NAMED = "NAMES|LIMITS|FIELDS|HINTS|MODES|TYPES|AXES|STATUSES|KINDS|STATES|MONEY|SOURCES|OUTCOMES|STEPS"
TABLES = re.compile(rf"^(?:export )?const (?:{NAMED}) = \{{(.*?)\}};", re.DOTALL | re.MULTILINE)


def chinese() -> dict[str, str]:
    words: dict[str, str] = {}
    for name in ("zh.js", "zh-tables.js"):
        found = PAIR.findall((CONSOLE / "words" / name).read_text(encoding="utf-8"))
        words |= {quoted or bare: said for quoted, bare, said in found}
    return words


def test_everything_that_is_said_is_said_in_chinese_too() -> None:
    words = chinese()
    said = {text for path in SOURCES for text in SAID.findall(path.read_text(encoding="utf-8"))}
    assert len(said) > 200
    assert sorted(said - words.keys()) == []


def test_the_words_of_tables_are_said_in_chinese_too() -> None:
    words = chinese()
    tables = [table for path in SOURCES for table in TABLES.findall(path.read_text(encoding="utf-8"))]
    assert len(tables) > 10
    values = {value for table in tables for _, _, value in PAIR.findall(table)}
    missing = {value for value in values if value not in words and re.search("[a-z]{2}", value)}
    assert sorted(missing) == []


def test_a_translation_fills_the_same_gaps() -> None:
    pairs = [(text, said) for text, said in chinese().items() if "type, timestamp" not in text]
    assert [text for text, said in pairs if set(GAP.findall(text)) != set(GAP.findall(said))] == []
