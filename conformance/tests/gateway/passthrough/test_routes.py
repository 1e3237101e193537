"""Which row of the table a request is passed on by (gateway.passthrough.routes)."""

from __future__ import annotations

import pytest

from gateway.passthrough.routes import UNCHANGED, Routes
from gateway.plans.endpoints import PASSTHROUGH
from gateway.runtime.patching import PassedOn
from gateway.server.dialects import LMSTUDIO_MOUNTS, MOUNTS

ROUTES = Routes(
    [
        PassedOn("", "/v1/"),
        PassedOn("", "/v1/jobs/"),
        PassedOn("POST", "/v1/jobs"),
        PassedOn("GET", "/v1/jobs/{id}"),
        PassedOn("GET", "/v1/jobs/{id}/log"),
        PassedOn("GET", "/v1/jobs/latest"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found", "values"),
    [
        ("POST", "/v1/jobs", "/v1/jobs", {}),
        ("GET", "/v1/jobs", "/v1/", {}),
        ("GET", "/v1/jobs/7", "/v1/jobs/{id}", {"id": "7"}),
        ("HEAD", "/v1/jobs/7", "/v1/jobs/", {}),
        ("GET", "/v1/jobs/a/b c", "/v1/jobs/{id}", {"id": "a/b c"}),
        ("GET", "/v1/jobs/latest", "/v1/jobs/latest", {}),
        ("GET", "/v1/jobs/", "/v1/jobs/", {}),
        ("DELETE", "/v1/jobs/7", "/v1/jobs/", {}),
        ("GET", "/v1/jobsite", "/v1/", {}),
    ],
)
def test_the_most_telling_row_counts(
    method: str, path: str, found: str, values: dict[str, str]
) -> None:
    """A path before a pattern, and that before the longest start of a path."""
    row, given = ROUTES.find(method, path)
    assert (found, values) == (row.path, given)


def test_what_no_row_is_about_is_passed_on_unchanged() -> None:
    """Nothing in it is looked at."""
    assert (UNCHANGED, {}) == ROUTES.find("GET", "/v2/jobs")


@pytest.mark.parametrize("mount", [*MOUNTS, *LMSTUDIO_MOUNTS])
def test_a_model_is_looked_up_below_every_mount(mount: str) -> None:
    """Else LM Studio would let any loaded model answer on a route that nobody has described."""
    row, _ = Routes(PASSTHROUGH).find("POST", f"{mount}some/route")
    assert row.model
    assert row.request
