"""
The lookup of a request in the generated table, by its method and path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..runtime.patching import PassedOn

UNCHANGED = PassedOn("", "/")
"""A request without a row in the table is passed on unchanged."""


class Routes:
    """The rows of the table: a fixed path wins over a pattern, and that over the longest prefix."""

    def __init__(self, rows: Iterable[PassedOn]) -> None:
        listed = list(rows)
        self._fixed = {
            (row.method, row.path): row for row in listed if row.method and "{" not in row.path
        }
        self._patterns = [
            (row.method, _pattern(row.path), row)
            for row in listed
            if row.method and "{" in row.path
        ]
        below = [row for row in listed if not row.method]
        self._below = sorted(below, key=lambda row: len(row.path), reverse=True)

    def find(self, method: str, path: str) -> tuple[PassedOn, dict[str, str]]:
        """
        Return the row of a decoded path, and the values of the row's path parameters.

        A parameter may have slashes in it: LM Studio's names do.
        """
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, {}
        for known, pattern, row in self._patterns:
            if known == method and (found := pattern.fullmatch(path)) is not None:
                return row, found.groupdict()
        below = (row for row in self._below if path.startswith(row.path))
        return next(below, UNCHANGED), {}


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(f"(?P<{part}>.+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    )
