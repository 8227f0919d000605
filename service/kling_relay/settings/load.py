"""Reads the environment once, into one frozen value. If it is wrong, every fault is reported as a sentence.

No sentence contains a secret. An unknown RELAY_ name is a fault too, because a misspelt limit would have no effect.
"""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from kling_relay.settings.groups import (
    ClientSettings,
    DeliverySettings,
    LimitSettings,
    ListenSettings,
    ObservabilitySettings,
    ProviderSettings,
    StorageSettings,
)
from kling_relay.settings.table import holds_secret

PREFIX = "RELAY_"
# Kubernetes sets these variables in pods if there is a Service called "relay".
_KUBERNETES = re.compile(r"RELAY_(SERVICE_(HOST|PORT)|PORT_\d+_).*")


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

    @property
    def own_url(self) -> str:
        """The address of this service for the provider, without a trailing slash."""
        return self.public_url or self._listening_url()

    @property
    def service_url(self) -> str:
        """The address of the service for the command line, without a trailing slash."""
        return self.url or self._listening_url()

    def _listening_url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  (a key, not a bind)
        return f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{self.port}"


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
        actual = "" if is_private else f", not {value!r}"
        hint = " (set by Kubernetes for a Service called relay? enableServiceLinks: false)"
        kubernetes = hint if isinstance(value, str) and name == "port" and value.startswith("tcp://") else ""
        sentence = f"{PREFIX}{name.upper()} {reason}{actual}{kubernetes}."
        if sentence not in sentences:
            sentences.add(sentence)
            yield sentence


def _unknown_names(names: Mapping[str, str] | list[str], where: str) -> Iterator[str]:
    setting_names = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in setting_names or _KUBERNETES.fullmatch(upper):
            continue
        nearest = get_close_matches(upper, setting_names, n=1)
        yield f"{name}{where} is not a setting{f'; did you mean {nearest[0]}?' if nearest else '.'}"


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
    if settings.provider_dialect == "kling" and settings.provider_key:
        halves = settings.provider_key.get_secret_value().split(":")
        if len(halves) > 2 or not all(halves):
            yield (
                {"provider_key"},
                "RELAY_PROVIDER_KEY should be an API key, or ACCESS_KEY:SECRET_KEY, for the dialect kling.",
            )
    if settings.port and settings.port == settings.metrics_port:
        yield {"port", "metrics_port"}, "RELAY_METRICS_PORT should differ from RELAY_PORT."
    for shorter, longer in (("sweep_after", "task_deadline"), ("task_deadline", "retention")):
        if getattr(settings, shorter) >= getattr(settings, longer):
            yield (
                {shorter, longer},
                f"{PREFIX}{shorter.upper()} should be shorter than {PREFIX}{longer.upper()}.",
            )


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
