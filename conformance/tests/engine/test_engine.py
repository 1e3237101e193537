"""The gateway in front of a real llama.cpp: what no stand-in can vouch for."""

import json
import math
import re
import time
from typing import Any

import httpx
import jsonschema

from conformance.engine.__main__ import CHAT_MODEL, EMBEDDING_MODEL
from conformance.engine.model import CONTEXT
from conformance.tests.engine.conftest import LIMIT_S, Served

QUESTION = [{"role": "user", "content": "What grows in the orchard?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
        "trade": {"enum": ["keeper", "sailor"]},
        "friends": {"type": "array", "items": {"enum": ["Ada", "Bo"]}, "maxItems": 3},
    },
    "required": ["age", "trade", "friends"],
    "additionalProperties": False,
}
Body = dict[str, Any]


def ask(served: Served, path: str, **body: Any) -> Body:
    """Return the answer to a request that must succeed, given in one piece."""
    answer = served.gateway.post(path, json={"stream": False, **body})
    assert 200 == answer.status_code, answer.text
    return dict(answer.json())


def read_frames(served: Served, path: str, **body: Any) -> list[Body]:
    """Return the frames of a streamed answer."""
    with served.gateway.stream("POST", path, json=body) as answer:
        assert 200 == answer.status_code
        return [json.loads(line) for line in answer.iter_lines()]


def chat_once(served: Served, **body: Any) -> Body:
    """Return the answer to the question."""
    return ask(served, "/api/chat", **{"model": CHAT_MODEL, "messages": QUESTION, **body})


def count_tokens(served: Served, text: str) -> int:
    """Return how many tokens the engine makes of a text."""
    answer = served.engine.post("/tokenize", json={"content": text, "parse_special": True})
    return len(answer.json()["tokens"])


