"""The chart's network: what is public, and what the pods may connect to."""

import ipaddress

import pytest

from tests.support.chart import CI, Manifest, objects, one

each_values_file = pytest.mark.parametrize("name", CI)


def test_only_callbacks_are_public() -> None:
    rules = one(objects("full"), "Ingress", "-callbacks")["spec"]["rules"]
    assert [(rule["host"], [item["path"] for item in rule["http"]["paths"]]) for rule in rules] == [
        ("hooks.example.com", ["/callbacks"])
    ]
    route = one(objects("gateway"), "HTTPRoute", "-callbacks")["spec"]
    assert route["hostnames"] == ["hooks.example.com"]
    (rule,) = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/kling/callbacks"}}]
    assert rule["filters"][0]["urlRewrite"]["path"]["replacePrefixMatch"] == "/callbacks"
    assert one(objects("gateway"), "ConfigMap")["data"]["RELAY_PUBLIC_URL"] == "https://hooks.example.com/kling"


def reaches(policy: Manifest, address: str) -> bool:
    """Return whether a policy allows egress to `address` on ports other than those of PostgreSQL and DNS."""
    target = ipaddress.ip_address(address)
    blocks = [
        item["ipBlock"]
        for rule in policy["spec"]["egress"]
        if {port["port"] for port in rule.get("ports", [])}.isdisjoint({53, 5432, 6432})
        for item in rule["to"]
        if "ipBlock" in item
    ]
    return any(
        target in ipaddress.ip_network(item["cidr"])
        and not any(target in ipaddress.ip_network(hole) for hole in item.get("except", []))
        for item in blocks
    )


@pytest.mark.parametrize("role", ["api", "worker"])
@each_values_file
def test_egress_excludes_private_addresses(name: str, role: str) -> None:
    policy = one(objects(name), "NetworkPolicy", f"-{role}")
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    private = "10.1.2.3 127.0.0.1 169.254.169.254 172.20.0.1 192.168.1.1 100.64.0.1 0.0.0.1 224.0.0.1 255.255.255.255"
    special = "::1 fd00::1 fe80::1 fec0::1 ff02::1 64:ff9b::a00:1 2002:a00:1:: 2001:0:a00:1:: fd00:ec2::254"
    assert [item for item in f"{private} {special}".split() if reaches(policy, item)] == []
    assert all(reaches(policy, item) for item in ("93.184.215.14", "2606:2800:21f:cb07::1"))


def test_allowed_networks_are_allowed_in_the_network_policy() -> None:
    policy = one(objects("full"), "NetworkPolicy", "-worker")
    assert reaches(policy, "10.20.0.7")
    assert reaches(policy, "fd00:20::7")
    assert not reaches(policy, "10.21.0.7")


def test_the_migration_can_reach_only_dns_and_the_database() -> None:
    spec = one(objects("restricted"), "NetworkPolicy", "-migrate")["spec"]
    assert spec["ingress"] == []
    assert [sorted({port["port"] for port in rule["ports"]}) for rule in spec["egress"]] == [[53], [6432]]
