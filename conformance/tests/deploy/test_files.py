"""The files in deploy/ and the release name what exists here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from gateway.settings.sources import read

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")


def test_the_image_copies_what_is_here_and_not_ignored() -> None:
    """What `.dockerignore` hides can't be copied."""
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        copied.update(sources.split())

    assert copied
    assert copied <= allowed
    assert [] == [name for name in copied if not (ROOT / name).exists()]


def test_the_images_settings_are_settings() -> None:
    """An unknown variable would end the gateway at its start."""
    variables = dict(re.findall(r"(OLGATE_\w+)=(\S+)", DOCKERFILE))
    settings = read({}, variables, None).settings

    assert 3 == len(variables)
    assert "0.0.0.0" == settings.listen.host
    assert f"EXPOSE {settings.listen.port}" in DOCKERFILE
    assert settings.store.path
    assert settings.store.path.startswith("/data/")


def test_the_image_does_not_run_as_root() -> None:
    """The last user of the last stage is somebody else."""
    assert "10001:10001" == re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]


def test_the_compose_file_builds_this_image() -> None:
    """Its settings are settings, also when the person has set none of its variables."""
    services = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]
    build = services["olgate"]["build"]
    environment = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for name, value in services["olgate"]["environment"].items()
    }

    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert None is read({}, environment, None).settings.upstream.token
    assert services["open-webui"]["environment"]["OLLAMA_BASE_URL"].endswith(":11434")


def test_the_fleets_containers_find_each_other() -> None:
    """By the names and ports that are in the files which they mount."""
    folder = ROOT / "deploy" / "fleet"
    services = YAML(typ="safe").load(folder / "compose.yaml")["services"]
    balancer = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text("utf-8")
    settings = tomllib.loads((folder / "olgate.toml").read_text("utf-8"))
    gateways = {name: one for name, one in services.items() if name.startswith("gateway")}
    mounts = [path for one in services.values() for path in one["volumes"] if path[0] == "."]

    assert {name: f"{name}:11434" for name in gateways} == dict(
        re.findall(r"^  server (\S+) (\S+)$", balancer, re.MULTILINE)
    )
    for one in gateways.values():
        assert (folder / one["build"]["context"] / one["build"]["dockerfile"]).exists()
    assert urlsplit(settings["store"]["url"]).hostname in services
    assert services["open-webui"]["environment"]["OLLAMA_BASE_URL"] == "http://balancer:11434"
    assert 3 == len(mounts)
    assert all((folder / path.split(":")[0]).exists() for path in mounts)


def test_a_release_is_checked_before_anything_is_published() -> None:
    """Both kinds of result wait for `.ci/run`."""
    jobs = YAML(typ="safe").load(ROOT / ".github/workflows/release.yml")["jobs"]
    check = jobs.pop("check")

    assert {"run": "bash .ci/run"} in check["steps"]
    assert {"check"} == {job["needs"] for job in jobs.values()}
