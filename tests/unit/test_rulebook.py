"""Rule books are data: the shipped ones load, and a wrong one is refused with every fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from kling_relay.core.errors import ConfigurationError
from kling_relay.core.operation import OPERATIONS, TEXT2VIDEO
from kling_relay.core.order import check
from kling_relay.provider.rulebook_file import RULEBOOKS, load_rulebook, read_rulebook


def seed() -> Any:
    return json.loads((RULEBOOKS / "seed.json").read_text(encoding="utf-8"))


def faults_of(book: object) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        read_rulebook(book, "ours.json")
    assert str(error.value).startswith("ours.json: ")
    return {fault.field: fault.detail for fault in error.value.faults}


@pytest.mark.parametrize("name", [path.stem for path in RULEBOOKS.glob("*.json")])
def test_every_shipped_book_loads_and_describes_itself_as_json(name: str) -> None:
    book = load_rulebook(name)
    assert book.name == name
    described = json.loads(json.dumps(book.to_json()))
    assert set(described["operations"]) == set(OPERATIONS)
    for operation in described["operations"].values():
        assert operation["default_model"] in operation["models"]


def test_a_books_description_lists_what_each_model_accepts() -> None:
    operation = load_rulebook("kling-2026").to_json()["operations"]["videos/text2video"]
    assert operation["unknown_models"] == "forward"
    assert "mode" not in operation["models"]["kling-v2-master"]
    assert operation["models"]["kling-v3"]["duration"]["values"][-1] == "15"
    assert operation["models"]["kling-v1"]["prompt"] == {
        "type": "text",
        "max_length": 2500,
        "required": True,
        "default": None,
    }


def test_an_operators_own_book_is_loaded_by_its_path(tmp_path: Path) -> None:
    data = seed() | {"name": "ours", "unknown_members": "drop"}
    (tmp_path / "ours.json").write_text(json.dumps(data), encoding="utf-8")
    book = load_rulebook(tmp_path / "ours.json")
    assert book.name == "ours"
    assert "extra" not in check(TEXT2VIDEO, {"prompt": "x", "extra": 1}, book).fields


def test_a_wrong_book_is_refused_with_all_its_faults() -> None:
    data = seed() | {"hooks": "notify_hook", "unknown_members": "perhaps", "unknown_member": "drop"}
    video = data["operations"]["videos/text2video"]
    video["fields"]["prompt"] = {"type": "poetry"}
    video["fields"]["cfg_scale"] = {"type": "number", "low": 2, "high": 1}
    video["fields"]["mode"] = {"type": "choice", "values": ["std"], "default": "pro"}
    video["fields"]["duration"] = {"type": "choice", "values": "5"}
    video["fields"]["aspect_ratio"] = {"type": "choice"}
    video["fields"]["negative_prompt"] = {"type": "text", "max_length": 9, "low": 1}
    video["default_model"] = "kling-v0"
    video["models"]["kling-v1"] = {"sound": False, "camera_control": {"span": "wide"}}
    video["models"]["kling-v3"] = True
    data["operations"]["videos/lip-sync"] = {"makes": "music", "slots": "n", "fields": {}, "models": {"*": {}}}
    data["operations"]["Lip Sync"] = data["operations"].pop("images/generations")
    at = "operations.videos/text2video"
    assert faults_of(data) == {
        "hooks": "must be a list",
        "unknown_members": "must be forward, drop or refuse",
        "unknown_member": "is not known here",
        "operations.videos/lip-sync.makes": "must be images or videos",
        "operations.videos/lip-sync.slots": "must be a field with a whole number above 0",
        "operations.videos/lip-sync.default_model": "is required",
        "operations.Lip Sync": "must be a path of small letters, such as videos/lip-sync",
        f"{at}.fields.prompt.type": "must be one of text, number, choice, picture, camera",
        f"{at}.fields.cfg_scale.high": "must not be below low",
        f"{at}.fields.mode.default": "must be one of the choices",
        f"{at}.fields.duration.values": "must be a list",
        f"{at}.fields.aspect_ratio.values": "is required",
        f"{at}.fields.negative_prompt.low": "is not known here",
        f"{at}.models.kling-v1.sound": "is not a field of this operation",
        f"{at}.models.kling-v1.camera_control.span": "must be a number",
        f"{at}.models.kling-v3": "must be an object or false",
        f"{at}.default_model": "must be one of models",
    }


def test_a_default_model_that_is_refused_or_unlisted_is_a_fault() -> None:
    data = seed()
    data["operations"]["videos/text2video"]["default_model"] = "kling-v0"
    data["operations"]["videos/image2video"]["models"]["kling-v1"] = False
    assert faults_of(data) == {
        "operations.videos/text2video.default_model": "must be one of models",
        "operations.videos/image2video.default_model": "must be one of models",
    }


def test_an_override_is_checked_together_with_the_rule_that_it_changes() -> None:
    data = seed()
    data["operations"]["videos/text2video"]["models"]["kling-v1"] = {
        "mode": {"values": ["pro"]},
        "cfg_scale": {"low": 3},
        "prompt": "no",
    }
    at = "operations.videos/text2video.models.kling-v1"
    assert faults_of(data) == {
        f"{at}.mode.default": "must be one of the choices",
        f"{at}.cfg_scale.high": "must not be below low",
        f"{at}.prompt": "must be an object or false",
    }


@pytest.mark.parametrize("data", [None, [], "x", {}, {"operations": []}])
def test_data_that_is_not_a_book_is_refused(data: object) -> None:
    assert faults_of(data)


def test_a_file_that_is_missing_or_not_json_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for path in (tmp_path / "absent.json", tmp_path / "broken.json"):
        with pytest.raises(ConfigurationError, match=path.name):
            load_rulebook(path)
