"""The environment, read once by the composition root and never anywhere else."""

from service.settings.reading import Settings, SettingsError, read, risks
from service.settings.table import Row, describe

__all__ = ["Row", "Settings", "SettingsError", "describe", "read", "risks"]
