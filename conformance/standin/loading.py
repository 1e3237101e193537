"""
LM Studio's own routes that change something: load, unload, download
(docs/facts/lmstudio.md#load-call, docs/facts/lmstudio.md#unload-call,
docs/facts/lmstudio.md#downloads).
"""

import time
from datetime import UTC, datetime
from typing import Any

from conformance.standin.catalogue import downloaded_model
from conformance.standin.host import Host, Job, Stage, new_id
from conformance.standin.listing import config_of
from conformance.standin.table import LoadFailed
from conformance.standin.wire import Refused, Reply, Request, refusal

LOAD_CONFIG = ("eval_batch_size", "flash_attention", "num_experts", "offload_kv_cache_to_gpu")
LOAD_KEYS = ("model", "context_length", "echo_load_config", *LOAD_CONFIG)
SIZE_BYTES = 4_000_000_123


def read_known(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of a strict route; an unknown key is refused."""
    if request.json is None:
        raise refusal(request, "The body must be a JSON object.", code="invalid_json")
    unknown = [f"'{key}'" for key in request.json if key not in known]
    if unknown:
        message = f"Unrecognized key(s) in object: {', '.join(unknown)}"
        raise refusal(request, message, code="unrecognized_keys")
    return request.json


def read_required(request: Request, body: dict[str, Any], name: str, message: str) -> str:
    """Return a text field that must be there."""
    value = body.get(name)
    if isinstance(value, str) and value:
        return value
    error = {
        "message": message,
        "type": "invalid_request",
        "code": "missing_required_parameter",
        "param": name,
    }
    raise Refused(400, {"error": error}, 2)


async def load(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST /api/v1/models/load, when the model is loaded."""
    body = read_known(request, LOAD_KEYS)
    name = read_required(request, body, "model", '"model" is required')
    length = body.get("context_length")
    if length is not None and (
        isinstance(length, bool) or not isinstance(length, int) or length < 1
    ):
        message = "'context_length' must be a positive integer"
        raise refusal(request, message, param="context_length", code="invalid_value")
    found = host.table.find_model(name)
    if found is None:
        message = f'Invalid model identifier "{name}".{host.hint()}'
        raise refusal(request, message, 404, param="model", code="model_not_found")
    model, variant = found
    began = time.monotonic()
    loaded = host.table.instances_of(model)
    if model.fault is not None or (loaded and host.options.load_again == "noop"):
        instance = loaded[0]
    else:
        config = {key: body[key] for key in LOAD_CONFIG if key in body}
        try:
            instance = await host.table.load_to_the_end(
                host.table.load(model, variant, context_length=length, config=config)
            )
        except LoadFailed as error:
            kind = "LLM" if model.type == "llm" else "embedding model"
            stated = {
                "type": "model_load_failed",
                "message": f"Failed to load {kind} '{name}': Error: {error}",
            }
            raise Refused(500, {"error": stated}, 2) from error
    answer: dict[str, Any] = {
        "type": model.type,
        "instance_id": instance.id,
        "load_time_seconds": round(time.monotonic() - began, 3),
        "status": "loaded",
    }
    if body.get("echo_load_config") is True:
        answer["load_config"] = config_of(instance)
    await reply.json(answer)


async def unload(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST /api/v1/models/unload. The answer for an unknown instance is a guess."""
    message = "Missing required field 'instance_id'"
    name = read_required(request, request.body, "instance_id", message)
    read_known(request, ("instance_id",))
    host.table.expire()
    instance = next((one for one in host.table.instances if one.id == name), None)
    if instance is None:
        message = f'No loaded model has the instance id "{name}".'
        raise refusal(request, message, 404, param="instance_id", code="model_not_found")
    host.table.remove(instance)
    await reply.json({"instance_id": name})


def now_text() -> str:
    """Return the time as LM Studio writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def download(host: Host, request: Request, reply: Reply) -> None:
    """Answer POST /api/v1/models/download: begin a job, or say that there is nothing to do.

    A name that contains "missing" fails when it is asked after, one with "paused" pauses once.
    """
    body = read_known(request, ("model", "quantization"))
    name = read_required(request, body, "model", '"model" is required')
    key = name.partition("huggingface.co/")[2] or name
    if host.table.find_model(key) is not None:
        await reply.json({"status": "already_downloaded"})
        return
    job = Job(key, now_text(), stages_of(key))
    job_id = new_id("job_", 10)
    host.jobs[job_id] = job
    await reply.json(
        {
            "job_id": job_id,
            "status": "downloading",
            "total_size_bytes": SIZE_BYTES,
            "started_at": job.started_at,
        }
    )


def stages_of(key: str) -> list[Stage]:
    """Return what each asking after a download tells."""
    if "missing" in key:
        return [("downloading", 25), ("failed", 25)]
    if "paused" in key:
        return [("downloading", 25), ("paused", 25), ("downloading", 75), ("completed", 100)]
    return [("downloading", 25), ("downloading", 50), ("downloading", 75), ("completed", 100)]


async def show_download(host: Host, request: Request, reply: Reply, job_id: str) -> None:
    """Answer GET /api/v1/models/download/status/{job_id}; each asking brings the job on."""
    job = host.jobs.get(job_id)
    if job is None:
        raise Refused(
            404, {"error": {"message": f"No job '{job_id}'.", "type": "job_not_found"}}, 2
        )
    status, percent = job.stages.pop(0) if len(job.stages) > 1 else job.stages[0]
    answer: dict[str, Any] = {
        "job_id": job_id,
        "status": status,
        "total_size_bytes": SIZE_BYTES,
        "downloaded_bytes": SIZE_BYTES * percent // 100,
        "started_at": job.started_at,
    }
    if status == "failed":
        answer["error_message"] = f"The model {job.key} could not be found."
    if status == "completed":
        answer["completed_at"] = now_text()
        if host.table.find_model(job.key) is None:
            host.table.models.append(downloaded_model(job.key, SIZE_BYTES))
    await reply.json(answer)
