"""
The Helm chart of deploy/: Helm itself, and whether Kubernetes would take what it prints.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from conformance.clients.toolchain import make_python
from conformance.runner.processes import ROOT

from .go_program import build_go_program

CHART = ROOT / "deploy" / "helm" / "olgate"
HELM = "v3.19.0"
KUBERNETES = ("1.27", "1.37")
"""The oldest version that the chart names, and the newest whose schemas are at hand."""


class ChartError(Exception):
    """Helm or the check refused; the text is what it said."""


def build_helm() -> Path:
    """
    Return Helm, compiled from its module at a fixed version, now or in another run.

    Raises MissingToolError when there is no Go, and InstallError when it can't be built.
    """
    return build_go_program("helm.sh/helm/v3/cmd/helm", HELM)


def lint(helm: Path, *flags: str) -> str:
    """Run `helm lint`; return what it said. Raises ChartError for a warning, too."""
    return _run([helm, "lint", "--strict", CHART, *flags])


def render(helm: Path, *flags: str, kubernetes: str = KUBERNETES[-1]) -> str:
    """Return what `helm template` prints with these flags. Raises ChartError when it refuses."""
    version = ("--kube-version", f"{kubernetes}.0")
    return _run([helm, "template", "olgate", CHART, *version, *flags])


def check(rendered: Path, kubernetes: str) -> str:
    """
    Check manifests against the schemas of a version of Kubernetes; return what the check said.

    Raises ChartError for whatever that version would refuse, unknown keys included.
    """
    python = make_python("kubernetes")
    flags = ("--strict", "-k", kubernetes)
    return _run([python, "-m", "kubernetes_validate", *flags, rendered])


def manifests(rendered: str) -> dict[tuple[str, str], Any]:
    """Return manifests by their kind and name."""
    documents = [each for each in YAML(typ="safe").load_all(rendered) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChartError(done.stdout + done.stderr)
    return done.stdout + done.stderr
