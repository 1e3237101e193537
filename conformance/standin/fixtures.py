"""Answers from fixture files: a folder of YAML files, each one exchange (its request, its bytes).

This is the only place that needs a YAML library, and it is imported only when a folder is given.
"""

from pathlib import Path
from typing import Any

import msgspec

from conformance.standin.script import Answer
from conformance.standin.wire import Request


class Asked(msgspec.Struct, frozen=True):
    """The request a fixture answers; `body` names the fields that must be the same."""

    path: str
    method: str = "POST"
    body: dict[str, Any] = {}

    def fits(self, request: Request) -> bool:
        """Say whether a request is the one meant."""
        if (self.method, self.path) != (request.method, request.path):
            return False
        return includes(request.body, self.body)


class Recorded(msgspec.Struct, frozen=True):
    """One fixture file."""

    request: Asked
    response: Answer
    provenance: dict[str, str] = {}


def includes(whole: Any, part: Any) -> bool:
    """Say whether a JSON value holds another: objects by their keys, all else by equality."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and includes(whole[key], value) for key, value in part.items()
        )
    return bool(whole == part)


class Fixtures:
    """The fixtures of a folder, read once. Those that say more of the body come first."""

    def __init__(self, folder: Path) -> None:
        self.recorded = [read_fixture(path) for path in sorted(folder.rglob("*.yaml"))]
        self.recorded.sort(key=lambda one: -len(one.request.body))

    def find(self, request: Request) -> Answer | None:
        """Return the answer for a request, or None."""
        return next((one.response for one in self.recorded if one.request.fits(request)), None)


def read_fixture(path: Path) -> Recorded:
    """Read one file. Raises ValueError that names the file and the place."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
        return msgspec.convert(value, Recorded)
    except (YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: this is no fixture: {error}") from error
