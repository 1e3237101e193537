"""
The `llama-server` that a real Ollama starts: it plays the script that a prompt carries.

It runs as a program of its own, without this package on its path, and once for each load of a
model; so it imports little and starts fast. Its shapes are those that Ollama reads
(docs/facts/ollama.md#llama-server).
"""

import importlib.util
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STANDIN = Path(__file__).parents[1] / "standin"
DEFAULT = {"say": ["A", "hoy"]}
NO_ROOM = {"finish": "length"}
EMBEDDING, DIMENSION, CONTEXT = "text-embedding-tiny-v1", 32, 2048
"""The stand-in's model of vectors, so that both engines make the same ones."""


def load(name: str) -> Any:
    """Load a module of the stand-in from its file: importing its package would take too long."""
    spec = importlib.util.spec_from_file_location(name, STANDIN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prompted = load("prompted")


def texts_of(messages: Any) -> str:
    """Return the texts of chat messages, one after the other."""
    found = []
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        found += [part.get("text") or "" for part in parts]
    return "\n".join(found)


def timings(script: dict[str, Any]) -> dict[str, Any]:
    """Return counts and times; no time is zero."""
    pieces = len(script.get("say", [])) + len(script.get("think", []))
    if script is NO_ROOM:
        return {"cache_n": 0, "prompt_n": 11, "prompt_ms": 1.5, "predicted_n": 0, "predicted_ms": 0}
    return {
        "cache_n": 0,
        "prompt_n": 11,
        "prompt_ms": 1.5,
        "predicted_n": pieces + 1,
        "predicted_ms": 2.5,
    }


def chat_events(script: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a chat: thinking, text, calls, and the end or an error."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    deltas += [{"reasoning_content": piece} for piece in script.get("think", [])]
    deltas += [{"content": piece} for piece in script.get("say", [])]
    for index, call in enumerate(script.get("calls", [])):
        function = {"name": call["name"], "arguments": prompted.arguments_of(call)}
        one = {"index": index, "type": "function", "function": function}
        deltas.append({"tool_calls": [{**one, "id": call.get("id", f"call{index}")}]})
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    if "error" in script:
        events.append({"error": {"code": 500, "message": script["error"]}})
    else:
        finish = script.get("finish") or ("tool_calls" if script.get("calls") else "stop")
        last: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": finish}
        events.append({"choices": [last], "timings": timings(script)})
    return events


def completion_events(script: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a completion."""
    events: list[dict[str, Any]] = [
        {"content": piece, "stop": False} for piece in script.get("say", [])
    ]
    stop_type = "limit" if script.get("finish") == "length" else "eos"
    end = {"content": "", "stop": True, "stop_type": stop_type, "timings": timings(script)}
    return [*events, end]


class Handler(BaseHTTPRequestHandler):
    """Answers what Ollama asks of its engine."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: Ollama reads what is said here as news of the load."""

    def do_GET(self) -> None:
        """Tell that the model is loaded."""
        self.reply({"status": "ok"})

    def do_POST(self) -> None:
        """Answer by path."""
        # Ollama hands on the bytes of a format as it got them, and they need not be UTF-8.
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
        body = json.loads(sent.decode("utf-8", "replace"))
        match self.path:
            case "/v1/chat/completions":
                self.play(chat_events, texts_of(body.get("messages")), body.get("n_predict"))
            case "/completion":
                prompt = body.get("prompt")
                if isinstance(prompt, dict):
                    prompt = prompt.get("prompt_string")
                self.play(completion_events, str(prompt), body.get("n_predict"))
            case "/apply-template":
                self.reply({"prompt": texts_of(body.get("messages"))})
            case "/tokenize":
                self.reply({"tokens": [1, 2]})
            case "/detokenize":
                self.reply({"content": ""})
            case "/v1/embeddings":
                self.embed(str(body.get("input")))
            case _:
                self.reply({"error": {"code": 404, "message": "File Not Found"}}, 404)

    def play(self, events_of: Any, text: str, most: int | None) -> None:
        """Play a script as events, or its error as a status; without room for a token nothing."""
        script: dict[str, Any] = prompted.find_script(text) or DEFAULT
        if most == 0:
            script = NO_ROOM
        if "status" in script:
            error = {"code": script["status"], "message": script.get("error", "refused")}
            self.reply({"error": error}, int(script["status"]))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events_of(script):
            self.write_chunk(f"data: {json.dumps(event)}\n\n".encode())
        self.write_chunk(b"data: [DONE]\n\n" if events_of is chat_events else b"")
        if events_of is chat_events:
            self.write_chunk(b"")

    def embed(self, text: str) -> None:
        """Answer the vector that the stand-in makes of a text."""
        vector = load("words").embed(EMBEDDING, text, DIMENSION, CONTEXT)
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        self.reply({"data": [{"embedding": vector, "index": 0}], "usage": usage})

    def write_chunk(self, data: bytes) -> None:
        """Write one chunk; an empty one ends the body."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def reply(self, value: Any, status: int = 200) -> None:
        """Answer a JSON value."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(arguments: list[str]) -> None:
    """Serve on the port that Ollama names; without a model only the machine is asked for."""
    if "--model" not in arguments:
        print("system_info: none", file=sys.stderr, flush=True)
        return
    port = int(arguments[arguments.index("--port") + 1])
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
