"""The commands of the pages for operators, and those of the README that need a set-up.

What a test can do is done as it is written there, against a real server; where it takes a package
manager, a container engine or a cluster, all that the commands name is looked up. (The ```sh blocks
of README.md, proto/API.md and strategies/CHOOSING.md are run by tests/tidy/readme_test.)
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from engram_server import EngramServer, program
from page_machine import SOURCE, Machine, free_address

OPERATING = SOURCE / "deploy" / "OPERATING.md"
DEPLOY = SOURCE / "deploy" / "README.md"
README = SOURCE / "README.md"
CREDENTIALS = SOURCE / "deploy" / "development_credentials"
CHART = SOURCE / "deploy" / "helm" / "engram"
ENGRAM = str(program("engram"))

# How each block begins, and the test that has it: a new one must get one.
TESTED = {
    OPERATING: {
        "deploy/install_dependencies": "test_the_package_is_built_where_the_page_says",
        "cmake --install": "fixture_machine",
        "install -m 0644 deploy/prometheus/prometheus.yml": "test_prometheus_and_grafana",
        "systemctl stop engramd": "test_a_backup_is_restored",
    },
    DEPLOY: {
        "umask 077; openssl": "test_a_token_is_made",
        "docker compose": "test_compose_has_the_token",
        "kubectl create secret": "test_the_chart_takes_what_the_page_gives_it",
    },
    README: {
        "export PATH=": "readme_test puts the same on its path",
        "./deploy/development_credentials": "test_a_server_with_credentials",
        "safetensors.torch.save_file": "Python, with an ellipsis",
        "engram model create digits": "test_a_model_from_pretrained_weights",
        "cmake --preset release": "tests/run does it",
    },
}


def blocks(page: Path, kind: str) -> list[str]:
    """The text of the page's fences of one kind, without their indentation."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.M | re.S)
    return [textwrap.dedent(text) for name, text in fences if name == kind]


def block(page: Path, beginning: str) -> str:
    (found,) = [text for text in blocks(page, "text") if text.startswith(beginning)]
    return found


def joined_lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("page", TESTED, ids=lambda page: str(page.relative_to(SOURCE)))
def test_every_block_has_its_test(page: Path) -> None:
    found = blocks(page, "text")
    for text in found:
        assert [b for b in TESTED[page] if text.startswith(b)], f"no test runs:\n{text}"
        if not text.startswith("safetensors."):
            subprocess.run(["bash", "-n", "-c", text], check=True)
    assert len(found) == len(TESTED[page])


# --- a machine without a package manager


@pytest.fixture(scope="module", name="machine")
def fixture_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Installed from the build folder, as OPERATING.md says; engramd runs by its unit."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.path("/etc/default").mkdir(parents=True)
    machine.path("/var/backups").mkdir(parents=True)
    try:
        machine.run(block(OPERATING, "cmake --install"))
        machine.wait_until_it_answers()
        yield machine
    finally:
        machine.stop()


def test_the_installed_server_runs_by_its_unit(machine: Machine) -> None:
    done = machine.path("systemctl").read_text().splitlines()
    assert done == ["daemon-reload", "enable --now engramd"]
    assert machine.path("users").read_text() == "engram\n"
    assert machine.path("/etc/default/engramd").exists()
    assert (machine.path("/var/lib/engram/data").stat().st_mode & 0o777) == 0o700


def test_a_backup_is_restored(machine: Machine) -> None:
    with machine.path("/etc/engram/engramd.textproto").open("a") as config:
        config.write(f'backups {{ folder: "{machine.path("/var/backups/engram")}" }}\n')
    machine.run("systemctl stop engramd; systemctl start engramd")
    machine.wait_until_it_answers()
    machine.run(
        "engram model create pets --features 2 --hidden 4;"
        "printf 'cat,1,2\\ndog,3,4\\n' | engram learn pets --wait"
    )
    machine.run("engram backup create 20260101T030000Z")
    kept = machine.run("engram model list --json")
    machine.run("engram model create later --features 2 --hidden 4")
    machine.run(block(OPERATING, "systemctl stop engramd"))
    machine.wait_until_it_answers()
    restored = machine.run("engram model list --json")
    assert '"name":"pets"' in kept and '"name":"later"' not in restored
    assert restored.count("\n") == kept.count("\n") == 1
    assert machine.path("/var/lib/engram/data.damaged").is_dir()


