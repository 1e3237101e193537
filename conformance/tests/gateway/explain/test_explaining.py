"""`olgate explain`: what it reads, what it says, and what it says of what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.suite.fixture import FOLDER as FIXTURES
from conformance.tests.gateway.cli.test_doctor import run
from gateway.app import create_app
from gateway.explain.asked import for_route
from gateway.explain.curl import read_curl
from gateway.explain.explaining import explain
from gateway.explain.models import read_models
from gateway.explain.problems import NotExplained
from gateway.explain.running import settings_for
from gateway.settings.schema import Settings

ROOT = FIXTURES.parents[1]
MODELS = FIXTURES / "lmstudio-0.4" / "models-v1.yaml"
ANSWER = FIXTURES / "lmstudio-0.4" / "chat-tool-call.yaml"
CHAT = {
    "model": "harbor/lantern-8b",
    "messages": [{"role": "user", "content": "High tide?"}],
    "options": {"temperature": 0.2, "mirostat": 1, "num_ctx": 8192},
    "format": "",
    "foo": 1,
}


async def told(*words: str, **body: Any) -> dict[str, Any]:
    """Return the explanation of a chat request as data."""
    given = json.dumps({**CHAT, **body})
    route = () if "--route" in words else ("--route", "/api/chat")
    code, said, complained = await run(
        "explain", given, *route, "--models", str(MODELS), "--json", *words
    )
    assert (0, "") == (code, complained)
    found: dict[str, Any] = json.loads(said)
    return found


def line_of(file: str, number: int) -> str:
    """Return a line of a file of the project."""
    return (ROOT / file).read_text("utf-8").splitlines()[number - 1]


async def test_every_field_is_told_with_its_rule() -> None:
    """What went where, what was read, what gave nothing, what is ignored, what nobody knows."""
    found = {part["path"]: part for part in (await told())["fields"]}

    assert {
        "model": "read",
        "messages[0].role": "sent",
        "messages[0].content": "sent",
        "options.temperature": "sent",
        "options.mirostat": "ignored",
        "options.num_ctx": "read",
        "format": "not sent",
        "foo": "unknown",
    } == {path: part["verdict"] for path, part in found.items()}
    (became,) = found["options.temperature"]["became"]
    assert ("temperature", 0.2) == (became["path"], became["value"])
    file, _, line = became["at"].partition(":")
    assert "temperature:" in line_of(file, int(line))
    assert "Ollama ignores options" in found["options.mirostat"]["why"]


async def test_a_plan_is_told_to_where_it_ends() -> None:
    """A refusal names its step; the steps after it are not reached, and nothing would be sent."""
    found = await told(model="text-embedding-tiny-v1")
    verdicts = [step["verdict"] for step in found["steps"]]
    (refused,) = [step for step in found["steps"] if step["verdict"] == "refused"]

    assert "not reached" == verdicts[-1]
    assert refused["found"].startswith("400 ")
    assert [] == [one for one in found["calls"] if one["purpose"] == "answer"]
    assert 400 == found["answer"]["status"]


async def test_a_load_is_told_and_not_done() -> None:
    """The step that needs it says what would be loaded, with which context length."""
    found = await told(model="orchard/pebble-7b")
    (step,) = [one for one in found["steps"] if one["what"] == "acquire"]
    (load,) = [one for one in found["calls"] if one["purpose"] == "load"]

    assert "orchard/pebble-7b would be loaded with a context length of 8192" in step["found"]
    assert 8192 == load["body"]["context_length"]
    assert all(one["at"] for one in load["made"])


async def test_each_chunk_is_told_on_its_way_back() -> None:
    """Chunks with their frames, what is remembered, and the rules of the last frame."""
    found = await told("--answer", str(ANSWER))
    last = found["way_back"][-1]

    assert 9 == len(found["way_back"])
    assert "Look" == found["way_back"][1]["frame"]["message"]["thinking"]
    assert None is found["way_back"][0]["frame"]
    assert "finish_reason" in found["way_back"][6]["remembered"]
    assert found["answer"]["lines"][-1] == last["frame"]
    assert all(one["at"] for one in last["made"])


async def test_an_error_of_the_host_names_its_row() -> None:
    """The row of the table of errors that turned it."""
    found = await told("--answer", str(FIXTURES / "lmstudio-0.4" / "error-template.yaml"))

    assert found["answer"]["row"].startswith("specs/mappings/shared.yaml:")
    assert found["answer"]["status"] >= 400


async def test_what_is_passed_on_is_told_member_by_member() -> None:
    """A route of LM Studio's: the changed member with its rule, the others as they came."""
    found = await told("--route", "/v1/chat/completions", model="harbor/lantern-8b:latest", top_k=3)
    (model,) = [one for one in found["changed"] if one["verdict"] == "changed"]

    assert "passed on" == found["way"]
    assert ("model", "harbor/lantern-8b:latest", "harbor/lantern-8b") == (
        model["path"],
        model["before"],
        model["after"],
    )
    assert model["at"].startswith("specs/mappings/shared.yaml:")
    assert "as it came" == {one["path"]: one["why"] for one in found["fields"]}["top_k"]


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v0/chat/completions", "/v1/models"])
async def test_every_family_of_routes_is_explained(path: str) -> None:
    """Below /api/v1, /api/v0 and /v1."""
    method = "GET " if path.endswith("models") else ""
    found = await told("--route", method + path, input="x")

    assert "passed on" == found["way"]
    assert path in [one["path"] for one in found["calls"]]


