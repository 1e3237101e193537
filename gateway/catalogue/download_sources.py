"""
The download source for a name: pure functions over names.

LM Studio accepts `publisher/model` for models of its online catalogue, and links to Hugging Face.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import UNSET

from gateway.names import grammar
from gateway.types import internal

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


def _link(target: str) -> internal.DownloadWish | None:
    match = _LINK.fullmatch(target)
    return _repository(match[1], match[2] or grammar.DEFAULT_TAG) if match else None


def _repository(path: str, tag: str) -> internal.DownloadWish:
    quantization = UNSET if tag.lower() == grammar.DEFAULT_TAG else tag
    return internal.DownloadWish(model=f"https://huggingface.co/{path}", quantization=quantization)
