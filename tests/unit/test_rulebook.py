"""A rule book is data: the shipped ones load, a wrong one is refused with every fault named."""

import json
from pathlib import Path

import pytest

from kling_relay.core.errors import ConfigurationError
from kling_relay.core.operation import Operation
from kling_relay.core.order import check
from kling_relay.core.rulebook import BOOKS, describe, load, read


@pytest.mark.parametrize("name", [path.stem for path in BOOKS.glob("*.json")])
def test_every_shipped_book_loads_and_describes_itself_as_json(name: str) -> None:
    book = load(name)
    assert book.name == name
    told = json.loads(json.dumps(describe(book)))
    assert set(told["operations"]) == set(Operation)
    for operation in told["operations"].values():
        assert operation["default_model"] in operation["models"]


def test_the_description_says_what_a_model_takes() -> None:
    operation = describe(load("kling-2026"))["operations"]["videos/text2video"]
    assert operation["unknown_models"] == "forward"
    assert "mode" not in operation["models"]["kling-v2-master"]
    assert operation["models"]["kling-v3"]["duration"]["of"][-1] == "15"
    assert operation["models"]["kling-v1"]["prompt"] == {
        "takes": "text",
        "max_length": 2500,
        "required": True,
        "default": None,
    }


def test_a_book_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    written = json.loads((BOOKS / "seed.json").read_text(encoding="utf-8"))
    written["name"] = "ours"
    written["unknown_members"] = "drop"
    (tmp_path / "ours.json").write_text(json.dumps(written), encoding="utf-8")
    book = load(tmp_path / "ours.json")
    assert book.name == "ours"
    assert "extra" not in check(Operation.TEXT2VIDEO, {"prompt": "x", "extra": 1}, book).fields


def test_every_fault_of_a_book_is_named_at_once() -> None:
    written = json.loads((BOOKS / "seed.json").read_text(encoding="utf-8"))
    written["hooks"] = "notify_hook"
    written["unknown_members"] = "perhaps"
    video = written["operations"]["videos/text2video"]
    video["fields"]["prompt"] = {"takes": "poetry"}
    video["fields"]["cfg_scale"] = {"takes": "number", "low": 2, "high": 1}
    video["fields"]["mode"] = {"takes": "choice", "of": ["std"], "default": "pro"}
    video["fields"]["duration"] = {"takes": "choice", "of": "5"}
    video["fields"]["aspect_ratio"] = {"takes": "choice"}
    video["default_model"] = "kling-v0"
    video["models"]["kling-v1"] = {"sound": False}
    written["operations"]["videos/lip-sync"] = {}
    del written["operations"]["images/generations"]
    with pytest.raises(ConfigurationError) as error:
        read(written, "ours.json")
    named = {fault.field for fault in error.value.faults}
    at = "doors.videos/text2video"
    assert named >= {
        "hooks", "unknown_members", "doors.videos/lip-sync", "doors.images/generations",
        f"{at}.fields.prompt.takes", f"{at}.fields.cfg_scale", f"{at}.fields.mode.default",
        f"{at}.fields.duration.of", f"{at}.fields.aspect_ratio", f"{at}.default_model", f"{at}.models.kling-v1.sound",
    }  # fmt: skip
    assert str(error.value).startswith("ours.json: ")


@pytest.mark.parametrize("written", [None, [], "x", {}, {"operations": []}])
def test_what_is_no_book_is_refused(written: object) -> None:
    with pytest.raises(ConfigurationError):
        read(written, "x")


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for path in (tmp_path / "absent.json", tmp_path / "broken.json"):
        with pytest.raises(ConfigurationError, match=path.name):
            load(path)
