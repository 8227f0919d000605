"""One host: compose.yaml and the systemd units name only settings that exist, and contain no secret."""

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
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


def unit(path: Path) -> dict[str, list[str]]:
    """Return the values of a unit file by key. A key may be repeated, and is in one section only."""
    values: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


@pytest.mark.parametrize(
    "path",
    ["compose.yaml", "Dockerfile", *(str(path.relative_to(ROOT)) for path in UNITS.rglob("*.*") if path.is_file())],
)
def test_only_settings_that_exist_are_named(path: str) -> None:
    assert set(RELAY_NAME.findall((ROOT / path).read_text())) <= SETTINGS.keys()


def test_compose_starts_every_role_after_the_migration() -> None:
    services = compose()["services"]
    assert {"postgres", "migrate", "api", "worker"} <= services.keys()
    for role in ("api", "worker"):
        assert services[role]["command"] == [role]
        assert services[role]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_compose_containers_have_no_rights_and_a_read_only_root() -> None:
    for name, service in compose()["services"].items():
        if name != "postgres":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_contains_no_secret_and_no_default_for_one() -> None:
    environment = compose()["services"]["api"]["environment"]
    assert re.fullmatch(r"\$\{RELAY_SIGNING_KEYS:\?.+\}", environment["RELAY_SIGNING_KEYS"])
    assert "${POSTGRES_PASSWORD:?" in environment["RELAY_DATABASE_URL"]
    assert environment.keys() >= SECRETS
    made = {"RELAY_DATABASE_URL", "RELAY_SIGNING_KEYS", "RELAY_PROVIDER_KEY"}
    assert not any(environment[name] for name in SECRETS - made)


def test_compose_passes_every_setting_of_a_dot_env_file_on() -> None:
    """A name without a value is taken from the shell or .env, and is not set if it is not there."""
    for role in ("migrate", "api", "worker"):
        service = compose()["services"][role]
        environment = service["environment"]
        assert environment.keys() == SETTINGS.keys()
        fixed = {name for name, value in environment.items() if value is not None and f"${{{name}" not in value}
        assert fixed == {"RELAY_HOST", "RELAY_PORT"}, "the address inside the container"
    assert compose()["services"]["api"]["ports"] == ["127.0.0.1:${RELAY_PORT:-8080}:8080"]


ADMIN = UNITS / "kling-relay-admin"


def test_the_admin_script_runs_a_command_with_the_settings_of_the_units(tmp_path: Path) -> None:
    (tmp_path / "credstore").mkdir()
    (tmp_path / "credstore" / "kling-relay.database-url").write_text("postgresql://relay:a$b'c@db/relay\n")
    (tmp_path / "credstore" / "kling-relay.provider-webhook-secret").write_text("whsec_x\n")
    (tmp_path / "credstore" / "other.secret").write_text("no\n")
    lines = ["# a comment", "", "RELAY_SANDBOX_PROFILE=loss=0.3 doubling=0.3", 'RELAY_PUBLIC_URL="https://a.example"']
    (tmp_path / "settings.env").write_text("\n".join(lines) + "\n")
    program = tmp_path / "kling-relay"
    program.write_text('#!/bin/sh\nenv | grep ^RELAY_ | sort; echo "$@"\n')
    program.chmod(0o755)
    text = ADMIN.read_text()
    for path, stand_in in {
        "/etc/credstore": f"{tmp_path}/credstore",
        "/etc/kling-relay/settings.env": f"{tmp_path}/settings.env",
        "/opt/kling-relay/bin/kling-relay": str(program),
    }.items():
        assert path in text
        text = text.replace(path, stand_in)
    result = subprocess.run(
        ["sh", "-c", text, "admin", "keys", "create", "my backend"],
        env={"PATH": os.defpath},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.splitlines() == [
        "RELAY_DATABASE_URL=postgresql://relay:a$b'c@db/relay",
        "RELAY_PROVIDER_WEBHOOK_SECRET=whsec_x",
        "RELAY_PUBLIC_URL=https://a.example",
        "RELAY_SANDBOX_PROFILE=loss=0.3 doubling=0.3",
        "keys create my backend",
    ]


def test_the_systemd_guide_ends_with_a_first_key() -> None:
    guide = (ROOT / "docs" / "kubernetes.md").read_text("utf-8").partition("## A single host instead")[2]
    assert "deploy/systemd/kling-relay-admin" in guide
    assert "kling-relay-admin keys create my-backend" in guide


@pytest.mark.parametrize("role", ROLES)
def test_a_unit_starts_its_role_with_the_shared_hardening(role: str) -> None:
    own, shared = unit(UNITS / f"kling-relay-{role}.service"), unit(SHARED)
    assert own["ExecStart"] == [f"/opt/kling-relay/bin/kling-relay {role}"]
    assert own["Type"] == ["oneshot" if role == "migrate" else "exec"]
    # A drop-in overrides the unit, so it must not set what differs between units.
    assert not {"Type", "ExecStart", "ExecStartPre", "Restart"} & shared.keys()
    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "RestrictNamespaces", "MemoryDenyWriteExecute"):
        assert shared[name] == ["yes"]
    assert (shared["ProtectSystem"], shared["CapabilityBoundingSet"]) == (["strict"], [""])
    assert {line.partition(":")[0] for line in shared["LoadCredential"]} == SECRETS - {"RELAY_KEY"}


@pytest.mark.parametrize("role", ROLES)
def test_systemd_analyze_accepts_every_unit(role: str, tmp_path: Path) -> None:
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
        result = subprocess.run(
            ["systemd-analyze", *question, f"{tmp_path}/units/{name}"],
            env=environment, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Unknown" not in result.stderr
