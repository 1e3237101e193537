"""
A tiny server of Ollama's API that is right but for one flaw, to see that drivers notice.

It knows only the routes that the tests of the drivers ask, and nothing of the gateway.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

from conformance.clients.pair import CHAT_MODEL, EMBEDDING_MODEL

Flaw = Literal[
    "none",
    "missing_done",
    "string_arguments",
    "blank_lines",
    "float_counts",
    "missing_role",
    "missing_content",
    "same_digests",
    "error_with_200",
    "one_frame",
]
FLAWS: tuple[Flaw, ...] = get_args(Flaw)

ARGUMENTS = {"get_weather": {"city": "Lisbon"}, "get_time": {"zone": "CET"}}
Frame = dict[str, Any]


def make_frames(request: Frame, flaw: Flaw) -> list[Frame]:
    """Return the frames of a chat's answer."""
    offered = [tool["function"]["name"] for tool in request.get("tools") or ()]
    asked = request["messages"][-1]["content"]
    calls = [
        {"id": f"call_{n}", "function": {"index": n, "name": name, "arguments": ARGUMENTS[name]}}
        for n, name in enumerate(name for name in offered if name in asked)
    ]
    if calls and flaw == "string_arguments":
        for call in calls:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])  # type: ignore[index]  # JSON
    pieces: list[Frame] = [{"content": "", "tool_calls": calls}] if calls else []
    pieces += [] if calls else [{"content": text} for text in ("Figs ", "and ", "limes.")]
    frames = [frame_of(request, piece, done=False) for piece in pieces]
    frames.append(frame_of(request, {"content": ""}, done=True) | counts_of(flaw))
    for frame in frames:
        if flaw == "missing_role":
            del frame["message"]["role"]
        if flaw == "missing_content":
            del frame["message"]["content"]
    return frames


def frame_of(request: Frame, piece: Frame, *, done: bool) -> Frame:
    """Return one frame."""
    return {
        "model": request["model"],
        "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "message": {"role": "assistant", **piece},
        "done": done,
    }


def counts_of(flaw: Flaw) -> Frame:
    """Return what the last frame has besides."""
    took = 17.5 if flaw == "float_counts" else 17
    counts = {"prompt_eval_count": 9, "eval_count": 3, "total_duration": took}
    times = {"load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 3}
    return {"done_reason": "stop", **counts, **times}


def join_frames(frames: list[Frame]) -> Frame:
    """Return the answer in one piece."""
    joined = dict(frames[-1])
    messages = [frame["message"] for frame in frames]
    joined["message"] = {key: value for message in messages for key, value in message.items()}
    if any("content" in message for message in messages):
        joined["message"]["content"] = "".join(message["content"] for message in messages)
    return joined


def list_models(flaw: Flaw) -> Frame:
    """Return the list of models."""
    models = []
    for n, name in enumerate((CHAT_MODEL, EMBEDDING_MODEL)):
        digest = "ab" * 32 if flaw == "same_digests" else f"{n:064x}"
        details = {"format": "gguf", "family": "llama", "parameter_size": "1B", "families": None}
        models.append(
            {
                "name": f"{name}:latest",
                "model": f"{name}:latest",
                "modified_at": "2026-01-02T03:04:05.678Z",
                "size": 123456,
                "digest": digest,
                "details": {**details, "quantization_level": "Q4_K_M"},
            }
        )
    return {"models": models}


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the connection ends with the answer."""

    flaw: Flaw

    def do_GET(self) -> None:
        """Answer with the list of models."""
        self.answer(200, [list_models(self.flaw)])

    def do_POST(self) -> None:
        """Answer a chat."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["model"] != CHAT_MODEL:
            status = 200 if self.flaw == "error_with_200" else 404
            self.answer(status, [{"error": f"model '{request['model']}' not found"}])
            return
        frames = make_frames(request, self.flaw)
        is_stream = request.get("stream", True)
        if not is_stream or self.flaw == "one_frame":
            frames = [join_frames(frames)]
        elif self.flaw == "missing_done":
            del frames[-1]
        self.answer(200, frames, b"\n\n" if is_stream and self.flaw == "blank_lines" else b"\n")

    def answer(self, status: int, frames: list[Frame], end: bytes = b"\n") -> None:
        """Send frames, each with the end of its line."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.end_headers()
        for frame in frames:
            self.wfile.write(json.dumps(frame).encode() + end)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve_broken(flaw: Flaw) -> Iterator[str]:
    """Serve with a flaw; yield the base URL."""
    handler = type("FlawedHandler", (Handler,), {"flaw": flaw})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.02])
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
