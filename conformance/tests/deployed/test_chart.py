"""The Helm chart is what Helm and Kubernetes take, and configures a gateway that starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conformance.clients.toolchain import MissingToolError
from conformance.deploy.balancers import MissingProgramError
from conformance.deploy.chart import (
    KUBERNETES,
    ChartError,
    build_helm,
    check,
    lint,
    manifests,
    render,
)
from conformance.tests.deployed.conftest import required
from gateway.settings.schema import LimitSettings
from gateway.settings.sources import read

VALUES: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "everything": (
        *("--set", "ingress.enabled=true,ingress.tlsSecret=tls,ingress.className=nginx"),
        *("--set", "image.pullSecrets[0]=registry,secrets.existingSecret=olgate"),
        *("--set", "valkey.storageClass=fast,nodeSelector.disk=ssd,podAnnotations.a=b"),
        *("--set", "service.type=LoadBalancer,service.annotations.a=b"),
        *("--set", "tolerations[0].key=a,tolerations[0].operator=Exists"),
    ),
    "a store of one's own": ("--set", "valkey.enabled=false,store.url=rediss://cache:6379/1"),
    "a store with a password": ("--set", "valkey.enabled=false,store.existingSecret=redis"),
    "one gateway": ("--set", "valkey.enabled=false,replicas=1"),
}


@pytest.fixture(scope="session")
def helm() -> Path:
    """Build Helm, or skip and say that there is no Go."""

    def build() -> Path:
        try:
            return build_helm()
        except MissingToolError as error:
            raise MissingProgramError(f"helm: {error}") from None

    return required(build)


def gateway_of(rendered: str) -> Mapping[str, Any]:
    """Return the container of the gateways."""
    pod = manifests(rendered)["Deployment", "olgate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return dict(container)


def test_helm_finds_nothing_to_say(helm: Path) -> None:
    """Not even a warning."""
    assert "0 chart(s) failed" in lint(helm)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_takes_it(helm: Path, tmp_path: Path, values: str, version: str) -> None:
    """By its own schemas, in which a key that nobody knows is an error."""
    file = tmp_path / "rendered.yaml"
    file.write_text(render(helm, *VALUES[values], kubernetes=version), "utf-8")

    said = check(file, version)

    assert len(manifests(file.read_text("utf-8"))) == said.count(" passed for resource ")


def test_the_check_can_fail(helm: Path, tmp_path: Path) -> None:
    """With a key in the wrong place."""
    file = tmp_path / "rendered.yaml"
    text = render(helm).replace("automountServiceAccountToken:", "automountToken:")
    file.write_text(text, "utf-8")

    with pytest.raises(ChartError, match="automountToken"):
        check(file, KUBERNETES[-1])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--set", "replica=3"), "replica"),
        (("--set", "settings.listen.keys={secret}"), "keys"),
        (("--set", "settings.upstream.token=secret"), "token"),
        (("--set", "store.url=redis://:password@cache"), "pattern"),
        (("--set", "valkey.enabled=false"), "several gateways need a store that they share"),
    ],
)
def test_wrong_values_are_refused(helm: Path, flags: tuple[str, ...], sentence: str) -> None:
    """A misspelt one, a secret in plain text, and gateways that would not know of each other."""
    with pytest.raises(ChartError, match=sentence):
        render(helm, *flags)


def test_the_settings_are_settings(helm: Path, tmp_path: Path) -> None:
    """Whole numbers stay whole, although Helm reads all numbers as floats."""
    values = tmp_path / "values.yaml"
    values.write_text("settings: {limits: {body_bytes: 536870912, drain_s: 0.5}}", "utf-8")
    rendered = manifests(render(helm, "-f", str(values)))
    file = tmp_path / "config.toml"
    file.write_text(rendered["ConfigMap", "olgate"]["data"]["config.toml"], "utf-8")

    settings = read({}, {}, file).settings

    assert (536870912, 0.5) == (settings.limits.body_bytes, settings.limits.drain_s)
    assert ("json", "http://lm-studio:1234") == (settings.log.format, settings.upstream.url)


def test_hosts_take_the_place_of_the_one_host(helm: Path) -> None:
    """The default address would be a host that is never there."""
    flags = ("--set", "settings.hosts.studio.url=http://a:1,settings.hosts.studio.tier=2")
    text = manifests(render(helm, *flags))["ConfigMap", "olgate"]["data"]["config.toml"]

    assert "tier = 2\n" in text
    assert "lm-studio" not in text


def test_answers_may_finish(helm: Path) -> None:
    """Kubernetes kills what has not ended by then."""
    spec = manifests(render(helm))["Deployment", "olgate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    accepts = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])

    assert spec["terminationGracePeriodSeconds"] > accepts + LimitSettings().drain_s


@pytest.mark.parametrize(
    ("values", "store"),
    [
        ("defaults", {"name": "OLGATE_STORE_URL", "value": "redis://olgate-valkey:6379/0"}),
        (
            "a store of one's own",
            {"name": "OLGATE_STORE_URL", "value": "rediss://cache:6379/1"},
        ),
        (
            "a store with a password",
            {
                "name": "OLGATE_STORE_URL",
                "valueFrom": {"secretKeyRef": {"name": "redis", "key": "url"}},
            },
        ),
        ("one gateway", {"name": "OLGATE_STORE_PATH", "value": "/data/olgate.sqlite3"}),
    ],
)
def test_gateways_share_the_store_that_is_named(
    helm: Path, values: str, store: dict[str, Any]
) -> None:
    """Valkey's service has the name that the gateways call."""
    rendered = render(helm, *VALUES[values])

    assert [store] == gateway_of(rendered)["env"]
    assert (values == "defaults") == (("Service", "olgate-valkey") in manifests(rendered))
