"""Reads the environment once, into one frozen value. If it is wrong, every fault is reported as a sentence.

No sentence contains a secret. An unknown RELAY_ name is a fault too, because a misspelt limit would have no effect.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from kling_relay.core.address import local_url
from kling_relay.core.suggestion import nearest_name
from kling_relay.settings.groups import (
    ClientSettings,
    DeliverySettings,
    LimitSettings,
    ListenSettings,
    ObservabilitySettings,
    ProviderSettings,
    StorageSettings,
)
from kling_relay.settings.postgres_url import is_behind_pgbouncer
from kling_relay.settings.table import holds_secret

PREFIX = "RELAY_"
# Kubernetes sets these variables in pods if there is a Service called "relay".
_KUBERNETES = re.compile(r"RELAY_(SERVICE_(HOST|PORT)|PORT_\d+_).*")
_OPERATION = r"/v1(/(images|videos)(/[\w-]+)?)?"
_PATH = "(?<!:)(?<!:/)/*"
"""The beginning of a path, after a host."""
_PATHS_OF_OURS: Mapping[str, re.Pattern[str]] = {
    "public_url": re.compile(f"{_PATH}/callbacks/*$"),
    "url": re.compile(f"{_PATH}((/kling)?/v1|/(kling|console|docs))/*$"),
}
"""The end of an address that the service appends itself, by setting."""
_PATHS_OF_PROVIDERS: Mapping[str, re.Pattern[str]] = {
    "gateway": re.compile(f"{_PATH}(/kling)?({_OPERATION})?/*$"),
    "kling": re.compile(f"{_PATH}({_OPERATION})?/*$"),
}
"""The same for RELAY_PROVIDER_URL, by dialect."""


class SettingsError(Exception):
    """The settings are wrong. `faults` are sentences."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Settings(
    ListenSettings,
    StorageSettings,
    ProviderSettings,
    LimitSettings,
    DeliverySettings,
    ObservabilitySettings,
    ClientSettings,
    BaseSettings,
):
    """All settings, validated. Made by `read`, or from values in a test."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `read` merges the other sources, so that it can report every fault

    @model_validator(mode="before")
    @classmethod
    def _understand_addresses(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Remove the paths that the service appends to addresses; take a pooler from the database's address."""
        values = dict(values)
        paths = {
            **_PATHS_OF_OURS,
            "provider_url": _PATHS_OF_PROVIDERS.get(values.get("provider_dialect", ""), _PATHS_OF_PROVIDERS["gateway"]),
        }
        for name, path in paths.items():
            if isinstance(values.get(name), str):
                values[name] = path.sub("", values[name])
        if isinstance(values.get("database_url"), str) and is_behind_pgbouncer(values["database_url"]):
            values.setdefault("database_pooler", "true")
        return values

    @property
    def own_url(self) -> str:
        """The address of this service for the provider, without a trailing slash."""
        return self.public_url or local_url(self.host, self.port)

    @property
    def service_url(self) -> str:
        """The address of the service for the command line, without a trailing slash."""
        return self.url or local_url(self.host, self.port)


def read() -> Settings:
    """Return the settings from the environment and from RELAY_SECRETS_DIR. Raises SettingsError."""
    directory = os.environ.get(f"{PREFIX}SECRETS_DIR", "").strip()
    faults = list(_unknown_names(os.environ, "")) + list(_directory_faults(directory))
    values: dict[str, Any] = EnvSettingsSource(Settings)()
    if directory and Path(directory).is_dir():
        values = {**SecretsSettingsSource(Settings, secrets_dir=directory)(), **values}
    faulty_names: set[str] = set()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        faulty_names = {str(fault["loc"][0]) for fault in error.errors()}
        faults += _sentences(error, values)
        settings = Settings(**{name: value for name, value in values.items() if name not in faulty_names})
    faults += [sentence for names, sentence in _contradictions(settings) if not names & faulty_names]
    faults += _content_faults(settings)
    if faults:
        raise SettingsError(faults)
    return settings


def _sentences(error: ValidationError, values: Mapping[str, Any]) -> Iterator[str]:
    sentences = set()
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(fault["loc"][0])
        reason = fault["msg"].removeprefix("Value error, ").replace("Input should", "should").split(", unable to")[0]
        value = values[name]
        is_private = holds_secret(Settings.model_fields[name]) or "@" in str(value)  # a URL may contain a password
        actual = "" if is_private else f", not {value!r}{_suggested_value(fault['type'], reason, str(value))}"
        hint = " (set by Kubernetes for a Service called relay? enableServiceLinks: false)"
        kubernetes = hint if isinstance(value, str) and name == "port" and value.startswith("tcp://") else ""
        sentence = f"{PREFIX}{name.upper()} {reason}{actual}{kubernetes}"
        sentence += "" if sentence.endswith("?") else "."
        if sentence not in sentences:
            sentences.add(sentence)
            yield sentence


def _suggested_value(kind: str, reason: str, value: str) -> str:
    nearest = nearest_name(value, re.findall("'([^']+)'", reason)) if kind == "literal_error" else None
    return f"; did you mean {nearest}?" if nearest else ""


