"""The list of models: fetched once, kept for a while, read from whatever the host speaks."""

import asyncio
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import downloaded_model
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    EMBEDDINGS,
    LIST,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    LONG,
    VARIED,
    Pair,
    caching,
    chat,
    gather_all,
    lines_of,
    open_gateway,
    open_pair,
    written,
)
from gateway.catalogue import catalogue

V0 = "/api/v0/models"
V1 = LIST
OPENAI = "/v1/models"
NAMES = {
    "tiny-plain-1b-instruct:latest",
    "text-embedding-tiny-v1:latest",
    "harbor/lantern-8b:latest",
    "meadow/thicket-4b:latest",
    "orchard/pebble-7b:latest",
    "orchard/pebble-7b:q4_k_m",
    "orchard/pebble-7b:q8_0",
    "quiet-fjord-3b:latest",
}
FULL = {
    "type": "llm",
    "publisher": "p",
    "key": "p/whole-2b",
    "display_name": "Whole 2B",
    "architecture": "llama",
    "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
    "size_bytes": 1_500_000_000,
    "params_string": "2B",
    "loaded_instances": [{"id": "p/whole-2b", "config": {"context_length": 4096}}],
    "max_context_length": 8192,
    "format": "gguf",
    "capabilities": {"vision": False, "trained_for_tool_use": True},
    "description": None,
    "variants": ["p/whole-2b@q4_k_m"],
    "selected_variant": "p/whole-2b@q4_k_m",
}


