"""
What the requests about the library of models say of names and files.

May live here: pure checks of texts. Not here: which models and files there are.
"""

import re

from msgspec import UnsetType

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


def is_digest(digest: str) -> bool:
    """
    Tell whether a text is a digest as Ollama writes it in a path (ollama sheet §5.14).

    >>> is_digest("sha256:" + "0" * 64), is_digest("sha256:abc")
    (True, False)
    """
    return _DIGEST.fullmatch(digest) is not None


def is_some_name(model: str | UnsetType | None, name: str | UnsetType | None) -> bool:
    """
    Tell whether a request names a model by either key, blanks aside (ollama sheet §2.5).

    >>> is_some_name("", "qwen3"), is_some_name("  ", "qwen3")
    (True, False)
    """
    return bool(_stated(model, name).strip())


def _stated(model: str | UnsetType | None, name: str | UnsetType | None) -> str:
    """Return the name: `model` unless it is empty, even when it is blank."""
    if isinstance(model, str) and model:
        return model
    return name if isinstance(name, str) else ""
