"""Settings are read once, and every fault is reported at once without showing a secret."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kling_relay.settings import Settings, SettingsError, describe, provider_proxy, read, risks
from kling_relay.settings.units import Ports, read_duration, read_size, write_duration, write_size

KEY = "k" * 32


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.upper().startswith("RELAY_"):
            monkeypatch.delenv(name)


def faults(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in values.items():
        monkeypatch.setenv(f"RELAY_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read()
    assert len(set(caught.value.faults)) == len(caught.value.faults)
    return str(caught.value)


def test_no_setting_is_required() -> None:
    settings = read()
    assert settings.own_url == settings.service_url == "http://127.0.0.1:8080"
    assert settings.database_url is None
    assert settings.provider_url is None
    assert [write_duration(wait) for wait in settings.retry_schedule] == (
        ["5s", "30s", "2m", "10m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
    )
    assert settings.retention == timedelta(days=90)
    assert settings.order_body_limit == 32 * 1024 * 1024
    assert risks(settings) == []


def test_a_setting_is_read_in_its_own_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RELAY_RETRY_SCHEDULE": "1s, 250ms,1h30m",
        "RELAY_CALLBACK_BODY_LIMIT": "64KiB",
        "RELAY_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "RELAY_ALLOWED_PORTS": "443,3000-3010",
        "RELAY_PUBLIC_URL": "https://relay.example.com/hooks/",
        "RELAY_PROVIDER_SLOTS": "5",
        "RELAY_RATE_LIMIT": "",
        "RELAY_REPORT_RATE_LIMIT": "off",
        "RELAY_CONFIRM_CALLBACKS": "1",
        "RELAY_SIGNING_KEYS": f"{KEY},{'o' * 40}",
        "relay_log_level": "debug",
    }.items():
        monkeypatch.setenv(name, value)
    settings = read()
    assert settings.retry_schedule == (timedelta(seconds=1), timedelta(milliseconds=250), timedelta(minutes=90))
    assert settings.callback_body_limit == 65_536
    assert settings.allowed_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.allowed_ports == (Ports(443, 443), Ports(3000, 3010))
    assert settings.own_url == "https://relay.example.com/hooks"
    assert settings.provider_slots == 5
    assert (settings.rate_limit, settings.report_rate_limit) == (5_000, None)
    assert settings.confirm_callbacks
    assert settings.signing_keys
    assert [key.get_secret_value() for key in settings.signing_keys] == [KEY, "o" * 40]
    assert settings.log_level == "debug"


def test_every_fault_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = faults(
        monkeypatch,
        PORT="eighty",
        SWEEP_AFTER="60",
        DELIVERY_TIMEOUT="0",
        ORDER_BODY_LIMIT="lots",
        ALLOWED_NETWORKS="10.0.0.1/8",
        ALLOWED_PORTS="0-70000",
        PUBLIC_URL="relay.example.com",
        LOG_FORMAT="xml",
        DATABASE_URL="postgresql://u:p@host/db",
        METRICS_PORT="65536",
    ).splitlines()
    assert [line.split()[0] for line in sorted(sentences)] == [
        "RELAY_ALLOWED_NETWORKS",
        "RELAY_ALLOWED_PORTS",
        "RELAY_DELIVERY_TIMEOUT",
        "RELAY_LOG_FORMAT",
        "RELAY_METRICS_PORT",
        "RELAY_ORDER_BODY_LIMIT",
        "RELAY_PORT",
        "RELAY_PUBLIC_URL",
        "RELAY_SIGNING_KEYS",
        "RELAY_SWEEP_AFTER",
    ]


def test_no_fault_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = faults(
        monkeypatch,
        DATABASE_URL="mysql://user:hush-hush@host/db",
        SIGNING_KEYS="hush-hush",
        PROVIDER_KEY="hush hush",
        PROVIDER_WEBHOOK_SECRET="hush-hush",
        PROVIDER_PROXY="socks5://me:hush-hush@proxy",
        BOOTSTRAP_KEY="hush-hush",
        PROVIDER_URL="https://me:hush-hush@gateway",
    )
    assert "hush" not in sentences
    assert len(sentences.splitlines()) == 7


def test_a_misspelt_name_is_a_fault_that_suggests_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(monkeypatch, RETENSION="30d") == "RELAY_RETENSION is not a setting; did you mean RELAY_RETENTION?"


def test_variables_that_kubernetes_sets_for_a_service_called_relay_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("RELAY_SERVICE_PORT_HTTP", "80")
    monkeypatch.setenv("RELAY_PORT_8080_TCP_ADDR", "10.0.0.1")
    read()
    assert "enableServiceLinks" in faults(monkeypatch, PORT="tcp://10.0.0.1:8080")


def test_the_environment_overrides_files_in_the_secrets_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "RELAY_SIGNING_KEYS").write_text(f"{KEY}\n")
    (tmp_path / "relay_provider_slots").write_text("7\n")
    (tmp_path / "RELAY_PORT").write_text("1\n")
    (tmp_path / "unrelated").write_text("")
    monkeypatch.setenv("RELAY_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("RELAY_PORT", "2")
    settings = read()
    assert settings.signing_keys
    assert settings.signing_keys[0].get_secret_value() == KEY
    assert (settings.provider_slots, settings.port) == (7, 2)


def test_a_missing_directory_and_an_unknown_file_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "should be a directory" in faults(monkeypatch, SECRETS_DIR=str(tmp_path / "none"))
    (tmp_path / "RELAY_SIGNING_KEY").write_text(KEY)
    assert "did you mean RELAY_SIGNING_KEYS?" in faults(monkeypatch, SECRETS_DIR=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"DATABASE_URL": "postgresql://h/d"}, "RELAY_SIGNING_KEYS is required"),
        ({"PROVIDER_URL": "https://gateway.example"}, "RELAY_PROVIDER_KEY is required"),
        ({"PROVIDER_KEY": "hk-1"}, "without RELAY_PROVIDER_URL"),
        (
            {"PROVIDER_URL": "https://k.example", "PROVIDER_DIALECT": "kling", "PROVIDER_KEY": "AK:SK:x"},
            "ACCESS_KEY:SECRET_KEY",
        ),
        ({"PORT": "9464"}, "should differ"),
        ({"SWEEP_AFTER": "7h"}, "should be shorter than RELAY_TASK_DEADLINE"),
        ({"RETENTION": "1h"}, "should be shorter than RELAY_RETENTION"),
    ],
)
def test_values_that_contradict_each_other_are_faults(
    values: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sentence in faults(monkeypatch, **values)


@pytest.mark.parametrize("key", ["api-key-1", "AK:SK"])
def test_the_dialect_kling_accepts_both_forms_of_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_PROVIDER_URL", "https://api-singapore.klingai.com")
    monkeypatch.setenv("RELAY_PROVIDER_DIALECT", "kling")
    monkeypatch.setenv("RELAY_PROVIDER_KEY", key)
    assert read().provider_key


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_postgresql_scheme_becomes_a_url_for_asyncpg(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://u:p@h/d?sslmode=require")
    assert settings.database_url
    assert settings.database_url.get_secret_value() == "postgresql://u:p@h/d?sslmode=require"


def test_settings_never_change_and_never_show_their_secrets() -> None:
    settings = Settings(signing_keys=KEY, database_url="postgresql://u:hush@h/d")
    with pytest.raises(ValidationError):
        setattr(settings, "port", 1)  # noqa: B010  (mypy would refuse an assignment)
    assert KEY not in repr(settings)
    assert "hush" not in f"{settings!r}{settings}{settings.model_dump()}"


def test_a_risky_setting_causes_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = risks(Settings(provider_url="http://gateway.example", provider_key="hk-1", allowed_networks="0.0.0.0/0"))
    assert len(warnings) == 4


def test_the_table_has_each_setting_once_with_a_meaning_and_no_secret() -> None:
    rows = describe(Settings(signing_keys=KEY, provider_slots=3))
    assert {row.name for row in rows} == {f"RELAY_{name.upper()}" for name in Settings.model_fields}
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.meaning and row.default for row in rows)
    values = {row.name: row.value for row in rows}
    assert values["RELAY_SIGNING_KEYS"] == "********"
    assert values["RELAY_PROVIDER_SLOTS"] == "3"
    assert values["RELAY_SWEEP_AFTER"] == "60s"
    assert KEY not in str(rows)


@given(st.integers(0, 10**11))
def test_a_written_time_is_read_as_itself(milliseconds: int) -> None:
    time = timedelta(milliseconds=milliseconds)
    assert read_duration(write_duration(time)) == time


@given(st.integers(1, 2**40))
def test_a_written_size_is_read_as_itself(size: int) -> None:
    assert read_size(write_size(size)) == size


@pytest.mark.parametrize(
    ("proxy", "variables", "used"),
    [
        ("http://me:pw@proxy.example:3128", {"NO_PROXY": "*"}, "http://me:pw@proxy.example:3128"),
        ("env", {"HTTPS_PROXY": "http://a.example"}, "http://a.example"),
        ("env", {"https_proxy": "b.example:1", "HTTP_PROXY": "http://c.example"}, "b.example:1"),
        ("env", {"ALL_PROXY": "http://d.example"}, "http://d.example"),
        ("env", {"HTTPS_PROXY": "http://a.example", "NO_PROXY": "other, .gateway.example"}, None),
        ("env", {"HTTPS_PROXY": "http://a.example", "NO_PROXY": "way.example"}, "http://a.example"),
        ("env", {"HTTP_PROXY": "http://c.example"}, None),
        ("", {"HTTPS_PROXY": "http://a.example"}, None),
    ],
)
def test_the_proxy_of_the_provider_is_the_settings_or_that_of_the_environment(
    proxy: str, variables: dict[str, str], used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = "https://api.gateway.example"
    monkeypatch.setenv("RELAY_PROVIDER_PROXY", proxy)
    monkeypatch.setenv("RELAY_PROVIDER_URL", url)
    monkeypatch.setenv("RELAY_PROVIDER_KEY", "hk-1")
    assert provider_proxy(read(), url) == used


def test_a_proxy_without_a_provider_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(monkeypatch, PROVIDER_PROXY="env") == "RELAY_PROVIDER_PROXY has no effect without RELAY_PROVIDER_URL."
