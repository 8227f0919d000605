"""One host: compose.yaml and the systemd units say only what the service understands, and give away nothing."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kling_relay.settings import describe
from tests.support.paths import ROOT

UNITS = ROOT / "deploy" / "systemd"
SHARED = UNITS / "kling-relay-.service.d" / "hardening.conf"
ROLES = ("api", "worker", "migrate")
SETTINGS = {row.name: row for row in describe()}
SECRETS = {name for name, row in SETTINGS.items() if row.is_secret}
RELAY_NAME = re.compile(r"RELAY_[A-Z_]*[A-Z]")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def unit(path: Path) -> dict[str, list[str]]:
    """What a unit file says, by key; a key may be there several times, and none is in two sections."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    "path", ["compose.yaml", "Dockerfile", *(str(it.relative_to(ROOT)) for it in UNITS.rglob("*.*") if it.is_file())]
)
def test_only_settings_that_exist_are_named(path: str) -> None:
    assert set(RELAY_NAME.findall((ROOT / path).read_text())) <= SETTINGS.keys()


def test_compose_runs_every_role_once_the_schema_is_there() -> None:
    services = compose()["services"]
    assert {"postgres", "migrate", "api", "worker"} <= services.keys()
    for role in ("api", "worker"):
        assert services[role]["command"] == [role]
        assert services[role]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_compose_containers_can_gain_and_change_nothing() -> None:
    for name, service in compose()["services"].items():
        if name != "postgres":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_holds_no_secret_and_invents_none() -> None:
    environment = compose()["services"]["api"]["environment"]
    assert all(re.fullmatch(r"\$\{RELAY_SIGNING_KEYS:\?.+\}", environment[it]) for it in ["RELAY_SIGNING_KEYS"])
    assert "${POSTGRES_PASSWORD:?" in environment["RELAY_DATABASE_URL"]
    assert SECRETS - environment.keys() == {"RELAY_KEY"}


@pytest.mark.parametrize("role", ROLES)
def test_units_start_their_role_and_keep_the_shared_hardening(role: str) -> None:
    own, shared = unit(UNITS / f"kling-relay-{role}.service"), unit(SHARED)
    assert own["ExecStart"] == [f"/opt/kling-relay/bin/kling-relay {role}"]
    assert own["Type"] == ["oneshot" if role == "migrate" else "exec"]
    # What a drop-in sets wins over the unit: it must not speak of what differs.
    assert not {"Type", "ExecStart", "ExecStartPre", "Restart"} & shared.keys()
    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "RestrictNamespaces", "MemoryDenyWriteExecute"):
        assert shared[name] == ["yes"]
    assert (shared["ProtectSystem"], shared["CapabilityBoundingSet"]) == (["strict"], [""])
    assert {it.partition(":")[0] for it in shared["LoadCredential"]} == SECRETS - {"RELAY_KEY"}


@pytest.mark.parametrize("role", ROLES)
def test_systemd_itself_finds_nothing_wrong(role: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine: the units were parsed, but not judged by systemd")
    shutil.copytree(UNITS, tmp_path / "units")
    program = tmp_path / "kling-relay"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    name = f"kling-relay-{role}.service"
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(path.read_text().replace("/opt/kling-relay/bin/kling-relay", str(program)))
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}/units:", "PATH": os.defpath}
    for question in (["verify", "--man=no"], ["security", "--offline=yes", "--threshold=20"]):
        asked = subprocess.run(
            ["systemd-analyze", *question, f"{tmp_path}/units/{name}"],
            env=environment, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "Unknown" not in asked.stderr
