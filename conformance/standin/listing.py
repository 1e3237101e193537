"""
What models there are, in LM Studio's three ways of telling (docs/facts/lmstudio.md#openai-models,
docs/facts/lmstudio.md#v0-models, docs/facts/lmstudio.md#v1-models).
"""

from typing import Any

from conformance.standin.catalogue import Model
from conformance.standin.host import Host
from conformance.standin.table import Instance
from conformance.standin.wire import Reply, Request, refusal

KINDS = {"embedding": "embeddings"}
CREATED = 1_767_225_600
NO_LIMIT = 4096
"""The slots that an instance without a limit says it has: as many as anybody believes."""


async def list_openai(host: Host, request: Request, reply: Reply) -> None:
    """Answer GET /v1/models: everything downloaded, with JIT off only what is loaded."""
    await reply.json(
        {"data": [openai_row(host, one) for one in openai_ids(host)], "object": "list"}
    )


async def show_openai(host: Host, request: Request, reply: Reply, name: str) -> None:
    """Answer GET /v1/models/{id}."""
    if name not in openai_ids(host):
        message = f'Model "{name}" not found.'
        raise refusal(request, message, 404, param="model", code="model_not_found")
    await reply.json(openai_row(host, name))


def openai_ids(host: Host) -> list[str]:
    """Return the names that /v1/models lists; instances beside their keys."""
    host.table.expire()
    instances = [
        instance.id for model in host.table.models for instance in host.table.instances_of(model)
    ]
    if not host.options.jit:
        return instances
    names = [one for model in host.table.models for one in model.identifiers]
    return names + [one for one in instances if one not in names]


def openai_row(host: Host, name: str) -> dict[str, Any]:
    """Return one model of /v1/models."""
    if host.is_other:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "stand-in"}
    return {"id": name, "object": "model", "owned_by": "organization_owner"}


async def list_v0(host: Host, request: Request, reply: Reply) -> None:
    """Answer GET /api/v0/models."""
    host.table.expire()
    rows = [v0_row(host, model, name) for model in host.table.models for name in model.identifiers]
    await reply.json({"data": rows, "object": "list"})


async def show_v0(host: Host, request: Request, reply: Reply, name: str) -> None:
    """Answer GET /api/v0/models/{id}: the bare object."""
    host.table.expire()
    found = host.table.find_model(name)
    if found is None:
        message = f'Model "{name}" not found.'
        raise refusal(request, message, 404, param="model", code="model_not_found")
    await reply.json(v0_row(host, found[0], name))


def v0_row(host: Host, model: Model, name: str) -> dict[str, Any]:
    """Return one model of /api/v0/models. 0.3.14 said nothing of capabilities."""
    variant_name = name.partition("@")[2]
    variant = (model.find_variant(variant_name) if variant_name else None) or model.variants[0]
    loaded = [one for one in host.table.instances_of(model) if one.variant == variant]
    kind = "vlm" if model.vision else KINDS.get(model.type, model.type)
    row: dict[str, Any] = {
        "id": name,
        "object": "model",
        "type": kind,
        "publisher": model.publisher,
        "arch": model.architecture,
        "compatibility_type": model.format,
        "quantization": variant.quantization,
        "state": "loaded" if loaded else "not-loaded",
        "max_context_length": model.max_context_length,
    }
    if loaded:
        row["loaded_context_length"] = loaded[0].context_length
    if model.tools and model.stated and not host.is_old:
        row["capabilities"] = ["tool_use"]
    return row


async def list_v1(host: Host, request: Request, reply: Reply) -> None:
    """Answer GET /api/v1/models."""
    host.table.expire()
    await reply.json({"models": [v1_row(host, model) for model in host.table.models]})


def v1_row(host: Host, model: Model) -> dict[str, Any]:
    """Return one model of /api/v1/models. What is not stated about a model is left out."""
    selected = model.variants[0]
    row: dict[str, Any] = {
        "type": model.type,
        "publisher": model.publisher,
        "key": model.key,
        "display_name": model.display_name,
    }
    if model.type == "llm":
        row["architecture"] = model.architecture
    bits = int(selected.bits) if selected.bits == int(selected.bits) else selected.bits
    row |= {
        "quantization": {"name": selected.quantization, "bits_per_weight": bits},
        "size_bytes": selected.size_bytes,
        "params_string": model.params,
        "loaded_instances": [instance_row(one) for one in host.table.instances_of(model)],
        "max_context_length": model.max_context_length,
        "format": model.format,
    }
    if model.type == "decision":
        row |= {"decision_type": "systemone", "has_vision_adapter": model.vision}
        row["max_context_length"] = None
    if model.type != "llm":
        return row
    if model.stated:
        row["capabilities"] = capabilities_of(model)
    row["description"] = None
    row["variants"] = [f"{model.key}@{variant.name}" for variant in model.variants]
    row["selected_variant"] = f"{model.key}@{selected.name}"
    return row


def capabilities_of(model: Model) -> dict[str, Any]:
    """Return what a model says it can do."""
    stated: dict[str, Any] = {"vision": model.vision, "trained_for_tool_use": model.tools}
    if model.reasoning is not None:
        options = list(model.reasoning.options)
        stated["reasoning"] = {"allowed_options": options, "default": model.reasoning.default}
    return stated


def instance_row(instance: Instance) -> dict[str, Any]:
    """Return one entry of `loaded_instances`."""
    row: dict[str, Any] = {"id": instance.id, "config": config_of(instance)}
    remaining = instance.remaining_s
    if remaining is not None:
        row["remaining_ttl_seconds"] = remaining
    return row


def _shown_slots(instance: Instance) -> int:
    """Return how many requests an instance runs at once."""
    return instance.parallel or NO_LIMIT


def config_of(instance: Instance) -> dict[str, Any]:
    """Return how an instance was loaded; embedding models tell their context length only."""
    config: dict[str, Any] = {"context_length": instance.context_length}
    if instance.model.type == "embedding":
        return config
    if instance.model.format == "gguf":
        config |= {
            "eval_batch_size": 512,
            "parallel": _shown_slots(instance),
            "flash_attention": True,
            "offload_kv_cache_to_gpu": True,
        }
    else:
        config["parallel"] = _shown_slots(instance)
    return {**config, **instance.config, "reasoning_budget_message": ""}