async def test_a_large_body_has_its_rules_too(tmp_path: Path) -> None:
    """It is translated in another thread."""
    path = tmp_path / "body.json"
    words = [{"role": "user", "content": "tide " * 2000}] * 60
    path.write_text(json.dumps({**CHAT, "messages": words}), "utf-8")
    code, said, _ = await run(
        "explain", str(path), "--route", "/api/chat", "--models", str(MODELS), "--json"
    )
    (call,) = [one for one in json.loads(said)["calls"] if one["purpose"] == "answer"]

    assert 0 == code
    assert call["made"]
    assert all(one["at"] for one in call["made"])


async def test_people_get_text() -> None:
    """With every part, and places without their folder."""
    code, said, _ = await run(
        "explain",
        json.dumps(CHAT),
        *("--route", "/api/chat", "--models", str(MODELS), "--answer", str(ANSWER)),
    )

    assert 0 == code
    for part in (
        "THE PLAN",
        "FIELDS OF THE REQUEST",
        "IGNORED",
        "LM STUDIO WOULD GET: POST /v1/chat/completions",
        "THE WAY BACK",
        "THE CLIENT WOULD GET: 200 application/x-ndjson",
    ):
        assert f"\n{part}" in said
    assert "NO RULE" not in said


async def test_a_case_brings_its_answer_and_its_settings() -> None:
    """A file of the suite with several cases needs a name."""
    file = FIXTURES.parent / "cases" / "chat" / "tools.yaml"
    code, said, _ = await run(
        "explain", str(file), "--name", "chat/tools/one-call", "--models", str(MODELS), "--json"
    )
    assert 0 == code
    assert json.loads(said)["answer"]["lines"][-1]["message"]["tool_calls"]

    code, _, complained = await run("explain", str(file), "--models", str(MODELS))
    assert 2 == code
    assert "holds several cases; choose one with --name: chat/tools/one-call" in complained


async def test_a_rewriter_is_told_with_its_rule() -> None:
    """What it made of the chunks that it changed, and which ones saw nothing to change."""
    file = FIXTURES.parent / "cases" / "v1" / "mended.yaml"
    code, said, _ = await run(
        "explain", str(file), "--name", "v1/mended/ids-of-fragments", "--json"
    )
    assert 0 == code
    found = json.loads(said)
    parts = {one["how"].split(",")[0]: one for one in found["changed"] if one["verb"] == "rewrite"}
    sound, opened = parts["via sound_calls"], parts["via opened_thinking"]

    assert ("changed", "not asked for") == (sound["verdict"], opened["verdict"])
    assert "only when via is_thinking_opened" in opened["why"]
    rule, _, number = sound["at"].partition(":")
    assert "via:  sound_calls" == line_of(rule, int(number)).strip()
    # The first chunk waits for the second: the rest of a name may come.
    held, both = found["way_back"]
    assert [] == held["frame"]
    assert held["chunk"] == both["frame"][0]
    calls = [
        one["choices"][0]["delta"]["tool_calls"][0] for one in (both["chunk"], both["frame"][1])
    ]
    assert ("2", None) == (calls[0]["id"], calls[1].get("id"))
    assert {sound["at"]} == {made["at"] for made in both["made"]}


