"""Words of the stand-in's tests: asking for a chat, reading a stream of events."""

from typing import Any

import httpx
import msgspec

from conformance.standin import StandIn

PLAIN = "tiny-plain-1b-instruct"
GRADED = "harbor/lantern-8b"
SWITCHED = "meadow/thicket-4b"
TWO_VARIANTS = "orchard/pebble-7b"
SILENT = "quiet-fjord-3b"
EMBEDDING = "text-embedding-tiny-v1"

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}},
    },
}


def speak_to(standin: StandIn) -> httpx.AsyncClient:
    """Return a client for a stand-in."""
    return httpx.AsyncClient(base_url=standin.url, trust_env=False, verify=False, timeout=10)


def ask(model: str, text: str = "What grows in the orchard?", **more: Any) -> dict[str, Any]:
    """Return a chat request of one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def chat(client: httpx.AsyncClient, model: str, text: str = "Why?", **more: Any) -> Any:
    """Ask for a one-shot chat and return the answer's JSON."""
    answer = await client.post("/v1/chat/completions", json=ask(model, text, **more))
    return answer.json()


def read_events(text: str) -> list[tuple[str, Any]]:
    """Return the events of a stream: name and JSON, or the text of what is none."""
    events: list[tuple[str, Any]] = []
    for block in text.split("\n\n"):
        name, data = "", ""
        for line in block.splitlines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
        if data:
            events.append((name, data if data == "[DONE]" else msgspec.json.decode(data)))
    return events


async def stream(
    client: httpx.AsyncClient, body: dict[str, Any], path: str = "/v1/chat/completions"
) -> list[tuple[str, Any]]:
    """Ask for a stream and return its events."""
    answer = await client.post(path, json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    return read_events(answer.text)


def deltas_of(events: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return the deltas of a chat stream."""
    return [
        event["choices"][0]["delta"]
        for _, event in events
        if isinstance(event, dict) and event.get("choices")
    ]


def joined(deltas: list[dict[str, Any]], field: str) -> str:
    """Return the text of one field of all deltas."""
    return "".join(delta.get(field) or "" for delta in deltas)
