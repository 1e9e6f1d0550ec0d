"""Image, compose file and chart against each other and against the files that they name.

None of them can be started in the suite (that takes a container engine or a cluster), and a
template renders a misspelt value as nothing without a word. What can be seen by reading is seen
here.
"""

import json
import pathlib
import re
from typing import Any, Iterator

import pytest
import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = SOURCE / "deploy"
CHART = DEPLOY / "helm" / "engram"


def read_yaml(path: pathlib.Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(name="compose")
def fixture_compose() -> dict[str, Any]:
    return read_yaml(DEPLOY / "compose" / "compose.yaml")


@pytest.fixture(name="version")
def fixture_version() -> str:
    text = (SOURCE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(r"project\(engram VERSION ([0-9.]+)", text)
    assert found
    return found.group(1)


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        yield source, target


def test_everything_is_of_one_version(compose: dict[str, Any], version: str) -> None:
    chart = read_yaml(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for name in ("credentials", "engramd"):
        assert compose["services"][name]["image"] == f"engram:{version}"


def test_what_compose_mounts_is_there(compose: dict[str, Any]) -> None:
    mounted = [each for service in compose["services"].values() for each in mounts(service)]
    assert len(mounted) > 8
    for source, _ in mounted:
        if source.startswith("."):
            assert (DEPLOY / "compose" / source).exists(), source
        else:
            assert source in compose["volumes"], source


def test_compose_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [p for service in compose["services"].values() for p in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_prometheus_of_compose_has_the_rules_and_the_authority(compose: dict[str, Any]) -> None:
    configured = read_yaml(DEPLOY / "compose" / "prometheus.yml")
    alone = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    assert configured["rule_files"] == alone["rule_files"]
    job, = configured["scrape_configs"]
    assert job["job_name"] == alone["scrape_configs"][0]["job_name"]
    service = compose["services"]["prometheus"]
    targets = {target for _, target in mounts(service)}
    for file in configured["rule_files"]:
        assert f"/etc/prometheus/{file}" in targets
    assert "/etc/prometheus/authority" in targets
    authority = pathlib.PurePosixPath(job["tls_config"]["ca_file"])
    assert authority.parent == pathlib.PurePosixPath("authority")
    assert f"/etc/engram/{authority}" in " ".join(compose["services"]["credentials"]["command"])
    # A certificate for the name that is scraped.
    host = job["static_configs"][0]["targets"][0].split(":")[0]
    assert host in compose["services"]
    assert re.search(rf"\b{host}\n", compose["services"]["credentials"]["command"][0])


def test_grafana_of_compose_asks_its_prometheus() -> None:
    provisioned = read_yaml(DEPLOY / "compose" / "grafana_datasource.yml")
    alone = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "engram.yml")
    source, = provisioned["datasources"]
    assert source.pop("url") == "http://prometheus:9090"
    alone["datasources"][0].pop("url")
    assert source == alone["datasources"][0]


def test_limits_of_the_container_are_those_of_the_unit(compose: dict[str, Any]) -> None:
    unit = (DEPLOY / "systemd" / "engramd.service").read_text(encoding="utf-8")
    service = compose["services"]["engramd"]
    assert f"TasksMax={service['pids_limit']}\n" in unit
    assert f"MemoryMax={service['mem_limit'].upper()}\n" in unit
    assert f"LimitNOFILE={service['ulimits']['nofile']}\n" in unit
    assert f"TimeoutStopSec={service['stop_grace_period'].rstrip('s')}\n" in unit


def test_the_unit_knows_codes_that_engramd_leaves_with() -> None:
    unit = (DEPLOY / "systemd" / "engramd.service").read_text(encoding="utf-8")
    page = (DEPLOY / "OPERATING.md").read_text(encoding="utf-8")
    codes = re.search(r"^RestartPreventExitStatus=(.+)$", unit, re.MULTILINE)
    assert codes
    for code in codes.group(1).split():
        assert re.search(rf"^\| {code} \| EX_", page, re.MULTILINE), f"no row for {code}"


def test_the_chart_runs_as_the_images_user() -> None:
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE)
    assert user and f"--uid {user.group(1)} --gid {user.group(2)} " in image
    names = (CHART / "templates" / "_names.tpl").read_text(encoding="utf-8")
    assert f"runAsUser: {user.group(1)}\nrunAsGroup: {user.group(2)}\n" in names
    assert f"fsGroup: {user.group(2)}\n" in names


def test_every_value_that_a_template_reads_exists() -> None:
    values = read_yaml(CHART / "values.yaml")
    read = set()
    for template in (CHART / "templates").iterdir():
        read |= set(re.findall(r"\.Values\.([A-Za-z.]+)", template.read_text(encoding="utf-8")))
    assert len(read) > 30
    for path in read:
        at = values
        for key in path.split("."):
            assert isinstance(at, dict) and key in at, f"a template reads .Values.{path}"
            at = at[key]
    leaves = {".".join(path) for path in paths_of(values)}
    unread = {leaf for leaf in leaves if not any(
        leaf == path or leaf.startswith(path + ".") for path in read)}
    assert not unread, "values that no template reads"


def paths_of(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from paths_of(value, (*above, key))
        else:
            yield (*above, key)


def test_the_schema_knows_the_values_and_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def compare(values: dict[str, Any], schema: dict[str, Any], above: str) -> None:
        assert schema["additionalProperties"] is False, above
        # "global" belongs to helm.
        assert set(values) == set(schema["properties"]) - {"global"}, above
        for key, value in values.items():
            if "properties" in schema["properties"][key]:
                compare(value, schema["properties"][key], f"{above}.{key}")

    compare(read_yaml(CHART / "values.yaml"), schema, "values")
