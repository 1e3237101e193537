"""The prompt that asks a model to fill in what stands between two texts."""

from __future__ import annotations

from msgspec import UnsetType

from gateway.fim import MARKERS


def fill_prompt(architecture: str, prompt: str | UnsetType, suffix: str | UnsetType) -> str:
    """
    Return prompt and suffix between the fill-in-the-middle markers of an architecture.

    Where no markers are known it is the prompt alone: what the model says then at least begins in
    the right place. (ollama sheet §5.7)

    >>> fill_prompt("qwen2", "def f(", "): pass")
    '<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>'
    """
    before = "" if isinstance(prompt, UnsetType) else prompt
    after = "" if isinstance(suffix, UnsetType) else suffix
    markers = MARKERS.get(architecture.lower())
    return before if markers is None else markers.fill(before, after)