def test_prometheus_and_grafana(machine: Machine) -> None:
    machine.path("/etc/prometheus").mkdir()
    for kind in ("datasources", "dashboards"):
        machine.path(f"/etc/grafana/provisioning/{kind}").mkdir(parents=True)
    said = machine.run(block(OPERATING, "install -m 0644 deploy/prometheus/prometheus.yml"))
    assert "SUCCESS" in said
    provider = machine.path("/etc/grafana/provisioning/dashboards/engram.yml").read_text()
    folder = yaml.safe_load(provider)["providers"][0]["options"]["path"]
    assert machine.path(f"{folder}/engram.json").exists(), "where its provider looks for it"
    done = machine.path("systemctl").read_text().splitlines()
    assert done[-2:] == ["restart prometheus", "restart grafana-server"]


# --- credentials


@pytest.fixture(scope="module", name="credentials")
def fixture_credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("credentials") / "made"
    subprocess.run([CREDENTIALS, folder], check=True, capture_output=True)
    return folder


def test_a_token_is_made(credentials: Path, start_server: Callable[..., EngramServer]) -> None:
    commands = block(DEPLOY, "umask 077; openssl")
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=credentials, check=True)
    assert ((credentials / "camera.token").stat().st_mode & 0o777) == 0o600
    server = start_server((credentials / "engramd.textproto").read_text())
    call = [ENGRAM, "--server", server.grpc_address, "--tls_ca", str(credentials / "ca.pem")]
    call += ["--token_file", str(credentials / "camera.token")]
    subprocess.run([*call, "model", "list"], check=True, capture_output=True)
    refused = subprocess.run(
        [*call, "model", "create", "m", "--features", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "camera" in refused.stderr or "PERMISSION_DENIED" in refused.stderr, refused


def test_a_server_with_credentials(tmp_path: Path) -> None:
    """On loopback, under this machine's name for itself."""
    (tmp_path / "deploy").symlink_to(SOURCE / "deploy")
    host, port = free_address().split(":")
    text = block(README, "./deploy/development_credentials").replace("HOSTNAME", "localhost")
    make, serve, ask = joined_lines(text.replace("0.0.0.0", host).replace("7401", port))
    path = f"{program('engramd').parent}:{program('engram').parent}:{os.environ['PATH']}"

    def bash(line: str) -> list[str]:
        home = ["env", f"HOME={tmp_path}", f"PATH={path}", "setpriv", "--pdeathsig", "KILL"]
        return [*home, "bash", "-c", line]

    subprocess.run(bash(make), cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "engramd.log").open("wb") as log:
        server = subprocess.Popen(
            bash(f"exec {serve} --http_listen=127.0.0.1:0"), cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while (done := subprocess.run(bash(ask), capture_output=True, text=True)).returncode != 0:
            assert server.poll() is None, (tmp_path / "engramd.log").read_text()
            assert time.monotonic() < deadline, done.stderr
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


def test_a_model_from_pretrained_weights(shared_server: EngramServer, tmp_path: Path) -> None:
    """The file is another model's."""
    create = block(README, "engram model create digits")
    path = f"{Path(ENGRAM).parent}:{os.environ['PATH']}"
    before = "engram model create trained --features 784 --hidden 256,256 >/dev/null\n"
    rows = "".join(f"{label}" + f",{label}" * 784 + "\n" for label in range(2))
    (tmp_path / "rows.csv").write_text(rows)
    before += "engram learn trained --csv rows.csv --wait >/dev/null\n"
    before += "engram checkpoint create trained >/dev/null\n"
    before += "engram checkpoint export trained --out trunk.safetensors >/dev/null\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", before + create],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "ENGRAM_SERVER": shared_server.grpc_address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "feature_extraction" in done.stdout


# --- what only a machine, an engine or a cluster can do


def test_the_package_is_built_where_the_page_says() -> None:
    install, build, pack = joined_lines(block(OPERATING, "deploy/install_dependencies"))
    script, option = install.split()
    assert os.access(SOURCE / script, os.X_OK) and option in (SOURCE / script).read_text()
    presets = (SOURCE / "CMakePresets.json").read_text()
    assert set(re.findall(r"--preset (\w+)", build)) == {"release"} and '"release"' in presets
    (switch,) = re.findall(r"-D(\w+)=OFF", build)
    assert f"option({switch} " in (SOURCE / "CMakeLists.txt").read_text()
    assert "${sourceDir}/build/${presetName}" in presets
    # Where cpack writes when it is told nothing; the suite's own package test names it the same.
    assert "(cd build/release && cpack) && apt install ./build/release/engram_*.deb" in pack
    named = (SOURCE / "deploy" / "cmake" / "EngramPackage.cmake").read_text()
    assert "ENGRAM_PACKAGE_FILE engram_${PROJECT_VERSION}" in named


def test_compose_has_the_token(credentials: Path) -> None:
    words = block(DEPLOY, "docker compose").split()
    compose = yaml.safe_load((SOURCE / words[words.index("-f") + 1]).read_text())
    service = compose["services"][words[words.index("exec") + 1]]
    folder, name = words[-1].rsplit("/", 1)
    assert f"credentials:{folder}:ro" in service["volumes"]
    assert (credentials / name).exists()


def test_the_chart_takes_what_the_page_gives_it(credentials: Path) -> None:
    tls, tokens, helm = joined_lines(block(DEPLOY, "kubectl create secret"))
    for file in re.findall(r"=([\w.]+)(?= |$)", f"{tls} {tokens}"):
        assert (credentials / file).exists(), f"{file}: development_credentials makes none"
    template = (CHART / "templates" / "statefulset.yaml").read_text()
    assert tokens.endswith("--from-file=tokens") and "/etc/engram/tokens/tokens " in template
    assert helm.startswith("helm install prod deploy/helm/engram --set ")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    given = dict(pair.split("=") for pair in helm.rsplit(" ", 1)[1].split(","))
    assert set(given.values()) == {tls.split()[4], tokens.split()[4]}
    for path in given:
        above, name = path.split(".")
        assert name in values[above]


# --- every mention, on every page


@pytest.fixture(scope="module", name="flags")
def fixture_flags() -> dict[str, set[str]]:
    """Of every verb, as the manual has them, and of engramd."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    pages = said(ENGRAM, "help", "--man").replace("\\-", "-").split('\n.SS "')
    everywhere, *sections = [set(re.findall(r"^\\fB--(\w+)", page, re.M)) for page in pages]
    verbs = [page[: page.index('"')] for page in pages[1:]]
    assert "json" in everywhere and len(verbs) > 30
    known = {verb: section | everywhere for verb, section in zip(verbs, sections)}
    server = set(re.findall(r"^    --(\w+)", said(str(program("engramd")), "--help"), re.M))
    return {**known, "help": everywhere | {"man"}, "engramd": server | {"help"}}


# A call of engram or engramd: the flags before the verb, and the rest.
CALL = re.compile(r"(?:sudo -u engram )?(engramd?) ((?:--json |--\w+[= ]\S+ )*)(.*)")


def mentions(page: Path) -> Iterator[str]:
    """What is called on a page: lines of fences, and code within a line."""
    text = page.read_text()
    for fence in re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.M | re.S):
        yield from joined_lines(fence)
    for code in re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)):
        yield " ".join(code.split())


def test_every_verb_and_flag_that_a_page_names_exists(flags: dict[str, set[str]]) -> None:
    pages = [page for page in SOURCE.rglob("*.md") if page.relative_to(SOURCE).parts[0] != "build"]
    seen = 0
    for page in pages:
        for mention in mentions(page):
            called = CALL.match(mention)
            if not called:
                continue
            program_name, first_flags, rest = called.groups()
            rest = re.split(r" [|>&;] ?", rest)[0].replace("|--", " --")
            verb = program_name
            if verb == "engram":
                words = re.match(r"([a-z]+)(?: ([a-z]+))?", rest)
                if not words:
                    continue
                verb = words.group(0) if words.group(0) in flags else words.group(1)
            names = set(re.findall(r"(?<!\S)--(\w+)", first_flags + rest))
            is_group = any(known.startswith(verb + " ") for known in flags)
            assert verb in flags or (is_group and not names), f"{page}: {mention}"
            assert names <= flags.get(verb, set()), f"{page}: {mention}: {names - flags[verb]}"
            seen += 1
    assert seen > 100, "the pattern finds too little"
