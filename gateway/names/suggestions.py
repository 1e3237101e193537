"""
Names that are similar to an unknown one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from .grammar import DEFAULT_TAG
from .keys import NUMBERED

_ROOTS: Final = frozenset(
    {"data", "home", "media", "mnt", "opt", "root", "srv", "tmp", "users", "usr", "var", "volumes"}
)

_FILE_ENDINGS: Final = (".gguf", ".safetensors", ".bin")

_DRIVE: Final = re.compile(r"[A-Za-z]:(?:[/\\]|$)")


def looks_suspicious(name: str) -> str | None:
    """Return a sentence for the log if a name is probably not the intended one, else None."""
    first = name.partition("/")[0].lower()
    if (
        name.startswith(("/", "~", "."))
        or "\\" in name
        or _DRIVE.match(name)
        or ("/" in name and first in _ROOTS)
    ):
        return f"the model name {name!r} looks like a file path: use a name that /api/tags lists"
    if name.lower().endswith(_FILE_ENDINGS):
        return f"the model name {name!r} ends like a file: use a name that /api/tags lists"
    match = NUMBERED.fullmatch(name)
    if match:
        return (
            f"the tag of the model name {name!r} is a bare number, as in LM Studio's names of "
            f"loaded instances: the model itself is {match['key']!r}"
        )
    return None


_CUTOFF: Final = 0.6

_MAX_COMPARED: Final = 512


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` names that are most similar, best first; letter case does not matter."""
    if not name.strip() or len(name) > _MAX_COMPARED:
        return []
    asked = _spellings(name)
    scored = []
    for known in names:
        score = max(
            (_likeness(left, right) for left in asked for right in _spellings(known)), default=0.0
        )
        if score >= _CUTOFF:
            scored.append((-score, known))
    return [known for _, known in sorted(scored)[:n]]


def _spellings(name: str) -> set[str]:
    """Return the compared forms of a name: whole, without its tag, and without its prefix."""
    whole = name.strip().lower()
    path = whole.rpartition(":")[0] if whole.rfind(":") > whole.rfind("/") else whole
    return {whole.removesuffix(f":{DEFAULT_TAG}"), path, path.rpartition("/")[2]} - {""}


def _likeness(left: str, right: str) -> float:
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if min(len(left), len(right)) >= 3 and (left.startswith(right) or right.startswith(left)):
        # "qwen3" for "qwen3-8b": a common beginning counts more than the share of equal characters.
        return max(matcher.ratio(), 0.8)
    # The upper bounds are cheap, the ratio is not.
    if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
        return 0.0
    return matcher.ratio()