def predicted_so_far(served: Served) -> int:
    """Return how many tokens the engine has made, as its metrics say once an answer is over."""
    text = served.engine.get("/metrics").text
    found = re.search(r"^llamacpp:tokens_predicted_total (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def wait_until_idle(served: Served) -> None:
    """Wait until the engine works on nothing."""
    deadline = time.monotonic() + LIMIT_S
    while any(slot["is_processing"] for slot in served.engine.get("/slots").json()):
        assert time.monotonic() < deadline, "the engine still works"
        time.sleep(0.02)


def test_it_is_recognised(chat: Served) -> None:
    """It has a list of models as LM Studio has, and no greeting; `/health` says what it is."""
    shown = chat.gateway.get("/health").json()["upstream"]
    assert ("llama.cpp", "openai", 1) == (shown["server"], shown["dialect"], shown["models"])
    assert "olgate cannot load, unload or download models there" in shown["reason"]


def test_the_engine_is_listed_as_a_plain_host(chat: Served) -> None:
    """A plain host's model has a name, and details that do not break a client."""
    (model,) = chat.gateway.get("/api/tags").json()["models"]
    assert f"{CHAT_MODEL}:latest" == model["name"]
    assert "openai" == chat.gateway.get("/health").json()["upstream"]["dialect"]
    shown = ask(chat, "/api/show", model=CHAT_MODEL)
    assert "completion" in shown["capabilities"]


def test_a_stream_is_the_same_answer_as_one_piece(chat: Served) -> None:
    """With one seed both ways have the same text and the same counts."""
    options = {"seed": 7, "temperature": 0.8, "num_predict": 24}
    whole = chat_once(chat, options=options)
    frames = read_frames(chat, "/api/chat", model=CHAT_MODEL, messages=QUESTION, options=options)
    assert len(frames) > 3
    assert [False] * (len(frames) - 1) + [True] == [frame["done"] for frame in frames]
    assert whole["message"]["content"] == "".join(frame["message"]["content"] for frame in frames)
    for key in ("done_reason", "eval_count", "prompt_eval_count"):
        assert whole[key] == frames[-1][key]
    assert ("length", 24) == (whole["done_reason"], whole["eval_count"])


def test_counts_are_those_of_the_engine(chat: Served) -> None:
    """The prompt counts what the template makes of it, and a longer one more."""
    rendered = f"<|start|>user\n{QUESTION[0]['content']}<|end|>\n<|start|>assistant\n"
    answer = chat_once(chat, options={"num_predict": 3})
    assert count_tokens(chat, rendered) == answer["prompt_eval_count"]
    assert 3 == answer["eval_count"]


def test_a_stop_text_ends_the_answer(chat: Served) -> None:
    """Nothing from the stop text on is given, and the reason is stop."""
    options = {"seed": 3, "num_predict": 200, "temperature": 1}
    text = chat_once(chat, options=options)["message"]["content"]
    # Half a character of these weights comes as a replacement character, which no stop text meets,
    # and which stays away at the end.
    found = re.search(r"[!-~]{3}", text[20:])
    assert found is not None
    stop = found[0]
    answer = chat_once(chat, options={**options, "stop": [stop]})
    assert "stop" == answer["done_reason"]
    before = text[: text.index(stop)]
    assert before.rstrip("\ufffd") == answer["message"]["content"].rstrip("\ufffd")


def test_a_schema_is_kept_by_random_weights(chat: Served) -> None:
    """A grammar is in force, since nothing else would make these weights write JSON."""
    for seed in range(3):
        options = {"seed": seed, "num_predict": 2000}
        whole = chat_once(chat, format=SCHEMA, options=options)
        jsonschema.validate(json.loads(whole["message"]["content"]), SCHEMA)
        frames = read_frames(
            chat,
            "/api/generate",
            model=CHAT_MODEL,
            prompt="Who is it?",
            format=SCHEMA,
            options=options,
        )
        jsonschema.validate(json.loads("".join(frame["response"] for frame in frames)), SCHEMA)
        assert "stop" == whole["done_reason"] == frames[-1]["done_reason"]


def test_log_probabilities_are_those_of_the_text(chat: Served) -> None:
    """Each token has its own and two others', and their texts make up the answer."""
    options = {"num_predict": 6, "temperature": 0}
    answer = chat_once(chat, logprobs=True, top_logprobs=2, options=options)
    assert 6 == len(answer["logprobs"])
    for token in answer["logprobs"]:
        assert 2 == len(token["top_logprobs"])
        assert token["logprob"] <= 0
        assert token["top_logprobs"][0]["logprob"] >= token["top_logprobs"][1]["logprob"]
    data = b"".join(bytes(token["bytes"]) for token in answer["logprobs"])
    assert answer["message"]["content"] == data.decode("utf-8", "replace")


def test_a_prompt_is_completed_with_and_without_template(chat: Served) -> None:
    """A raw prompt counts no more than its own tokens."""
    prompt = "The lighthouse stood on"
    options = {"num_predict": 5}
    wrapped = ask(chat, "/api/generate", model=CHAT_MODEL, prompt=prompt, options=options)
    raw = ask(chat, "/api/generate", model=CHAT_MODEL, prompt=prompt, raw=True, options=options)
    assert count_tokens(chat, prompt) == raw["prompt_eval_count"] < wrapped["prompt_eval_count"]
    assert 5 == raw["eval_count"] == wrapped["eval_count"]


def test_leaving_stops_the_engine(chat: Served) -> None:
    """An answer that would fill the context is given up soon after its client has left."""
    before = predicted_so_far(chat)
    body = {"model": CHAT_MODEL, "messages": QUESTION}
    with chat.gateway.stream("POST", "/api/chat", json=body) as answer:
        lines = answer.iter_lines()
        for _ in range(3):
            assert not json.loads(next(lines))["done"]
    wait_until_idle(chat)
    assert predicted_so_far(chat) - before < CONTEXT / 2


def test_a_prompt_beyond_the_context_is_refused_in_words(chat: Served) -> None:
    """Streamed or not, it is a 400 that says what was too long."""
    messages = [{"role": "user", "content": "harbour " * CONTEXT}]
    for stream in (True, False):
        answer = chat.gateway.post(
            "/api/chat", json={"model": CHAT_MODEL, "messages": messages, "stream": stream}
        )
        assert 400 == answer.status_code
        assert "context size" in answer.json()["error"]


def test_an_answer_that_fills_the_context_ends_by_length(chat: Served) -> None:
    """The context is full, which is no failure."""
    room = 40
    size = count_tokens(chat, "harbour " * 100)
    messages = [{"role": "user", "content": "harbour " * ((CONTEXT - room) * 100 // size)}]
    answer = chat_once(chat, messages=messages)
    assert "length" == answer["done_reason"]
    assert CONTEXT - 1 <= answer["prompt_eval_count"] + answer["eval_count"] <= CONTEXT + 1


def test_embeddings_are_one_per_text_and_of_length_one(embedding: Served) -> None:
    """Equal texts have equal vectors, others not, and both ways of asking agree."""
    texts = ["a harbour", "lanterns in the fog", "a harbour"]
    answer = ask(embedding, "/api/embed", model=EMBEDDING_MODEL, input=texts)
    first, second, third = answer["embeddings"]
    assert all(math.isclose(1, math.hypot(*vector), abs_tol=1e-3) for vector in (first, second))
    assert math.dist(first, third) < 1e-3 < math.dist(first, second)
    assert answer["prompt_eval_count"] > len(texts)
    old = ask(embedding, "/api/embeddings", model=EMBEDDING_MODEL, prompt=texts[0])["embedding"]
    scale = math.hypot(*old)
    assert math.dist(first, [value / scale for value in old]) < 1e-3


def test_a_text_too_long_to_embed_is_an_error_in_words(embedding: Served) -> None:
    """The engine's refusal reaches the client as text, with a status of its own."""
    answer = embedding.gateway.post(
        "/api/embed", json={"model": EMBEDDING_MODEL, "input": "harbour " * 2000}
    )
    assert httpx.codes.is_error(answer.status_code)
    assert isinstance(answer.json()["error"], str)
    assert "size" in answer.json()["error"]
