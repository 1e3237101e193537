"""
From a host's model to catalogue rows: names, variants, capabilities, digests.

These are pure functions. Values that the host does not state are estimated from the name. The
capability itself then stays `unknown`, because only a stated no may refuse a request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..names import estimates, fill_markers, keys
from ..types import internal

T = TypeVar("T")
CapabilityWords: TypeAlias = Sequence[tuple[str, str]]
"""Pairs of a capability and the client API's word for it, in the order of its lists."""


def rows_of(
    model: internal.HostModel,
    modified_at: str,
    insert_architectures: Collection[str],
    words: CapabilityWords,
) -> Iterator[internal.CatalogueRow]:
    """
    Yield a model's rows: one with the tag `latest`, and one for each variant if it has several.

    A single variant gets no row, but its name still resolves (see `other_names`).
    `modified_at` goes into the rows as it is; `insert_architectures` are further architectures that
    can fill in the middle. `words` names the capabilities that clients see.
    """
    key, own_variant = keys.split_variant(model.key)
    variants = [keys.split_variant(text)[1] for text in _or(model.variants, [])]
    named = [variant for variant in variants if variant is not None]
    selected = keys.split_variant(_or(model.selected_variant, ""))[1]
    yield _row(
        model, key, own_variant, model.key, model.key, modified_at, insert_architectures, words
    )
    if len(named) > 1:
        for variant in named:
            of_variant = _as_variant(model, variant, is_selected=variant == selected)
            request_key = f"{key}@{variant}"
            instances_of = model.key if variant == selected else request_key
            yield _row(
                of_variant,
                key,
                variant,
                request_key,
                instances_of,
                modified_at,
                insert_architectures,
                words,
            )


def other_names(model: internal.HostModel) -> Iterator[tuple[str, str]]:
    """Yield further exact names of a model, each with the name of its row."""
    key, own_variant = keys.split_variant(model.key)
    latest = keys.canonical(key, own_variant)
    several = len(_or(model.variants, [])) > 1
    by_variant: dict[str | None, str] = {}
    for text in _or(model.variants, []):
        variant = keys.split_variant(text)[1]
        if variant is not None:
            named = keys.canonical(key, variant)
            by_variant[variant] = named if several else latest
            yield text, by_variant[variant]
            if not several:
                yield named, latest
    for instance in _or(model.instances, []):
        yield instance.id, by_variant.get(_variant_in(instance.id), latest)


def _row(
    model: internal.HostModel,
    key: str,
    variant: str | None,
    request_key: str,
    instances_of: str,
    modified_at: str,
    insert_architectures: Collection[str],
    words: CapabilityWords,
) -> internal.CatalogueRow:
    architecture = _or(model.architecture, "") or estimates.architecture(key)
    parameter_size = _or(model.parameters, "") or estimates.parameter_size(key)
    quantization = _or(model.quantization, "") or estimates.quantization(variant or key)
    count = estimates.parameter_count(parameter_size)
    kind = _kind(model)
    capabilities = _capabilities(model, kind, architecture, insert_architectures)
    context = _or(model.max_context_length, 0)
    row = internal.CatalogueRow(
        key=model.key,
        request_key=request_key,
        instances_of=instances_of,
        name=keys.canonical(key, variant),
        kind=kind,
        display_name=_or(model.display_name, "") or key.rsplit("/", 1)[-1],
        architecture=architecture,
        family=architecture,
        format=_or(model.format, ""),
        quantization=quantization,
        parameter_size=parameter_size,
        parameter_count=count if count is not None else UNSET,
        size_bytes=int(_or(model.size_bytes, 0)) or estimates.size_bytes(count, quantization),
        max_context_length=int(context) if context else UNSET,
        listed_context_length=int(context) if context else UNSET,
        digest="",
        modified_at=modified_at,
        capabilities=capabilities,
        shown_capabilities=_shown_capabilities(capabilities, model.key, words),
        reasoning_options=_or(model.reasoning_options, []),
        reasoning_default=model.reasoning_default,
        instances=_or(model.instances, []),
    )
    row.digest = _digest(row)
    return row


def _as_variant(
    model: internal.HostModel, variant: str, *, is_selected: bool
) -> internal.HostModel:
    """
    Return a model as one of its variants.

    The host's values describe the selected variant. An instance whose id names no variant belongs
    to the selected variant, too.
    """
    own = [None, variant] if is_selected else [variant]
    instances = [one for one in _or(model.instances, []) if _variant_in(one.id) in own]
    if is_selected:
        return msgspec.structs.replace(model, instances=instances)
    return msgspec.structs.replace(model, quantization=UNSET, size_bytes=UNSET, instances=instances)


def _variant_in(instance_id: str) -> str | None:
    return keys.split_variant(keys.split_instance(instance_id)[0])[1]


def _kind(model: internal.HostModel) -> Literal["llm", "embedding", "decision"]:
    stated = _or(model.kind, "")
    if stated == "decision":
        return "decision"
    if stated:
        return "embedding" if stated.startswith("embedding") else "llm"
    return "embedding" if estimates.is_embedding(model.key) else "llm"


def _capabilities(
    model: internal.HostModel, kind: str, architecture: str, insert_architectures: Collection[str]
) -> internal.Capabilities:
    is_stated = model.kind is not UNSET
    if kind == "embedding":
        denied: internal.Verdict = "no" if is_stated else "unknown"
        return internal.Capabilities(
            completion=denied,
            embedding="yes",
            insert=denied,
            thinking=denied,
            tools=denied,
            vision=denied,
            decision=denied,
        )
    if kind == "decision":
        return internal.Capabilities(
            completion="no",
            embedding="no",
            insert="no",
            thinking="no",
            tools="no",
            vision=_verdict(model.sees),
            decision="yes",
        )
    fills = fill_markers.knows(architecture, model.key) or architecture in insert_architectures
    return internal.Capabilities(
        completion="yes",
        embedding="no" if is_stated else "unknown",
        insert="yes" if fills else "no",
        thinking=_thinking(model),
        tools=_verdict(model.uses_tools),
        vision=_verdict(model.sees),
        decision="no" if is_stated else "unknown",
    )


def _thinking(model: internal.HostModel) -> internal.Verdict:
    options = model.reasoning_options
    if options is UNSET:
        return "unknown"
    if any(option != "off" for option in options):
        return "yes"
    # Early 0.4 hosts state capabilities without a reasoning block even for models that reason.
    return "unknown" if estimates.thinks(model.key) else "no"


def _verdict(is_capable: bool | UnsetType) -> internal.Verdict:
    return "unknown" if is_capable is UNSET else "yes" if is_capable else "no"


def _shown_capabilities(
    capabilities: internal.Capabilities, key: str, words: CapabilityWords
) -> list[str]:
    guesses = {
        "tools": estimates.uses_tools,
        "vision": estimates.sees,
        "thinking": estimates.thinks,
    }
    # An embedding model's name may contain the name of a model with more capabilities.
    is_embedding = "yes" in (capabilities.embedding, capabilities.decision)
    shown = []
    for name, word in words:
        verdict = getattr(capabilities, name)
        guess = None if is_embedding else guesses.get(name)
        if verdict == "yes" or (verdict == "unknown" and guess is not None and guess(key)):
            shown.append(word)
    return shown


def _digest(row: internal.CatalogueRow) -> str:
    """Return 64 hex digits that change when the model or its capabilities change."""
    identity = (
        row.request_key,
        row.name,
        row.architecture,
        row.format,
        row.quantization,
        row.parameter_size,
        row.size_bytes,
        row.shown_capabilities,
    )
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()


def _or(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
