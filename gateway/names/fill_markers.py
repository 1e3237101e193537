"""
Fill-in-the-middle: the markers that a family of models was trained with, and the models that know
them.

The catalogue adds the architectures that a setting names.

An architecture alone is not enough, because a chat model and a code model may share one. A row of
the table holds the markers of one family of code models, and the words that occur in the family's
names. Families that share an architecture with another row (old DeepSeek Coder is a llama, and so
is Codestral as GGUF) are left out rather than guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["MARKERS", "Markers", "knows"]


@dataclass(frozen=True, slots=True)
class Markers:
    """The prompt of one family, and the words in its models' names."""

    template: str
    words: tuple[str, ...]
    """A model belongs to the family when its key has one of these..."""
    without: tuple[str, ...] = ()
    """...and none of these, which mark members that were not trained to fill in."""

    def fill(self, prompt: str, suffix: str) -> str:
        """Return the prompt that asks for the text between the two texts."""
        return self.template.format(prompt=prompt, suffix=suffix)


_PIPED: Final = "<|fim_prefix|>{prompt}<|fim_suffix|>{suffix}<|fim_middle|>"
_PLAIN: Final = "<fim_prefix>{prompt}<fim_suffix>{suffix}<fim_middle>"
_EMBEDDING: Final = ("embed",)
"""Embedding models are derived from code models and keep the architecture."""

_QWEN: Final = Markers(_PIPED, ("coder",), _EMBEDDING)
_GEMMA: Final = Markers(_PIPED, ("codegemma", "code-gemma"), ("-it",))
_STARCODER: Final = Markers(_PLAIN, ("starcoder",), ("instruct", *_EMBEDDING))
_STABLE: Final = Markers(_PLAIN, ("stable-code", "stablecode"), ("instruct",))
_DEEPSEEK: Final = Markers(
    "<\N{FULLWIDTH VERTICAL LINE}fim\N{LOWER ONE EIGHTH BLOCK}begin\N{FULLWIDTH VERTICAL LINE}>"
    "{prompt}"
    "<\N{FULLWIDTH VERTICAL LINE}fim\N{LOWER ONE EIGHTH BLOCK}hole\N{FULLWIDTH VERTICAL LINE}>"
    "{suffix}"
    "<\N{FULLWIDTH VERTICAL LINE}fim\N{LOWER ONE EIGHTH BLOCK}end\N{FULLWIDTH VERTICAL LINE}>",
    ("coder",),
)
_CODELLAMA: Final = Markers(
    "<PRE> {prompt} <SUF>{suffix} <MID>",
    ("codellama", "code-llama"),
    ("python", "instruct", "34b", "70b"),
)
_CODESTRAL: Final = Markers("[SUFFIX]{suffix}[PREFIX] {prompt}", ("codestral",), ("mamba", "embed"))

MARKERS: Final[Mapping[str, Markers]] = MappingProxyType(
    {
        "deepseek2": _DEEPSEEK,
        "deepseek_v2": _DEEPSEEK,
        "gemma": _GEMMA,
        "gpt_bigcode": _STARCODER,
        "llama": _CODELLAMA,
        "mistral": _CODESTRAL,
        "qwen2": _QWEN,
        "qwen3": _QWEN,
        "qwen3_moe": _QWEN,
        "qwen3_next": _QWEN,
        "qwen3moe": _QWEN,
        "qwen3next": _QWEN,
        "stablelm": _STABLE,
        "starcoder": _STARCODER,
        "starcoder2": _STARCODER,
    }
)
"""By architecture, in lower case, as GGUF and MLX models state it."""


def knows(architecture: str, key: str) -> bool:
    """
    Return whether a model was certainly trained with the markers of its architecture.

    `key` is LM Studio's model key. False only means that it is not known.

    >>> knows("qwen2", "qwen/qwen2.5-coder-7b"), knows("qwen2", "qwen2.5-7b-instruct")
    (True, False)
    """
    markers = MARKERS.get(architecture.lower())
    if markers is None:
        return False
    key = key.lower()
    return any(word in key for word in markers.words) and not any(
        word in key for word in markers.without
    )
