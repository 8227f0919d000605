"""The address of PostgreSQL is read as hosters hand it out; what is not taken is refused by name, without a secret."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from kling_relay.settings import Settings
from kling_relay.settings.postgres_url import read_postgres_url, server_place

PLAIN = "postgresql://u:p@db.example:5432/relay"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("?sslmode=require&channel_binding=require", "?sslmode=require"),
        ("?connect_timeout=10&sslmode=verify-full", "?sslmode=verify-full"),
        ("?pgbouncer=true", ""),
        ("?schema=public", ""),
        ("?sslmode=no-verify", "?sslmode=require"),
        ("?ssl=true", "?sslmode=require"),
        ("?channel_binding=", ""),
        ("?options=endpoint%3Dep-cool-1", "?options=endpoint%3Dep-cool-1"),
        ("?host=%2Ftmp%2Fa%2Cb", "?host=%2Ftmp%2Fa%2Cb"),
        ("?search_path=relay&statement_timeout=5000", "?search_path=relay&statement_timeout=5000"),
        ("?target_session_attrs=read-write", "?target_session_attrs=read-write"),
        ("?sslmode=require&supa=base-pooler.x", "?sslmode=require"),
    ],
)
def test_parameters_of_hosters_are_taken_or_left_out(given: str, read: str) -> None:
    assert read_postgres_url(PLAIN + given) == PLAIN + read


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("schema=relay", "schema"),
        ("connection_limit=1", "RELAY_POOL_SIZE"),
        ("pool_timeout=0", "RELAY_RECORD_TIMEOUT"),
        ("chanel_binding=require", "did you mean channel_binding?"),
        ("nonsense=1", "has the parameter nonsense, which is not known here."),
        ("prepareThreshold=0", "RELAY_DATABASE_POOLER"),
        ("sslaccept=strict", "sslmode=verify-full"),
        ("sslmode=sometimes", "verify-full or no-verify as its sslmode"),
        ("sslrootcert=/none/ca.pem", "sslrootcert=/none/ca.pem"),
        ("require", "not NAME=VALUE"),
    ],
)
def test_other_parameters_are_refused_by_name(parameter: str, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(database_url=f"{PLAIN}?{parameter}")
    assert sentence.rstrip(".") in str(caught.value)


@pytest.mark.parametrize("password", ["hush/hush", "hush#hush", "hush?hush", "1/hush", "hush hush", "1?hush=x"])
def test_an_unescaped_password_is_refused_without_a_piece_of_it(password: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(database_url=f"postgresql://user:{password}@db.example/relay")
    assert "%40 for @" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("password", ["p@ss", "p@ss:word", "p%ss", "p+s!", "[p", "a%40b"])
def test_a_password_that_can_only_mean_one_thing_is_escaped(password: str) -> None:
    from asyncpg.connect_utils import _parse_connect_dsn_and_args  # type: ignore[attr-defined]  # not in the stubs

    url = read_postgres_url(f"postgresql://user:{password}@db.example/relay")
    names = "host port user password passfile database ssl service servicefile direct_tls server_settings"
    names += " target_session_attrs krbsrvname gsslib"
    _, parameters = _parse_connect_dsn_and_args(dsn=url, **dict.fromkeys(names.split()))[:2]
    assert parameters.password == password.replace("%40", "@")


def test_prismas_address_turns_the_pooler_on_unless_the_setting_says_otherwise() -> None:
    assert Settings(database_url=f"{PLAIN}?pgbouncer=true").database_pooler
    assert not Settings(database_url=f"{PLAIN}?pgbouncer=true", database_pooler="0").database_pooler
    assert not Settings(database_url=PLAIN).database_pooler


def test_a_certificate_that_exists_is_taken(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    url = f"{PLAIN}?sslrootcert={tmp_path}/ca.pem"
    assert read_postgres_url(url) == url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (PLAIN, "db.example:5432"),
        ("postgresql://u:p@db.example/relay", "db.example:5432"),
        ("postgresql://a:6432,b/relay", "a:6432, b:5432"),
        ("postgresql://[::1]/relay", "[::1]:5432"),
        ("postgresql://postgres@/relay?host=%2Ftmp%2Fx", "/tmp/x"),
    ],
)
def test_a_place_is_the_host_and_port(url: str, place: str) -> None:
    assert server_place(url) == place
