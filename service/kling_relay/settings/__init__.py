"""The settings: the environment, read once by the composition root and nowhere else."""

from kling_relay.settings.load import Settings, SettingsError, read, risks
from kling_relay.settings.postgres_url import server_place
from kling_relay.settings.proxy import provider_proxy
from kling_relay.settings.table import Row, describe

__all__ = ["Row", "Settings", "SettingsError", "describe", "provider_proxy", "read", "risks", "server_place"]
