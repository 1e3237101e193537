"""Values of older hosts' model lists, in the form of the newest one."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from ..types import internal


def is_vision_type(kind: str) -> bool | UnsetType:
    """
    Whether a model sees, by the type that /api/v0 gives it; absent when the type does not tell.

    (docs/facts/lmstudio.md#v0-words)

    >>> is_vision_type("vlm"), is_vision_type("llm"), is_vision_type("embeddings")
    (True, False, UNSET)
    """
    return {"vlm": True, "llm": False}.get(kind, UNSET)


def lists_tool_use(capabilities: list[str]) -> bool:
    """
    Whether a list of capabilities names tool use.

    (docs/facts/lmstudio.md#v0-words)

    >>> lists_tool_use(["tool_use"]), lists_tool_use([])
    (True, False)
    """
    return "tool_use" in capabilities


def v0_instances(
    id: str, state: str | UnsetType | None, context_length: int | float | UnsetType | None
) -> list[internal.HostInstance]:
    """
    Return the loaded instances that a row of /api/v0 stands for: one, or none.

    (docs/facts/lmstudio.md#v0-models)

    >>> (one,) = v0_instances("m", "loaded", 4096)
    >>> one.id, one.context_length, v0_instances("m", "not-loaded", UNSET)
    ('m', 4096, [])
    """
    if state != "loaded":
        return []
    known = UNSET if context_length is None else context_length
    return [internal.HostInstance(id=id, context_length=known)]


def stated_vision(
    vision: bool | UnsetType | None, adapter: bool | UnsetType | None
) -> bool | UnsetType:
    """
    Return whether a model sees, UNSET where the host does not say.

    Models of type decision state an adapter instead (docs/facts/lmstudio.md#decision-models).

    >>> stated_vision(UNSET, True), stated_vision(False, UNSET), stated_vision(None, None)
    (True, False, UNSET)
    """
    for stated in (vision, adapter):
        if isinstance(stated, bool):
            return stated
    return UNSET