def _unknown_names(names: Mapping[str, str] | list[str], where: str) -> Iterator[str]:
    setting_names = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in setting_names or _KUBERNETES.fullmatch(upper):
            continue
        # the prefix, which all names share, would make any two of them alike
        nearest = nearest_name(upper.removeprefix(PREFIX), Settings.model_fields)
        yield f"{name}{where} is not a setting{f'; did you mean {PREFIX}{nearest.upper()}?' if nearest else '.'}"


def _directory_faults(directory: str) -> Iterator[str]:
    if not directory:
        return
    if not Path(directory).is_dir():
        yield f"{PREFIX}SECRETS_DIR should be a directory, not {directory!r}."
        return
    yield from _unknown_names([path.name for path in Path(directory).iterdir()], f" in {directory}")


def _contradictions(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """Yield the faults of combinations, each with the fields that it is about."""
    if settings.database_url and not settings.signing_keys:
        yield (
            {"database_url", "signing_keys"},
            "RELAY_SIGNING_KEYS is required with RELAY_DATABASE_URL: all processes must share the same keys.",
        )
    if settings.provider_url and not settings.provider_key:
        yield {"provider_url", "provider_key"}, "RELAY_PROVIDER_KEY is required with RELAY_PROVIDER_URL."
    if settings.provider_key and not settings.provider_url:
        yield (
            {"provider_url", "provider_key"},
            "RELAY_PROVIDER_KEY has no effect without RELAY_PROVIDER_URL: set both, or neither.",
        )
    if settings.provider_proxy and not settings.provider_url:
        yield {"provider_url", "provider_proxy"}, "RELAY_PROVIDER_PROXY has no effect without RELAY_PROVIDER_URL."
    if settings.provider_dialect == "kling" and settings.provider_key:
        halves = settings.provider_key.get_secret_value().split(":")
        if len(halves) > 2 or not all(halves):
            yield (
                {"provider_key"},
                "RELAY_PROVIDER_KEY should be an API key, or ACCESS_KEY:SECRET_KEY, for the dialect kling.",
            )
    if settings.port and settings.port == settings.metrics_port:
        yield {"port", "metrics_port"}, "RELAY_METRICS_PORT should differ from RELAY_PORT."
    for less, word, more in (
        ("sweep_after", "shorter", "task_deadline"),
        ("task_deadline", "shorter", "retention"),
        ("order_body_limit", "smaller", "body_memory"),
    ):
        if getattr(settings, less) >= getattr(settings, more):
            yield {less, more}, f"{PREFIX}{less.upper()} should be {word} than {PREFIX}{more.upper()}."


def _content_faults(settings: Settings) -> Iterator[str]:
    """Yield the faults of files that settings name, and of the sandbox's options. Unset settings cost no import."""
    from kling_relay.core.errors import ConfigurationError  # noqa: PLC0415 - for all of these

    if {"rulebook", "prices"} & settings.model_fields_set:
        from kling_relay.provider.price_file import load_prices  # noqa: PLC0415
        from kling_relay.provider.rulebook_file import load_rulebook  # noqa: PLC0415

        kinds: tuple[str, ...] = ()
        try:
            kinds = load_rulebook(settings.rulebook).kinds
        except ConfigurationError as error:
            yield f"RELAY_RULEBOOK: {error}"
        try:
            load_prices(settings.prices, kinds)
        except ConfigurationError as error:
            yield f"RELAY_PRICES: {error}"
    if settings.sandbox_profile:
        from kling_relay.sandbox.profile import Profile, ProfileError, split_options  # noqa: PLC0415

        try:
            Profile().with_options(split_options(settings.sandbox_profile))
        except ProfileError as error:
            yield from (f"RELAY_SANDBOX_PROFILE: {fault}" for fault in error.faults)


def risks(settings: Settings) -> list[str]:
    """Return what is allowed but seldom intended, as sentences that are logged as warnings at the start."""
    sentences = []
    if settings.provider_url and not settings.public_url:
        sentences.append("RELAY_PUBLIC_URL is not set: the provider will send callbacks to " + settings.own_url)
    if settings.provider_url and not settings.database_url:
        sentences.append(
            "RELAY_DATABASE_URL is not set: real tasks are stored in the embedded PostgreSQL of this machine."
        )
    if settings.database_url and not settings.provider_url:
        sentences.append(
            "RELAY_PROVIDER_URL is not set: a sandbox inside the process replaces the provider. Run a single `up`: a "
            "separate `api` and `worker` would each have a sandbox of their own."
        )
    if any(network.prefixlen == 0 for network in settings.allowed_networks):
        sentences.append(
            "RELAY_ALLOWED_NETWORKS allows every address: deliveries can reach everything that this machine can reach."
        )
    if settings.provider_url and settings.provider_url.startswith("http://"):
        sentences.append("RELAY_PROVIDER_URL is not https: the provider's key is sent in clear text.")
    return sentences