def list_as(body: Any, path: str = V1, status: int = 200, **more: Any) -> dict[str, Any]:
    """Return a rule that answers the list with a given body."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {"match": {"path": path}, "answer": {"status": status, "chunks": [[0, text]]}, **more}


async def names_of(pair: Pair) -> list[str]:
    """Return the names that tags lists."""
    return [one["name"] for one in (await pair.get("/api/tags"))["models"]]


# -- asking --------------------------------------------------------------------------------------


async def test_many_who_ask_at_once_make_one_call() -> None:
    """Twenty clients, one list; whatever they want it for."""
    async with open_pair(caching()) as pair:
        pair.script({"match": {"path": LIST}, "hold": "list"})
        asking = [asyncio.create_task(pair.client.get("/api/tags")) for _ in range(15)]
        asking += [asyncio.create_task(pair.post("/api/show", {"model": LOADED})) for _ in range(5)]
        await pair.until_asked(LIST)
        await pair.let_pass("/api/version")
        pair.release("list")
        answers = await gather_all(*asking)
        assert [200] * 20 == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LIST))


async def test_many_who_ask_at_once_share_a_failure_and_no_more() -> None:
    """The next one asks anew."""
    async with open_pair(caching()) as pair:
        pair.script(list_as({"error": {"message": "Not now."}}, status=503, nth=1, hold="list"))
        asking = [asyncio.create_task(pair.client.get("/api/tags")) for _ in range(5)]
        await pair.until_asked(LIST)
        await pair.let_pass("/api/version")
        pair.release("list")
        answers = await gather_all(*asking)
        assert {(503, '{"error":"Not now."}')} == {(one.status_code, one.text) for one in answers}
        assert NAMES == set(await names_of(pair))
        assert 2 == len(pair.asked(LIST))


async def test_the_list_is_kept_for_its_time() -> None:
    """Within it neither tags nor show nor inference ask again."""
    async with open_pair(caching()) as pair:
        for _ in range(3):
            await pair.get("/api/tags")
            await pair.post("/api/show", {"model": COLD})
            await pair.post("/api/chat", chat())
        assert 1 == len(pair.asked(LIST))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The catalogue's clock, which goes on when a test sets `now`."""
    made = SimpleNamespace(now=0.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(catalogue, "time", made)
    return made


async def test_a_list_is_fetched_anew_before_it_is_too_old(clock: SimpleNamespace) -> None:
    """While there are requests nobody waits for the list: the next is fetched beside an answer."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        clock.now = LONG * 0.75
        await pair.get("/api/tags")
        await pair.until_answered(LIST, 2)
        clock.now = LONG * 1.2
        await pair.get("/api/tags")
        assert 2 == len(pair.asked(LIST))


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/api/chat", chat(), CHAT),
        ("/api/generate", {"model": LOADED, "prompt": "hi"}, CHAT),
        ("/api/embed", {"model": LOADED_EMBEDDER, "input": "hi"}, EMBEDDINGS),
        ("/v1/chat/completions", chat(), CHAT),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_loaded_model_is_asked_before_an_old_list_is(
    clock: SimpleNamespace, path: str, body: dict[str, Any], asked: str
) -> None:
    """After a pause nobody waits for the list, when the model was loaded: it comes beside."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        clock.now = LONG * 3.0
        pair.script({"match": {"path": LIST}, "hold": "list"})
        assert 200 == (await pair.post(path, body)).status_code
        assert 1 == len(pair.asked(asked))
        await pair.until_asked(LIST, 2)
        pair.release("list")
        await pair.until_answered(LIST, 2)


@pytest.mark.parametrize(
    ("path", "body", "pauses"),
    [
        ("/api/chat", chat(), 13.0),
        ("/api/chat", chat(COLD), 3.0),
        ("/api/show", {"model": LOADED}, 3.0),
        ("/api/generate", {"model": LOADED}, 3.0),
        ("/api/generate", {"model": LOADED, "keep_alive": 0}, 3.0),
    ],
    ids=["after too long", "not loaded", "shown", "only loaded", "unloaded"],
)
async def test_an_old_list_does_not_do_for_the_rest(
    clock: SimpleNamespace, path: str, body: dict[str, Any], pauses: float
) -> None:
    """Whatever else depends on what is loaded looks at it first."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        clock.now = LONG * pauses
        pair.script({"match": {"path": LIST}, "hold": "list"})
        asking = asyncio.create_task(pair.post(path, body))
        await pair.until_asked(LIST, 2)
        await pair.let_pass("/api/version")
        assert not asking.done()
        pair.release("list")
        assert 200 == (await asking).status_code


@pytest.mark.parametrize(("jit", "loads"), [(True, 0), (False, 1)])
async def test_a_model_that_was_unloaded_meanwhile_is_loaded_all_the_same(
    clock: SimpleNamespace, jit: bool, loads: int
) -> None:
    """LM Studio does that by itself, or says that the model is not loaded, and then we do."""
    async with open_pair(caching(), jit=jit) as pair:
        await pair.get("/api/tags")
        await pair.change("unload", LOADED)
        clock.now = LONG * 3.0
        answer = await pair.post("/api/chat", chat())
        assert 200 == answer.status_code
        assert pair.instances(LOADED)
        assert loads == len(pair.asked(LOAD))


async def test_what_comes_of_a_list_beside_a_request_is_not_on_its_line(
    clock: SimpleNamespace,
) -> None:
    """The line of a long answer names LM Studio's status for it, and not that of a failed list."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        clock.now = LONG * 3.0
        pair.script(
            list_as({"error": {"message": "Not now."}}, status=503),
            {"match": {"path": CHAT}, "hold": "rest", "after": 2},
        )
        with written(format="json") as lines:
            asking = asyncio.create_task(pair.post("/api/chat", chat()))
            await pair.until_answered(LIST, 2)
            await pair.let_pass("/api/version")
            pair.release("rest")
            assert 200 == (await asking).status_code
            await pair.let_pass("/api/version")
    (line,) = lines_of(lines, path="/api/chat")
    assert 200 == line["upstream_status"]


async def test_a_list_that_nobody_waits_for_is_not_fetched_at_the_end(
    clock: SimpleNamespace,
) -> None:
    """What was to be fetched beside a request is forgotten when the gateway ends before that."""
    async with StandIn() as standin:
        async with open_gateway(standin, caching()) as pair:
            await pair.get("/api/tags")
            clock.now = LONG * 3.0
            assert 200 == (await pair.post("/api/chat", chat())).status_code
        await asyncio.sleep(2 * catalogue._BACKGROUND_DELAY_S)
        assert 1 == len(standin.log.select(LIST))


async def test_a_load_waits_for_a_list_that_takes_long() -> None:
    """Longer than clients wait for a list, and no longer than a load may take."""
    async with open_pair({**caching(), "limits": {"list_s": 1.0}}) as pair:
        await pair.get("/api/tags")
        pair.script({"match": {"path": LIST}, "hold": "list", "times": 2})
        asking = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
        await pair.until_asked(LIST, 3)
        pair.release("list")
        answer = await asking
    assert 200 == answer.status_code, answer.text


async def test_without_a_time_every_look_asks() -> None:
    """The setting 0 keeps nothing."""
    async with open_pair({"models": {"catalogue_ttl_s": 0}}) as pair:
        await pair.get("/api/tags")
        await pair.get("/api/tags")
        assert 2 == len(pair.asked(LIST))


async def test_ps_and_health_ask_each_time() -> None:
    """What is loaded changes by itself."""
    async with open_pair(caching()) as pair:
        for path in ("/api/ps", "/health", "/api/ps"):
            await pair.get(path)
        assert 3 == len(pair.asked(LIST))


async def test_a_load_makes_the_next_look_ask() -> None:
    """So that the model's own instance is known at once."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        await pair.post("/api/chat", chat(COLD))
        before = len(pair.asked(LIST))
        await pair.get("/api/tags")
        assert before + 1 == len(pair.asked(LIST))


async def test_an_unload_makes_the_next_look_ask() -> None:
    """The model is not taken for loaded any more."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        await pair.post("/api/generate", {"model": LOADED, "keep_alive": 0})
        before = len(pair.asked(LIST))
        await pair.get("/api/tags")
        assert before + 1 == len(pair.asked(LIST))


async def test_a_list_that_was_asked_for_before_a_change_is_not_kept() -> None:
    """It may show what was before, however late it comes."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        pair.script(
            {"match": {"path": "/api/v1/models/unload"}, "hold": "unload"},
            list_as({"models": [{**FULL, "key": "p/old-2b"}]}, hold="old", nth=2),
        )
        unloading = asyncio.create_task(
            pair.post("/api/generate", {"model": LOADED, "keep_alive": 0})
        )
        await pair.until_asked("/api/v1/models/unload")
        asking = asyncio.create_task(pair.client.get("/api/ps"))
        await pair.until_asked(LIST, 3)
        pair.release("unload")
        await unloading
        pair.release("old")
        await asking
        assert NAMES == set(await names_of(pair))


async def test_a_model_that_came_since_is_found() -> None:
    """An unknown name is worth another look, at most once a second."""
    async with open_pair({"models": {"catalogue_ttl_s": 0.001}}) as pair:
        await pair.get("/api/tags")
        pair.script(list_as({"models": [FULL]}))
        assert 200 == (await pair.post("/api/show", {"model": "p/whole-2b"})).status_code


async def test_unknown_names_are_no_way_to_make_the_gateway_ask() -> None:
    """A flood of wrong names costs LM Studio one list."""
    async with open_pair(caching()) as pair:
        asking = (pair.post("/api/show", {"model": f"none-{n}"}) for n in range(20))
        answers = await gather_all(*asking)
        assert [404] * 20 == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LIST))


async def test_listing_and_showing_load_nothing(pair: Pair) -> None:
    """
    One show per model, as clients do: no load and no inference
    (docs/facts/clients.md#show-for-all).
    """
    for name in await names_of(pair):
        answer = await pair.post("/api/show", {"model": name, "verbose": True})
        assert 200 == answer.status_code, answer.text
    await pair.get("/api/ps")
    await pair.get("/health")
    seen = {(one.method, one.path) for one in pair.standin.seen}
    assert {("GET", LIST)} == seen - {("GET", "/lmstudio-greeting")}


async def test_a_host_that_comes_up_late_is_found() -> None:
    """503 while it is down, the list as soon as it is up; nothing has to be started anew."""
    standin = StandIn()
    await standin.start()
    await standin.stop()
    port = standin.port
    async with open_gateway(standin, caching()) as pair:
        answer = await pair.client.get("/api/tags")
        assert 503 == answer.status_code
        assert f"cannot reach LM Studio at http://127.0.0.1:{port}" in answer.json()["error"]
        async with StandIn(port=port):
            assert NAMES == set(await names_of(pair))


async def test_a_kept_list_outlives_the_host() -> None:
    """Within its time what was known is shown; inference says that nobody is there."""
    async with StandIn() as standin, open_gateway(standin, caching()) as pair:
        await pair.get("/api/tags")
        await standin.stop()
        assert NAMES == set(await names_of(pair))
        answer = await pair.post("/api/chat", chat())
        assert 503 == answer.status_code
        await standin.start()


# -- dialects ------------------------------------------------------------------------------------


async def test_a_host_of_0_4_is_asked_in_its_own_way(pair: Pair) -> None:
    """The native list says the most."""
    assert NAMES == set(await names_of(pair))
    assert [V1] == [one.path for one in pair.standin.seen]


async def test_a_host_of_0_3_is_known_by_what_it_says() -> None:
    """
    It answers 200 to a path that it lacks: the body tells (docs/facts/lmstudio.md#unknown-path).
    """
    async with open_pair(host_version="0.3") as pair:
        assert NAMES == set(await names_of(pair))
        assert [(V1, 200), (V0, 200)] == [(one.path, one.status) for one in pair.standin.seen]


async def test_any_other_host_of_the_dialect_is_served() -> None:
    """Names only, and the rest is estimated from them."""
    async with open_pair(host_version="openai") as pair:
        assert NAMES == set(await names_of(pair))
        assert [V1, V0, OPENAI] == [one.path for one in pair.standin.seen]
        answer = await pair.post("/api/chat", chat())
        assert 200 == answer.status_code, answer.text


@pytest.mark.parametrize(("version", "path"), [("0.4", V1), ("0.3", V0), ("openai", OPENAI)])
async def test_a_known_dialect_is_asked_for_first(version: str, path: str) -> None:
    """Once found out, a host is not asked in vain again."""
    async with open_pair(host_version=version) as pair:
        await pair.get("/api/tags")
        pair.forget()
        await pair.get("/api/tags")
        assert [path] == [one.path for one in pair.standin.seen]


async def test_a_host_that_was_updated_is_known_anew() -> None:
    """Its old list is gone: the next way is tried."""
    async with open_pair(host_version="0.3") as pair:
        await pair.get("/api/tags")
        pair.script(
            list_as({"error": f"Unexpected endpoint or method. (GET {V0})"}, V0),
            list_as({"models": [FULL]}),
        )
        assert ["p/whole-2b:latest"] == await names_of(pair)


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_missing_route_may_have_an_honest_status(status: int) -> None:
    """Servers other than LM Studio say so in the usual way."""
    async with open_pair(host_version="0.3") as pair:
        pair.script(list_as("<html>no such page</html>", V1, status))
        assert NAMES == set(await names_of(pair))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_the_gateways_own(status: int) -> None:
    """Clients take 401 for a reason to sign in elsewhere."""
    async with open_pair() as pair:
        pair.script(list_as({"error": {"message": "No."}}, V1, status))
        answer = await pair.client.get("/api/tags")
        assert 502 == answer.status_code
        assert "LM_API_TOKEN" in answer.json()["error"]
        assert [V1] == [one.path for one in pair.standin.seen]


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_list_that_fails_is_no_empty_list(pair: Pair, status: int) -> None:
    """And no reason to try an older way (docs/facts/clients.md#failed-lists)."""
    pair.script(list_as({"error": {"message": "Not now."}}, V1, status))
    answer = await pair.client.get("/api/tags")
    assert answer.status_code >= 500
    assert "Not now." in answer.json()["error"]
    assert [V1] == [one.path for one in pair.standin.seen]


@pytest.mark.parametrize("body", ["", "{", "[]", '"models"', '{"models":7}', '{"models":[[]]'])
async def test_a_list_that_is_none_is_told(pair: Pair, body: str) -> None:
    """As an error from LM Studio, and the gateway lives on."""
    pair.script(list_as(body, nth=1))
    answer = await pair.client.get("/api/tags")
    assert 502 == answer.status_code, answer.text
    assert NAMES == set(await names_of(pair))


@pytest.mark.parametrize("version", ["0.4", "0.3", "openai"])
async def test_a_host_without_models_has_an_empty_list(version: str) -> None:
    """Not an error: nothing is downloaded yet."""
    async with open_pair(host_version=version, models=()) as pair:
        assert {"models": []} == await pair.get("/api/tags")
        assert {"models": []} == await pair.get("/api/ps")


async def test_an_old_host_says_what_it_can() -> None:
    """0.3 tells of type, family, quantisation and what is loaded; not of tools."""
    async with open_pair(host_version="0.3") as pair:
        models = {one["name"]: one for one in (await pair.get("/api/tags"))["models"]}
        varied = models[f"{VARIED}:q8_0"]
        assert ("qwen2", "Q8_0") == (
            varied["details"]["family"],
            varied["details"]["quantization_level"],
        )
        assert ["embedding"] == models[f"{LOADED_EMBEDDER}:latest"]["capabilities"]
        assert {f"{LOADED}:latest", f"{LOADED_EMBEDDER}:latest"} == set(await pair.running())


async def test_what_an_old_host_does_not_do_says_so() -> None:
    """Unloading needs the native API; the sentence says what would help."""
    async with open_pair(host_version="0.3") as pair:
        answer = await pair.post("/api/generate", {"model": LOADED, "keep_alive": 0})
        assert 501 == answer.status_code
        assert "update LM Studio" in answer.json()["error"]


# -- hostile lists -------------------------------------------------------------------------------

BROKEN: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a list": [],
    "an empty object": {},
    "key null": {**FULL, "key": None},
    "key a number": {**FULL, "key": 7},
    "instances of text": {**FULL, "key": "p/broken-1b", "loaded_instances": "none"},
    "an instance without an id": {**FULL, "key": "p/broken-1b", "loaded_instances": [{}]},
    "size as text": {**FULL, "key": "p/broken-1b", "size_bytes": "large"},
}


@pytest.mark.parametrize("entry", BROKEN.values(), ids=BROKEN.keys())
async def test_one_broken_entry_hides_no_other(pair: Pair, entry: Any) -> None:
    """
    It is left out, or shown with what can be read of it (docs/facts/clients.md#partial-lists).
    """
    second = {**FULL, "key": "p/second-2b", "loaded_instances": []}
    pair.script(list_as({"models": [FULL, entry, second]}))
    names = await names_of(pair)
    assert {"p/whole-2b:latest", "p/second-2b:latest"} <= set(names)
    assert 200 == (await pair.post("/api/show", {"model": "p/second-2b"})).status_code
    assert ["p/whole-2b:latest"] == list(await pair.running())


@pytest.mark.parametrize("path", [V0, OPENAI])
@pytest.mark.parametrize("entry", [None, 7, [], {}, {"id": None}])
async def test_one_broken_entry_of_an_older_list_hides_no_other(path: str, entry: Any) -> None:
    """The same in every dialect."""
    async with open_pair(host_version="0.3" if path == V0 else "openai") as pair:
        whole = {"id": "p/whole-2b", "object": "model"}
        pair.script(list_as({"data": [entry, whole], "object": "list"}, path))
        assert ["p/whole-2b:latest"] == await names_of(pair)


@pytest.mark.parametrize("number", ["1e400", "-1", "-1e400", "0", "1e18", "123456789012345678901"])
async def test_one_odd_number_hides_no_model(pair: Pair, number: str) -> None:
    """A size that is none may be shown as nothing, but the list is there."""
    for field in ("size_bytes", "max_context_length", "context_length"):
        text = json.dumps({"models": [FULL, {**FULL, "key": "p/second-2b"}]})
        text = re.sub(rf'"{field}": \d+', f'"{field}": {number}', text, count=1)
        pair.standin.app.script.clear()
        pair.script(list_as(text))
        assert "p/second-2b:latest" in await names_of(pair)
        assert 200 == (await pair.client.get("/api/ps")).status_code
        answer = await pair.post("/api/show", {"model": "p/whole-2b"})
        assert answer.status_code in (200, 404)


@pytest.mark.parametrize("field", sorted(set(FULL) - {"key"}))
async def test_no_field_but_the_key_is_needed(pair: Pair, field: str) -> None:
    """Null or missing, the models are listed, shown and counted."""
    null = {**FULL, field: None}
    missing = {name: value for name, value in FULL.items() if name != field}
    pair.script(list_as({"models": [null, {**missing, "key": "p/second-2b"}]}))
    shown = (await pair.get("/api/tags"))["models"]
    assert ["p/whole-2b:latest", "p/second-2b:latest"] == [one["name"] for one in shown]
    assert all(len(one["digest"]) == 64 and isinstance(one["size"], int) for one in shown)
    for one in shown:
        answer = await pair.post("/api/show", {"model": one["name"]})
        assert 200 == answer.status_code, answer.text
    await pair.get("/api/ps")


async def test_a_key_alone_is_a_model(pair: Pair) -> None:
    """Everything else is estimated or left empty."""
    pair.script(list_as({"models": [{"key": "lonely-3b"}]}))
    (shown,) = (await pair.get("/api/tags"))["models"]
    assert ("lonely-3b:latest", "3B") == (shown["name"], shown["details"]["parameter_size"])
    assert 200 == (await pair.post("/api/show", {"model": "lonely-3b"})).status_code
    assert {} == await pair.running()


@pytest.mark.parametrize(
    "change",
    [
        {"type": "video"},
        {"type": ""},
        {"format": "splash"},
        {"architecture": "never_heard_of_9"},
        {"quantization": {"name": "Q0_NEW", "bits_per_weight": 0.5}},
        {"capabilities": {"vision": True, "taste": True, "reasoning": {"allowed_options": []}}},
        {"params_string": "many"},
        {"future": {"field": [1]}},
        {"max_context_length": 8192.0},
        {"size_bytes": 1.5e9},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_unknown_values_are_taken(pair: Pair, change: dict[str, Any]) -> None:
    """LM Studio's vocabularies grow; a word that is new here is no error."""
    pair.script(list_as({"models": [{**FULL, **change}]}))
    (shown,) = (await pair.get("/api/tags"))["models"]
    assert "p/whole-2b:latest" == shown["name"]
    assert 200 == (await pair.post("/api/show", {"model": "p/whole-2b"})).status_code


async def test_an_unknown_state_of_an_old_host_is_not_loaded() -> None:
    """`loading` was seen by others (docs/facts/lmstudio.md#v0-words)."""
    async with open_pair(host_version="0.3") as pair:
        row = {"id": "p/whole-2b", "object": "model", "state": "loading"}
        pair.script(list_as({"data": [row], "object": "list"}, V0))
        assert {} == await pair.running()
        assert ["p/whole-2b:latest"] == await names_of(pair)


async def test_a_key_that_stands_there_twice_is_one_model(pair: Pair) -> None:
    """Machines that are joined may both have it (docs/facts/lmstudio.md#linked-machines)."""
    other = {**FULL, "display_name": "The other machine's", "loaded_instances": []}
    pair.script(list_as({"models": [FULL, other]}))
    assert ["p/whole-2b:latest"] == await names_of(pair)
    assert ["p/whole-2b:latest"] == list(await pair.running())


async def test_an_instance_that_only_the_second_twin_has_counts(pair: Pair) -> None:
    """A model that is loaded on either machine is loaded."""
    idle = {**FULL, "loaded_instances": []}
    pair.script(list_as({"models": [idle, FULL]}))
    assert ["p/whole-2b:latest"] == list(await pair.running())
    await pair.post("/api/generate", {"model": "p/whole-2b"})
    assert [] == pair.asked(LOAD)


async def test_keys_that_differ_in_letter_case_only_are_both_served(pair: Pair) -> None:
    """Exactly as written each is itself."""
    one, two = {**FULL, "key": "p/Twin-2b"}, {**FULL, "key": "p/twin-2b", "loaded_instances": []}
    pair.script(list_as({"models": [one, two]}))
    assert {"p/Twin-2b:latest", "p/twin-2b:latest"} == set(await names_of(pair))


async def test_an_instances_name_hides_no_model(pair: Pair) -> None:
    """People call instances as they like, also as another model is called."""
    alias = {"id": "p/second-2b:latest", "config": {"context_length": 4096}}
    first = {**FULL, "loaded_instances": [alias]}
    second = {**FULL, "key": "p/second-2b", "loaded_instances": []}
    pair.script(list_as({"models": [first, second]}))
    assert ["p/whole-2b:latest", "p/second-2b:latest"] == await names_of(pair)
    await pair.post("/api/generate", {"model": "p/second-2b:latest", "keep_alive": 0})
    assert [] == pair.asked("/api/v1/models/unload")


async def test_the_list_is_read_whatever_its_order_and_spacing(pair: Pair) -> None:
    """Compact or indented, a byte order mark in front, unknown keys beside."""
    text = json.dumps({"extra": [1, {"models": 2}], "models": [FULL]}, indent=4)
    pair.script(list_as("\N{ZERO WIDTH NO-BREAK SPACE}" + text))
    assert ["p/whole-2b:latest"] == await names_of(pair)


async def test_a_long_list_is_served() -> None:
    """A thousand models are one answer."""
    async with open_pair() as pair:
        models = [{**FULL, "key": f"p/model-{n}", "loaded_instances": []} for n in range(1000)]
        pair.script(list_as({"models": models}))
        assert 1000 == len(await names_of(pair))


async def test_every_listed_name_is_a_name(pair: Pair) -> None:
    """What tags lists can be shown and asked, however odd its key."""
    keys = [
        "a b",
        "ü",
        "x" * 200,
        "a/b/c/d/e",
        "dotted.pub/model",
        ".hidden",
        "a:b",
        "k@q4@q8",
        "@",
    ]
    keys += [
        "library/x",
        "registry.ollama.ai/library/y",
        "m:latest",
        "m",
        "-",
        "a//b",
        "\U0001f642",
    ]
    pair.script(list_as({"models": [{**FULL, "key": key, "variants": []} for key in keys]}))
    names = await names_of(pair)
    assert len(keys) == len(set(names))
    for key, name in zip(keys, names, strict=True):
        for asked in (key, name):
            answer = await pair.post("/api/show", {"model": asked})
            assert (asked, 200) == (asked, answer.status_code)


async def test_an_alias_without_a_model_is_said_once() -> None:
    """And again when its model has been there in between."""
    with written(format="json") as log:
        async with open_pair({"aliases": {"pilot": "harbor/beacon-9b"}}) as pair:
            for _ in range(3):
                await pair.get("/api/ps")
            assert 1 == len(lines_of(log, "configured alias without a model"))
            table = pair.standin.app.host.table
            table.models.append(downloaded_model("harbor/beacon-9b", 1))
            await pair.get("/api/ps")
            table.models.pop()
            for _ in range(3):
                await pair.get("/api/ps")
    assert 2 == len(lines_of(log, "configured alias without a model"))
