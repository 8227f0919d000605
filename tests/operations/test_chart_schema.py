"""The migration Job after a restore, and the CronJob that manages partitions as the schema's owner."""

import click

from kling_relay.cli.program import program
from tests.support.chart import CI, MIN, Manifest, objects, of_kind, one, render, selects, templates


def arguments(template: Manifest) -> list[str]:
    manifests: list[str] = template["spec"]["containers"][0]["args"]
    return manifests


def address_of(template: Manifest) -> str:
    """Return the Secret that holds a pod's database URL."""
    (volume,) = [item for item in template["spec"]["volumes"] if item["name"] == "secrets"]
    (secret,) = [
        item["secret"]["name"]
        for item in volume["projected"]["sources"]
        if item["secret"]["items"][0]["path"] == "RELAY_DATABASE_URL"
    ]
    return str(secret)


def test_after_a_restore_only_the_job_runs() -> None:
    manifests = objects("restored")
    assert arguments(templates(manifests)["migrate"]) == ["migrate", "--restored"]
    assert [item["spec"]["replicas"] for item in of_kind(manifests, "Deployment")] == [0, 0]
    assert not [item for item in manifests if "scaleTargetRef" in item.get("spec", {})]
    assert of_kind(render(MIN | {"migrations": {"restored": True, "partitions": {"enabled": True}}}), "CronJob") == []


def test_after_the_restored_job_everything_is_as_before() -> None:
    usual, restored = render(MIN), render(MIN | {"migrations": {"restored": True}})
    assert one(usual, "Job")["metadata"]["name"] != one(restored, "Job")["metadata"]["name"]
    for role in ("api", "worker"):
        assert templates(usual)[role] == templates(restored)[role]


def test_a_cronjob_manages_partitions_as_the_owner_if_enabled() -> None:
    manifests = objects("two-roles")
    cron = one(manifests, "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    pods = templates(manifests)
    assert arguments(pods["partitions"]) == ["migrate", "--drop-old"]
    assert address_of(pods["partitions"]) == address_of(pods["migrate"]) == "kling-relay-owner"
    assert address_of(pods["api"]) == address_of(pods["worker"]) == "kling-relay"
    policy = one(manifests, "NetworkPolicy", "-migrate")
    assert selects(policy["spec"]["podSelector"], pods["partitions"]["metadata"]["labels"])
    assert [name for name in CI if of_kind(objects(name), "CronJob")] == ["two-roles"]


def test_every_command_of_the_chart_exists() -> None:
    for name in CI:
        for template in templates(objects(name)).values():
            for container in template["spec"].get("initContainers", [])[:1] + template["spec"]["containers"][:1]:
                command = program.commands[container["args"][0]]
                assert isinstance(command, click.Command)
                options = {option for parameter in command.params for option in parameter.opts}
                assert {word for word in container["args"][1:] if word.startswith("--")} <= options
