"""Prompts without a template: raw prompts, and fill-in-the-middle prompts."""

from __future__ import annotations

from msgspec import UnsetType

from ..names.fill_markers import MARKERS


def untemplated_prompt(
    raw: bool | UnsetType | None,
    architecture: str,
    prompt: str | UnsetType,
    suffix: str | UnsetType,
) -> str:
    """
    Return a prompt that no template is applied to: a raw one as it is, else one to be filled in.

    Prompt and suffix then stand between the fill-in-the-middle markers of the architecture; where
    no markers are known it is the prompt alone, so that what the model says at least begins in the
    right place. (docs/facts/ollama.md#generate)

    >>> untemplated_prompt(False, "qwen2", "def f(", "): pass")
    '<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>'
    """
    before = "" if isinstance(prompt, UnsetType) else prompt
    after = "" if isinstance(suffix, UnsetType) else suffix
    markers = None if raw is True else MARKERS.get(architecture.lower())
    return before if markers is None else markers.fill(before, after)
