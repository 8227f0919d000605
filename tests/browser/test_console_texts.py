"""The sources of the console: every English text has a Chinese one, and the code keeps to its style."""

import re
from pathlib import Path

from kling_relay.web import static

CONSOLE = Path(static.__file__).parent / "console"
SOURCES = [
    CONSOLE / "main.js",
    *(path for folder in ("lib", "parts", "pages") for path in (CONSOLE / folder).glob("*.js")),
]
SCRIPTS = [path for path in CONSOLE.rglob("*.js") if "vendor" not in path.parts]
CALL = re.compile(r'\bt\(\s*"((?:[^"\\]|\\.)*)"')
PAIR = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|\b([A-Za-z]+)):\s*"((?:[^"\\]|\\.)*)"')
PLACEHOLDER = re.compile(r"\{\w+\}")
TABLE_NAMES = "NAMES|LIMITS|FIELDS|HINTS|MODES|TYPES|AXES|STATUSES|KINDS|STATES|MONEY|SOURCES|OUTCOMES|STEPS|HELD"
TABLE = re.compile(rf"^(?:export )?const (?:{TABLE_NAMES}) = \{{(.*?)\}};", re.DOTALL | re.MULTILINE)
STATE = re.compile(r"const \[(\w+), (\w+)\] = useState\(")


def chinese() -> dict[str, str]:
    texts: dict[str, str] = {}
    for name in ("zh.js", "zh-tables.js"):
        pairs = PAIR.findall((CONSOLE / "locales" / name).read_text(encoding="utf-8"))
        texts |= {quoted or bare: translation for quoted, bare, translation in pairs}
    return texts


def test_every_text_in_the_code_has_a_chinese_translation() -> None:
    texts = {text for path in SOURCES for text in CALL.findall(path.read_text(encoding="utf-8"))}
    assert len(texts) > 200
    assert sorted(texts - chinese().keys()) == []


def test_every_text_in_a_table_has_a_chinese_translation() -> None:
    translations = chinese()
    tables = [table for path in SOURCES for table in TABLE.findall(path.read_text(encoding="utf-8"))]
    assert len(tables) > 10
    texts = {text for table in tables for _, _, text in PAIR.findall(table)}
    missing = {text for text in texts if text not in translations and re.search("[a-z]{2}", text)}
    assert sorted(missing) == []


def test_a_translation_has_the_placeholders_of_its_text() -> None:
    pairs = [(text, translation) for text, translation in chinese().items() if "type, timestamp" not in text]
    mismatched = [text for text, other in pairs if set(PLACEHOLDER.findall(text)) != set(PLACEHOLDER.findall(other))]
    assert mismatched == []


def test_a_line_has_at_most_120_characters() -> None:
    lines = [(path.name, line) for path in SCRIPTS for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 3000
    assert [(name, line) for name, line in lines if len(line) > 120] == []


def test_the_setter_of_a_state_is_named_after_it() -> None:
    states = [pair for path in SCRIPTS for pair in STATE.findall(path.read_text(encoding="utf-8"))]
    assert len(states) > 30
    assert [pair for pair in states if pair[1] != f"set{pair[0][0].upper()}{pair[0][1:]}"] == []
