"""
Values that a decoder refuses, in any member: neither text nor a number that fits 64 bits.

Go makes U+FFFD of bytes that are not UTF-8 and of halves of characters
(docs/facts/ollama.md#bodies-json), so none of them is an error by itself. A number too large is one
wherever it is read as a number. No member of any route may end in an internal error.
"""

import pytest

from conformance.tests.gateway.support import LOADED, LOADED_EMBEDDER, Pair
from gateway.faults import INTERNAL

TEXTS = (b"\xff\xfe", rb"\ud800", rb"\ud800" + b"\xff", b"\xed\xa0\x80")
FORMS = (
    b'"%b"',
    b'["%b"]',
    b'{"%b": "%b"}',
    b'[{"role": "user", "content": "%b", "images": ["%b"]}]',
    b'[{"type": "function", "function": {"name": "%b", "parameters": {"type": "%b"}}}]',
)
"""The forms that values have where they are read."""
NUMBERS = (b"1e400", b"-1e400", b"9" * 400)
NUMBER_FORMS = (
    b"%b",
    b"[%b]",
    b'{"type": %b}',
    b'[{"role": "user", "content": "Hi", "x": %b}]',
    b'[{"type": "function", "function": {"name": "f", "parameters": {"minimum": %b}}}]',
)
VALUES = [
    form.replace(b"%b", value)
    for forms, values in ((FORMS, TEXTS), (NUMBER_FORMS, NUMBERS))
    for form in forms
    for value in values
]
SPOKEN = b'"model": "%b", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]'
CHAT = SPOKEN % LOADED.encode()
PROMPT = b'"model": "%b", "prompt": "Hi"' % LOADED.encode()
INPUT = b'"model": "%b", "input": "Hi", "prompt": "Hi"'
EMBED, ASKED = INPUT % LOADED_EMBEDDER.encode(), INPUT % LOADED.encode()
NAMED = b'"model": "%b"' % LOADED.encode()
ROUTES: dict[str, tuple[bytes, str]] = {
    "/api/chat": (CHAT, "model messages think format keep_alive tools options stream logprobs"),
    "/api/generate": (
        PROMPT,
        "model prompt suffix system template context raw think format keep_alive images options",
    ),
    "/api/embed": (EMBED, "model input keep_alive options dimensions truncate"),
    "/api/embeddings": (EMBED, "model prompt keep_alive options"),
    "/api/show": (NAMED, "model system verbose"),
    "/api/create": (NAMED, "model from files license messages parameters system template"),
    "/v1/chat/completions": (
        CHAT,
        "model messages tools tool_choice response_format reasoning_effort stop max_tokens stream"
        " max_completion_tokens",
    ),
    "/v1/completions": (PROMPT, "model prompt suffix stop max_tokens stream"),
    "/v1/embeddings": (EMBED, "model input encoding_format dimensions"),
    "/v1/messages": (CHAT, "model messages system tools tool_choice"),
    "/v1/messages/count_tokens": (CHAT, "model messages system tools"),
    "/v1/responses": (ASKED, "model input instructions tools text previous_response_id"),
    "/v1/systemone": (NAMED, "model state questions images keep_alive"),
    "/api/v0/chat/completions": (CHAT, "model messages tools tool_choice response_format"),
    "/api/v0/embeddings": (EMBED, "model input encoding_format"),
    "/api/v1/chat": (ASKED, "model input system_prompt previous_response_id"),
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("path", ROUTES)
async def test_no_value_ends_in_an_internal_error(pair: Pair, path: str) -> None:
    """Each member of a route has each of the values, one at a time."""
    base, members = ROUTES[path]
    wrong = []
    for member in members.split():
        for value in VALUES:
            body = b'{%b, "%b": %b}' % (base, member.encode(), value)
            answer = await pair.client.post(path, content=body)
            if INTERNAL in answer.text:
                wrong.append((member, value))
    assert [] == wrong