async def test_without_lm_studio_a_name_is_taken_for_a_model() -> None:
    """And a note says so."""
    code, said, _ = await run(
        "explain",
        json.dumps(CHAT),
        *("--route", "/api/chat", "--upstream", "http://127.0.0.1:9", "--json"),
    )
    found = json.loads(said)

    assert 0 == code
    assert ("assumed", 1) == (found["models"]["source"], found["models"]["count"])
    assert "unknown" == found["model"]["capabilities"]["tools"]
    assert any("--models FILE" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("given", "words", "sentence"),
    [
        ('{"model": 1', ("--route", "/api/chat"), "is not JSON"),
        pytest.param("[" * 5000 + "]" * 5000, (), "in each other to a depth", id="deep"),
        ('{"model": "x"}', (), "holds a body and no route"),
        ('{"model": "x"}', ("--route", "api/chat"), "is not a path; write it as /api/chat"),
        ('{"model": "x"}', ("--route", "BREW /api/chat"), "BREW is not a method"),
        ("no-such-file.json", ("--route", "/api/chat"), "as a file it can't be read"),
        ("curl http://h/api/chat -d '{", (), "between single quotes"),
        ("curl -F a=b http://h/api/chat", (), "has -F, which is not read here"),
        ("curl --brew http://h/api/chat", (), "has the option --brew"),
        ("curl -d '{}'", (), "has no address"),
        ("curl http://h/api/chat -d", (), "ends after -d, which needs a value"),
        ("curl http://h/api/chat -d @nothing.json", (), "nothing.json, can't be read"),
        ("curl http://h/api/chat -d 'hello'", (), "is not JSON"),
        ('{"model": "x"}', ("--route", "/api/chat", "--answer", "none.txt"), "none.txt can't be"),
        ('{"model": "x"}', ("--route", "/api/chat", "--models", "pyproject.toml"), "is n"),
    ],
)
async def test_what_cannot_be_read_gets_a_sentence(
    given: str, words: tuple[str, ...], sentence: str
) -> None:
    """Of one line, with exit code 2, and no trace of Python."""
    code, said, complained = await run("explain", given, *words)

    assert (2, "") == (code, said)
    assert sentence in complained
    assert 1 == complained.count("\n")


async def test_an_unknown_route_is_told_as_it_is_answered() -> None:
    """Ollama's 404, and no rule."""
    found = await told("--route", "/api/chatt")

    assert ("edge", 404) == (found["way"], found["answer"]["status"])
    assert [] == found["fields"]


@pytest.mark.parametrize(
    ("line", "method", "path", "body"),
    [
        ("curl localhost:11434/api/tags", "GET", "/api/tags", None),
        ("$ curl -sSN http://h/api/chat -d '{}'", "POST", "/api/chat", b"{}"),
        ("curl -X DELETE http://h/api/delete --json '{}'", "DELETE", "/api/delete", b"{}"),
        ("curl http://h/api/chat \\\n  --data-raw='{}' -H 'A: b'", "POST", "/api/chat", b"{}"),
        (
            'curl.exe "http://h/v1/models?a=b" -H "Authorization: Bearer x"',
            "GET",
            "/v1/models",
            None,
        ),
    ],
)
def test_lines_of_curl(line: str, method: str, path: str, body: bytes | None) -> None:
    """As documents and browsers write them."""
    asked = read_curl(line)

    assert (method, path, body) == (asked.method, asked.path, asked.body)


def test_keys_are_not_shown() -> None:
    """Neither the client's nor LM Studio's."""
    settings = Settings()
    body = json.dumps(CHAT).encode()
    asked = for_route("/v1/chat/completions", body, "a test")
    wanted = msgspec.structs.replace(
        settings, upstream=msgspec.structs.replace(settings.upstream, token="sk-very-secret")
    )
    found = explain(asked, wanted, create_app, read_models(MODELS))

    assert b"sk-very-secret" not in msgspec.json.encode(found)


def test_a_store_in_redis_is_left_alone(tmp_path: Path) -> None:
    """An explanation writes nothing that others read."""
    settings = Settings()
    shared = msgspec.structs.replace(settings.store, url="redis://127.0.0.1:9/0", url_file="x")
    used = settings_for(msgspec.structs.replace(settings, store=shared), "http://h", tmp_path)

    assert (None, None, None) == (used.store.url, used.store.url_file, used.store.path)


def test_a_list_of_models_must_be_one(tmp_path: Path) -> None:
    """The sentence says how to save one."""
    path = tmp_path / "list.json"
    path.write_text("{}", "utf-8")
    with pytest.raises(NotExplained, match="curl -s"):
        read_models(path)
