"""Every value of a setting that a document shows is read, and so is every default as the tables show it."""

import re
from collections.abc import Iterator

import pytest

from kling_relay.settings import Settings, SettingsError, describe, read
from tests.support.paths import ROOT

PAGES = [
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "helm").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.*"),
    *(ROOT / name for name in ("README.md", "compose.yaml", "Dockerfile", "CONTRIBUTING.md")),
]
ASSIGNMENT = re.compile(r"""(RELAY_[A-Z_]*[A-Z])=("[^"\n]*"|'[^'\n]*'|[^\s"'`,;)|\\]+)""")
WITHOUT_LITERAL = re.compile(r"[$…<{%]")
"""Values that a shell or a reader replaces."""
FILES = frozenset({"RELAY_SECRETS_DIR"})
NEEDS = {
    "RELAY_PROVIDER_KEY": {"RELAY_PROVIDER_URL": "https://gateway.example"},
    "RELAY_PROVIDER_PROXY": {"RELAY_PROVIDER_URL": "https://gateway.example", "RELAY_PROVIDER_KEY": "hk-1"},
    "RELAY_PROVIDER_URL": {"RELAY_PROVIDER_KEY": "hk-1"},
    "RELAY_DATABASE_URL": {"RELAY_SIGNING_KEYS": "k" * 32},
}


def examples() -> Iterator[tuple[str, str, str]]:
    """Yield where each example stands, its setting and its value."""
    for row in describe():
        for value in re.findall(r"e\.g\. (?:`([^`]+)`|(\S+))", row.meaning):
            yield "its own description", row.name, (value[0] or value[1]).rstrip(".,")
    for page in PAGES:
        if not page.is_file() or page.suffix == ".png":
            continue
        for name, value in ASSIGNMENT.findall(page.read_text("utf-8")):
            plain = value.strip("\"'").rstrip(".")
            if name not in FILES and plain and not WITHOUT_LITERAL.search(plain):
                yield str(page.relative_to(ROOT)), name, plain


EXAMPLES = sorted(set(examples()))


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.upper().startswith("RELAY_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("where", "name", "value"), EXAMPLES)
def test_a_documented_example_of_a_setting_is_read(
    where: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, needed in NEEDS.get(name, {}).items():
        monkeypatch.setenv(other, needed)
    monkeypatch.setenv(name, value)
    read()


def test_the_examples_include_those_of_descriptions_and_of_pages() -> None:
    found = {(name, value) for _, name, value in EXAMPLES}
    assert ("RELAY_SANDBOX_PROFILE", "loss=0.3 doubling=0.3") in found
    assert ("RELAY_DATABASE_POOLER", "true") in found
    assert len(found) > 12


@pytest.mark.parametrize("row", [row for row in describe() if row.default != "none"], ids=lambda row: row.name)
def test_a_default_is_read_as_the_tables_show_it(row: object, monkeypatch: pytest.MonkeyPatch) -> None:
    name, default = getattr(row, "name"), getattr(row, "default")  # noqa: B009
    plain = Settings().model_dump()
    if str(plain[name.removeprefix("RELAY_").lower()]) in {"None", ""}:
        return  # the default stands there in words
    monkeypatch.setenv(name, default)
    assert read().model_dump() == plain


def faults(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    for name, value in values.items():
        monkeypatch.setenv(f"RELAY_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read()
    return list(caught.value.faults)


def test_wrong_sandbox_options_and_missing_files_are_reported_with_all_other_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = faults(
        monkeypatch, SANDBOX_PROFILE="lose=0.3 loss=2 hang", RULEBOOK="kling-206", PRICES="/none.json", PORT="x"
    )
    text = "\n".join(reported)
    assert [line.split(" ")[0].rstrip(":") for line in reported].count("RELAY_SANDBOX_PROFILE") == 3, text
    assert "RELAY_SANDBOX_PROFILE: lose: no such option; did you mean loss?" in reported
    assert "did you mean kling-2026?" in text
    assert "RELAY_PRICES: /none.json: file does not exist" in text
    assert "RELAY_PORT should be a valid integer" in text


def test_a_wrong_word_suggests_the_nearest_of_the_allowed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean gateway?" in faults(monkeypatch, PROVIDER_DIALECT="gatway")[0]


@pytest.mark.parametrize("name", ["FOO", "X", "BAR_BAZ", "SANDBOX", "TOKEN"])
def test_a_name_like_no_setting_suggests_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(monkeypatch, **{name: "1"}) == [f"RELAY_{name} is not a setting."]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PROT", "PORT"), ("KEYS", "KEY"), ("DATABASE_UR", "DATABASE_URL"), ("SIGNING_KEY", "SIGNING_KEYS")],
)
def test_a_misspelt_name_suggests_the_one_it_means(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(monkeypatch, **{name: "1"}) == [f"RELAY_{name} is not a setting; did you mean RELAY_{meant}?"]


@pytest.mark.parametrize(
    ("dialect", "url", "understood"),
    [
        ("gateway", "https://api.openai-hk.com/kling", "https://api.openai-hk.com"),
        ("gateway", "https://api.openai-hk.com/v1/", "https://api.openai-hk.com"),
        ("gateway", "https://api.openai-hk.com/kling/v1", "https://api.openai-hk.com"),
        ("gateway", "https://a.example/proxy/kling/v1/videos/text2video", "https://a.example/proxy"),
        ("gateway", "https://kling.example", "https://kling.example"),
        ("gateway", "https://a.example/my-kling/", "https://a.example/my-kling"),
        ("gateway", "http://kling", "http://kling"),
        ("gateway", "http://kling/v1", "http://kling"),
        ("gateway", "https://a.example//kling//", "https://a.example"),
        ("gateway", "https://a.example/v1/videos/", "https://a.example"),
        ("kling", "https://a.example/v1/images", "https://a.example"),
        ("kling", "http://v1", "http://v1"),
        ("kling", "https://api-singapore.klingai.com/v1", "https://api-singapore.klingai.com"),
        ("kling", "https://proxy.example/kling", "https://proxy.example/kling"),
    ],
)
def test_a_provider_url_with_the_path_that_the_dialect_appends_is_understood(
    dialect: str, url: str, understood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"URL": url, "KEY": "hk-1", "DIALECT": dialect}.items():
        monkeypatch.setenv(f"RELAY_PROVIDER_{name}", value)
    assert read().provider_url == understood


def test_own_addresses_may_end_in_a_path_that_the_service_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_PUBLIC_URL", "https://relay.example.com/callbacks/")
    monkeypatch.setenv("RELAY_URL", "http://127.0.0.1:8080/console")
    assert (read().own_url, read().service_url) == ("https://relay.example.com", "http://127.0.0.1:8080")
