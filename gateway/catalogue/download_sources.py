"""
The download source for a name: pure functions over names.

LM Studio accepts `publisher/model` for models of its online catalogue, and links to Hugging Face.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from msgspec import UNSET, UnsetType

from ..names import grammar
from ..types import internal

_HUGGING_FACE = ("hf.co", "huggingface.co")
_LINK = re.compile(
    r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/([^/\s:]+/[^/\s:]+)(?::([^/\s:]+))?"
)


def download_wish(text: str, mapped: Mapping[str, str]) -> internal.DownloadWish | None:
    """
    Return the download to request from LM Studio, None if LM Studio cannot know the name.

    `mapped` is the configured table from names to keys or links. LM Studio has no names without a
    publisher, so it does not know a name of Ollama's library that has no entry.

    >>> download_wish("qwen/qwen3-8b", {}).model
    'qwen/qwen3-8b'
    >>> wish = download_wish("hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", {})
    >>> wish.model, wish.quantization
    ('https://huggingface.co/unsloth/Qwen3-8B-GGUF', 'Q4_K_M')
    >>> download_wish("llama3.2", {}) is None
    True
    >>> download_wish("llama3.2", {"llama3.2:latest": "meta/llama-3.2-3b"}).model
    'meta/llama-3.2-3b'
    """
    parsed = grammar.parse(text.strip())
    if parsed is None:
        return None
    for name, target in mapped.items():
        entry = grammar.parse(name)
        if entry is not None and entry.folded == parsed.folded:
            return _link(target) or internal.DownloadWish(model=target)
    if parsed.host.lower() in _HUGGING_FACE:
        return _repository(f"{parsed.namespace}/{parsed.model}", parsed.tag)
    is_publishers = parsed.namespace.lower() != grammar.DEFAULT_NAMESPACE
    if parsed.host.lower() != grammar.DEFAULT_HOST or not is_publishers:
        return None
    return internal.DownloadWish(model=f"{parsed.namespace}/{parsed.model}")


def download_names(wish: internal.DownloadWish) -> tuple[str, ...]:
    """
    Return the names that a download may get in LM Studio, as far as its source tells.

    >>> download_names(internal.DownloadWish(model="qwen/qwen3-8b"))
    ('qwen/qwen3-8b', 'qwen3-8b')
    >>> download_names(internal.DownloadWish(model="https://huggingface.co/unsloth/Qwen3-8B-GGUF"))
    ('unsloth/Qwen3-8B-GGUF', 'qwen3-8b')
    """
    return ("/".join(wish.model.split("/")[-2:]), _plain(wish.model))


def downloaded_row(
    wish: internal.DownloadWish, rows: Sequence[internal.CatalogueRow], before: Collection[str]
) -> internal.CatalogueRow | None:
    """
    Return the row of the model that a download has become, None if that is not certain.

    LM Studio does not say what it made of a download. `rows` are the rows after it, `before` the
    request keys before it: a single new model is the downloaded one. If nothing is new, a model
    counts whose key has the source's name, without publisher and the end `-GGUF`.
    """
    new = [row for row in rows if row.request_key not in before]
    found = new or [row for row in rows if _plain(row.key) == _plain(wish.model)]
    if len({row.key for row in found}) != 1:
        return None
    quantization = "" if isinstance(wish.quantization, UnsetType) else wish.quantization.lower()
    variants = [row for row in found if row.request_key.lower().endswith(f"@{quantization}")]
    models = [row for row in found if row.request_key == row.key]
    return next(iter(variants or models or found))


def _plain(source: str) -> str:
    """Return the last part of a key or link in the form in which they are compared."""
    return source.rpartition("/")[2].partition("@")[0].lower().removesuffix("-gguf")


def _link(target: str) -> internal.DownloadWish | None:
    match = _LINK.fullmatch(target)
    return _repository(match[1], match[2] or grammar.DEFAULT_TAG) if match else None


def _repository(path: str, tag: str) -> internal.DownloadWish:
    quantization = UNSET if tag.lower() == grammar.DEFAULT_TAG else tag
    return internal.DownloadWish(model=f"https://huggingface.co/{path}", quantization=quantization)
