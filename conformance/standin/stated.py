"""
Errors that LM Studio states, by name, for scripts (docs/facts/lmstudio.md#unknown-model,
docs/facts/lmstudio.md#reload-window, docs/facts/lmstudio.md#context-overflow).

Only what no ordinary request brings about; the others come by themselves.
"""

from dataclasses import dataclass

from conformance.standin.wire import Refused, Request, StreamFailed, refusal

NONE_LOADED = (
    "No models loaded. Please load a model in the developer page or use the 'lms load' command."
)


@dataclass(frozen=True)
class Stated:
    """An error's text and manner. `streamed`: on a stream it comes inside, after status 200."""

    message: str
    status: int = 400
    bare: bool = False
    streamed: bool = False
    code: str | None = None
    param: str | None = None


def keep_first(tokens: int, context_length: int) -> str:
    """Return the words of LM Studio 0.3 for a prompt longer than the context."""
    return (
        f"Trying to keep the first {tokens} tokens when context the overflows. However, the model "
        f"is loaded with context length of only {context_length} tokens, which is not enough."
    )


STATED: dict[str, Stated] = {
    "overflow_keep_first": Stated(keep_first(5000, 4096)),
    "overflow_truncate": Stated(
        "Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)", streamed=True
    ),
    "overflow_n_keep": Stated(
        "The number of tokens to keep from the initial prompt is greater than the context length "
        "(n_keep: 4158>= n_ctx: 4096).",
        bare=True,
        streamed=True,
    ),
    "overflow_input": Stated(
        "Input does not fit in context length. The input has 31430 tokens, but the context length "
        "only supports 30000 tokens.",
        bare=True,
        streamed=True,
    ),
    "overflow_exceeded": Stated("Context size has been exceeded."),
    "model_crashed": Stated(
        "The model has crashed without additional information. (Exit code: null)", bare=True
    ),
    "model_unloaded": Stated("Model unloaded.", streamed=True),
    "model_reloaded": Stated("Model reloaded."),
    "no_models_loaded": Stated(NONE_LOADED, param="model"),
    "load_failed": Stated(
        'Failed to load model "x". Error: Failed to load model.',
        status=404,
        code="model_not_found",
        param="model",
    ),
    "no_memory": Stated(
        'Failed to load model "x". Error: Model loading aborted due to insufficient system '
        "resources.",
        status=404,
        code="model_not_found",
        param="model",
    ),
    "template": Stated("Error rendering prompt with jinja template.", status=500, bare=True),
    "compute": Stated("Compute error.", status=500, bare=True, streamed=True),
    "decode": Stated("llama_decode returned -1", status=500, bare=True),
    "busy": Stated("Too many requests.", status=429),
}


def stated_error(request: Request, name: str, *, done: bool = False) -> Refused | StreamFailed:
    """Return a named error for a request, as an answer or as the end of its stream."""
    stated = STATED[name]
    if stated.streamed and request.wants_stream:
        return StreamFailed(stated.message, stated.status, bare=stated.bare, done=done)
    return refusal(
        request,
        stated.message,
        stated.status,
        code=stated.code,
        param=stated.param,
        bare=stated.bare,
    )
