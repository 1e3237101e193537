"""What the generator emits does what the rules say: the fixture project's plans, run."""

import ast
import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from codegen.generator import Generator
from conformance.tests.codegen.harness import edited, gateway_of, replaced, written

PLANS = Path(__file__).parents[3] / "gateway" / "plans"

Modules = Mapping[str, ModuleType]


@pytest.fixture(scope="module")
def gateway(project: Path) -> Iterator[Modules]:
    """The fixture project's gateway, generated and imported."""
    written(Generator(project).generate(), project)
    with gateway_of(project) as modules:
        yield modules


def run_of(gateway: Modules) -> Any:
    """Return a run that knows one model that can do all, and one that can do nothing."""
    internal = gateway["internal"]

    def row(key: str, verdict: str, kind: str) -> Any:
        able = internal.Capabilities(completion=verdict, tools=verdict)
        return internal.Row(key=key, name=f"{key}:latest", size=7, kind=kind, capabilities=able)

    rows = {"able": row("able", "yes", "dense"), "dumb": row("dumb", "no", "unknown")}
    return gateway["run"].Run(rows)


def outcome_of(gateway: Modules, mapping: str, body: object, run: Any | None = None) -> Any:
    """Run a mapping's plan for a request body; return what it ends in."""
    endpoint = next(
        item
        for item in gateway["endpoints"].ENDPOINTS
        if item.plan is gateway[mapping].plan and item.method != "HEAD"
    )
    request = endpoint.reader.read(json.dumps(body).encode()) if endpoint.reader else None
    return asyncio.run(endpoint.plan(request, run or run_of(gateway)))


def refusal_of(gateway: Modules, mapping: str, body: object) -> tuple[int, str]:
    """Run a plan that refuses; return the status and the words."""
    with pytest.raises(gateway["faults"].Refusal) as caught:
        outcome_of(gateway, mapping, body)
    return caught.value.status, caught.value.error


def frames_of(call: Any, chunks: list[object]) -> list[object]:
    """Feed chunks to a streamed call; return its frames, the last one included."""
    translator = call.translator()
    read = [call.chunks.decode(json.dumps(chunk).encode()) for chunk in chunks]
    frames = [frame for chunk in read if (frame := translator.chunk(chunk)) is not None]
    return [msgspec.to_builtins(frame) for frame in (*frames, translator.end())]


def folded(call: Any, chunks: list[object]) -> object:
    """Feed chunks to a streamed call; return the one answer of a client that wants no frames."""
    translator, fold = call.translator(), call.fold()
    for chunk in chunks:
        frame = translator.chunk(call.chunks.decode(json.dumps(chunk).encode()))
        if frame is not None:
            fold.add(frame)
    return msgspec.to_builtins(fold.result(translator.end()))


def choice(**fields: object) -> dict[str, object]:
    """Return a chunk of one choice."""
    return {"choices": [{"index": 0, **fields}]}


CHUNKS: list[object] = [
    choice(delta={"thinking": "Hm."}),
    choice(delta={"content": "To be "}, marks=[{"weight": 0.5}]),
    choice(delta={"content": "or not to be", "musing": ""}, ended="length"),
    {"choices": [], "usage": {"spent": 3}},
    {"choices": [], "usage": {"spent": 4, "total": 9}},
    choice(delta={"content": None}, marks=None),
]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"keep": "soon"}, (400, "'soon' is no time")),
        ({"limit": 10, "question": "?"}, (400, "limit must be between 0 and 9, not 10")),
        ({"quiet": True, "question": "?"}, (409, "quiet and question exclude each other")),
        ({}, (400, "model is required")),
        ({"model": "a b"}, (400, "'a b' is no name")),
        ({"name": "none"}, (404, "model 'none' not found")),
        ({"model": "dumb", "question": "?"}, (400, "dumb:latest answers no questions")),
        ({"model": "able", "options": {"seed": "x"}}, (500, "option seed must be whole")),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else str(value[0]),
)
def test_refusals_come_in_the_order_of_the_plan(
    gateway: Modules, body: object, expected: tuple[int, str]
) -> None:
    """Each step refuses with its own status and words, values of the request among them."""
    assert expected == refusal_of(gateway, "ask", body)


def test_zero_and_empty_are_values(gateway: Modules) -> None:
    """A limit of zero is within bounds and is sent; an empty hint is a hint."""
    body = {"model": "able", "question": "?", "limit": 0, "stream": True, "hint": ""}

    sent = msgspec.to_builtins(outcome_of(gateway, "ask", body).body)

    assert (0, "") == (sent["limit"], sent["hint"])


def test_an_answer_does_its_step_first(gateway: Modules) -> None:
    """A short answer runs its step, and one that is like another differs in what it replaces."""
    run = run_of(gateway)

    farewell = outcome_of(gateway, "ask", {"model": "able", "keep": "none"}, run)
    greeting = outcome_of(gateway, "ask", {"model": "able", "keep": "long"}, run)

    frame = {"model": "able", "at": "now", "done": True, "reason": "stop"}
    assert {**frame, "text": "goodbye"} == msgspec.to_builtins(farewell.body)
    assert {**frame, "text": "hello"} == msgspec.to_builtins(greeting.body)
    assert ["drop able", "hold able long"] == run.deeds


def test_a_request_is_translated_field_by_field(gateway: Modules) -> None:
    """Tables, matches, transforms, late values and lists through shapes all do their part."""
    body = {
        "model": "able",
        "question": "Why?",
        "notes": [{"role": "writer", "text": "Because.", "grade": "good"}],
        "hint": None,
        "tone": "warm",
        "size": "large",
        "stop": ".",
        "limit": 3,
        "options": {"seed": 0, "words": [], "of another server": 1},
    }

    call = outcome_of(gateway, "ask", body)

    expected = {
        "model": "able",
        "lines": [
            {"who": "writer", "content": "Because.", "rating": "up"},
            {"who": "reader", "content": "Why?"},
        ],
        "stream": True,
        "tone": "kind",
        "size": 9,
        "stop": ["."],
        "form": {"kind": "text"},
        "seed": 0,
        "warmth": 0.5,
    }
    assert ("POST", "/v1/answers", True) == (call.method, call.path, call.streamed)
    assert expected == msgspec.to_builtins(call.body)


def test_a_large_request_is_translated_apart(gateway: Modules) -> None:
    """So are the calls that look through it for a step; a small request is handled at once."""
    body = {"model": "able", "question": "Why?", "limit": 3}
    run, large = run_of(gateway), run_of(gateway)
    large.is_large = True

    sent = outcome_of(gateway, "ask", body, run).body
    sent_apart = outcome_of(gateway, "ask", body, large).body

    assert "apart" not in run.deeds
    assert ["apart", *run.deeds, "apart"] == large.deeds
    assert sent == sent_apart


def test_what_is_absent_stays_absent(gateway: Modules) -> None:
    """A request that says little is translated to one that says little."""
    body = {"model": "able", "question": "Why?", "stream": False}

    call = outcome_of(gateway, "ask", body)

    assert not call.streamed
    assert {"model", "lines", "stream", "form", "warmth"} == set(msgspec.to_builtins(call.body))


def test_chunks_become_frames(gateway: Modules) -> None:
    """State is kept from chunk to chunk: first, last, sum, fold, and what every chunk gives."""
    call = outcome_of(gateway, "ask", {"model": "able", "question": "?"})

    frames = frames_of(call, CHUNKS)

    start = {"model": "able", "at": "now"}
    assert [
        {**start, "text": "", "thought": "Hm.", "done": False},
        {**start, "text": "To be ", "marks": [{"weight": 0.5}], "done": False},
        {**start, "text": "or not to be", "done": False},
        {
            **start,
            "done": True,
            "reason": "length",
            "opening": "or not to be",
            "count": 4,
            "elapsed": 41,
            "words": [
                {"word": "be", "times": 2},
                {"word": "To", "times": 1},
                {"word": "or", "times": 1},
                {"word": "not", "times": 1},
                {"word": "to", "times": 1},
            ],
        },
    ] == frames


def test_a_stream_reads_once_what_does_not_change(gateway: Modules) -> None:
    """What the description does not mark as changing is what it was when the stream began."""
    run = run_of(gateway)
    call = outcome_of(gateway, "ask", {"model": "able", "question": "?"}, run)
    chunk = call.chunks.decode(json.dumps(choice(delta={"thinking": "Hm."})).encode())
    translator = call.translator()

    run.context.now, run.context.shown = "later", "text"

    assert ("later", "Hm.") == ((frame := translator.chunk(chunk)).at, frame.thought)
    assert call.translator().chunk(chunk) is None, "a new stream reads anew"


def test_frames_fold_to_one_answer(gateway: Modules) -> None:
    """A client that wants no frames gets everything that they held."""
    call = outcome_of(gateway, "ask", {"model": "able", "question": "?", "stream": False})

    answer = folded(call, CHUNKS)

    assert isinstance(answer, dict)
    assert "To be or not to be" == answer["text"]
    assert "Hm." == answer["thought"]
    assert [{"weight": 0.5}] == answer["marks"]
    assert (True, "length", 4) == (answer["done"], answer["reason"], answer["count"])


def test_a_stream_knows_when_it_is_complete(gateway: Modules) -> None:
    """Its condition is asked of what it remembers; without one any end is a regular one."""
    asked = outcome_of(gateway, "ask", {"model": "able", "question": "?"})
    guided = outcome_of(gateway, "guide", {"model": "able", "form": "text"})
    translator = asked.translator()

    assert not translator.complete
    translator.chunk(asked.chunks.decode(json.dumps(choice(ended="stop")).encode()))
    assert translator.complete
    assert guided.translator().complete


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", {"kind": "text"}),
        ({"type": "object"}, {"kind": "schema", "schema": {"type": "object"}, "strict": True}),
        ("", None),
        (None, None),
    ],
    ids=json.dumps,
)
def test_a_value_chooses_its_rule(gateway: Modules, form: object, expected: object) -> None:
    """Constants and JSON types choose; an empty word leaves the field out, as null does."""
    call = outcome_of(gateway, "guide", {"model": "able", "question": "?", "form": form})

    assert expected == json.loads(msgspec.json.encode(call.body)).get("form")


def test_a_value_that_no_case_takes_is_refused(gateway: Modules) -> None:
    """The refusal shows the value's JSON, in quotes as Go prints it."""
    refusal = refusal_of(gateway, "guide", {"model": "able", "form": "xml"})

    assert (400, r'form must be a word or a schema, not "\"xml\""') == refusal


def test_the_first_call_whose_condition_holds_is_made(gateway: Modules) -> None:
    """Without a form the plan goes on to the next call, which takes one answer."""
    call = outcome_of(gateway, "guide", {"model": "able", "question": "How long?"})
    answer = call.translate(call.decoder.decode(b'{"length": 2.0, "label": "x"}'))

    assert ("/v1/lengths", "How long?") == (call.path, call.body.text)
    assert {"model": "able", "done": True, "count": 2} == msgspec.to_builtins(answer)


@pytest.mark.parametrize(
    ("shown", "path"), [("both", "/v1/lengths"), ("text", "/v1/older/lengths")]
)
def test_a_condition_chooses_the_operation_of_a_call(
    gateway: Modules, shown: str, path: str
) -> None:
    """An alternative takes the same body; where its condition holds, it is called instead."""
    run = run_of(gateway)
    run.context.shown = shown
    call = outcome_of(gateway, "guide", {"model": "able", "question": "How long?"}, run)

    assert (path, "How long?") == (call.path, call.body.text)


@pytest.mark.parametrize("label", ["short", {"text": "short"}], ids=["text", "object"])
def test_an_answer_is_translated(gateway: Modules, label: object) -> None:
    """A union is told apart by its JSON type, objects of a spec among them."""
    call = outcome_of(gateway, "measure", {"model": "able", "text": "a", "unit": "letter"})
    answer = call.translate(call.decoder.decode(json.dumps({"length": 1, "label": label}).encode()))

    assert "l" == call.body.by
    assert {"model": "able", "length": 1, "label": "short"} == msgspec.to_builtins(answer)


def test_lists_of_our_own_are_answered(gateway: Modules) -> None:
    """A shape that chooses by a closed vocabulary treats each of its words."""
    answer = outcome_of(gateway, "models", None)

    assert [
        {"name": "able:latest", "from": "here", "size": 7},
        {"name": "dumb:latest", "from": "nowhere"},
    ] == msgspec.to_builtins(answer.body)["models"]


def test_a_text_is_answered_as_it_stands(gateway: Modules) -> None:
    """A plain text is no JSON."""
    assert "the fixture is running" == outcome_of(gateway, "root", None).body


def test_what_is_not_served_is_refused(gateway: Modules) -> None:
    """A plan of one refusal reads the body and refuses."""
    assert (501, "this was never here") == refusal_of(gateway, "gone", {"model": "able"})


def test_calls_without_a_client_are_functions(gateway: Modules) -> None:
    """A mapping without `client` gives the gateway calls of its own; paths take parameters."""
    host, internal = gateway["host"], gateway["internal"]
    listed = host.list_models()
    rows = listed.translate(
        listed.decoder.decode(b'{"data": [{"id": "a", "bytes": 5}, {"bytes": "many"}]}')
    )

    assert "/v1/models/a" == host.one_model("a").path
    assert {"id": "a"} == msgspec.to_builtins(host.fetch(internal.Wish(key="a")).body)
    assert [{"key": "a", "size": 5}, {"key": ""}] == msgspec.to_builtins(rows)["rows"]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ({"fault": "connect", "message": "refused"}, (503, "nobody is there: refused")),
        ({"fault": "not_json", "message": "<html>"}, (504, "no sensible answer")),
        ({"status": 404, "code": "no_model"}, (404, "model not found: no_model")),
        ({"status": 404, "message": "no route"}, (400, "no route")),
        ({"status": 422, "message": "Far TOO LONG"}, (400, "the text is too long")),
        ({"status": 500, "message": "oh"}, (502, "upstream said 500: oh")),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_the_first_error_row_that_fits_counts(
    gateway: Modules, failure: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Rows match by fault, status, class, code and words, in the order of the file."""
    failed = gateway["faults"].UpstreamFailure(**{"message": "", **failure})

    refusal = gateway["shared"].refusal_for(failed, gateway["context"].RequestContext())

    assert expected == (refusal.status, refusal.error)


def test_some_failures_are_worth_a_recovery(gateway: Modules) -> None:
    """Words of the message, in any case, or its code say which."""
    failure = gateway["faults"].UpstreamFailure
    recovery = gateway["shared"].recovery_for

    assert "load" == recovery(failure("MODEL unloaded just now", status=400))
    assert "load" == recovery(failure("gone", status=400, code="no_model"))
    assert recovery(failure("gone", status=400)) is None


NEW_PATH = """\
  /api/echo:
    post:
      operationId: echo
      requestBody:
        content:
          application/json: {schema: {$ref: '#/components/schemas/EchoRequest'}}
      responses:
        '200':
          description: What was said.
          content:
            application/json: {schema: {$ref: '#/components/schemas/EchoResponse'}}
        '400': {$ref: '#/components/responses/Error'}
  /api/gone:
"""
NEW_SCHEMAS = """\
    EchoRequest:
      type: object
      properties:
        said: {type: string}
        times: {type: integer}
    EchoResponse:
      type: object
      required: [heard]
      properties:
        heard: {type: string}
    GoneRequest:
"""
NEW_MAPPING = """\
mapping: echo
client: {api: ollama, operation: post /api/echo}
plan:
  - check:  {between: [times, 1, 1]}
    else:   {status: 400, error: "an echo comes once, not {times} times"}
  - answer: echo
answers:
  echo:
    fields:
      heard: {from: said, default: nothing}
ignored:
  times: an echo comes once
"""


def test_a_new_endpoint_needs_no_code(project: Path) -> None:
    """A path in the spec and a mapping file make a plan that runs; nothing else changes."""
    spec = "specs/ollama.yaml"
    described = replaced(project, spec, "  /api/gone:\n", NEW_PATH)
    described = described.replace("    GoneRequest:\n", NEW_SCHEMAS)
    before = Generator(project).generate().texts

    with edited(project, {spec: described, "specs/mappings/echo.yaml": NEW_MAPPING}):
        files = Generator(project).generate()
    written(files, project)
    with gateway_of(project) as modules:
        answer = outcome_of(modules, "echo", {"said": "hello"})
        refusal = refusal_of(modules, "echo", {"times": 3})

    assert {"heard": "hello"} == msgspec.to_builtins(answer.body)
    assert (400, "an echo comes once, not 3 times") == refusal
    kept = set(before) - {"gateway/plans/endpoints.py", "gateway/types/ollama.py"}
    assert {"COVERAGE.md", "gateway/explain/rules.json"} == {
        name for name in kept if before[name] != files.texts[name]
    }


MODEL = """\
  - model:   said
    missing: {status: 400, error: "what is said?"}
    illegal: {status: 400, error: "illegal"}
    unknown: {status: 400, error: "unknown"}
    cloud:   {status: 400, error: "elsewhere"}
    conflict: {status: 400, error: "in two places"}
"""


@pytest.mark.parametrize(
    ("heard", "before", "keeps"),
    [
        ("{from: said, default: nothing}", "", "request"),
        ("$context.model.name", MODEL, "request"),
        ("$context.asked.text", MODEL, "request"),
        ("$context.now", "", ""),
        ("$context.shown", "", ""),
        ("$context.model.name", f"{MODEL}  - do: drop\n", ""),
        ("$context.now", MODEL, ""),
    ],
)
def test_what_an_answer_reads_says_whether_it_is_kept(
    project: Path, heard: str, before: str, keeps: str
) -> None:
    """What depends on the request and the models alone is; the time changes, and a step acts."""
    spec = "specs/ollama.yaml"
    described = replaced(project, spec, "  /api/gone:\n", NEW_PATH)
    described = described.replace("    GoneRequest:\n", NEW_SCHEMAS)
    mapping = NEW_MAPPING.replace("{from: said, default: nothing}", heard)
    mapping = mapping.replace("  - answer: echo\n", f"{before}  - answer: echo\n")
    if "said" not in heard + before:
        mapping += "  said: it is not heard\n"

    row = echo_row(project, {spec: described, "specs/mappings/echo.yaml": mapping})

    assert (f'keeps="{keeps}"' in row, "keeps=" in row) == (keeps != "", keeps != "")


UNREAD = "    post:\n      x-go-unread: true\n      operationId: echo"


@pytest.mark.parametrize("is_read", [True, False])
def test_a_body_that_must_only_be_there_is_looked_for(project: Path, is_read: bool) -> None:
    """A kept answer would come without it, too."""
    spec = "specs/ollama.yaml"
    path = NEW_PATH.replace("        '400': {$ref: '#/components/responses/Error'}\n", "")
    described = replaced(project, spec, "  /api/gone:\n", path)
    described = described.replace("    GoneRequest:\n", NEW_SCHEMAS)
    mapping = NEW_MAPPING.replace("{from: said, default: nothing}", "{value: nothing}")
    mapping = re.sub(r"  - check:.*\n.*\n", "", mapping)
    if is_read:
        mapping += "  said: it is not heard\n"
    else:
        described = described.replace("    post:\n      operationId: echo", UNREAD)
        mapping = re.sub(r"ignored:\n.*\n", "", mapping)

    row = echo_row(project, {spec: described, "specs/mappings/echo.yaml": mapping})

    assert is_read == ("keeps=" in row)


def echo_row(project: Path, changed: dict[str, str]) -> str:
    """Return the row of the new endpoint in the table that is generated after some changes."""
    with edited(project, changed):
        table = Generator(project).generate().texts["gateway/plans/endpoints.py"]
    _, _, row = table.partition("plan=echo.plan")
    return row.partition("Endpoint(")[0]


def test_a_report_translates_what_its_step_yields(gateway: Modules) -> None:
    """The path's value gets to the step; the request says whether every record is told."""
    run = run_of(gateway)
    run.context.path.place = "shelf"

    report = outcome_of(gateway, "scroll", {"stream": False}, run)

    async def told() -> list[object]:
        return [msgspec.to_builtins(report.translate(record)) async for record in report.records]

    assert asyncio.run(told()) == [
        {"text": "from shelf", "line": 1},
        {"text": "the end", "line": 2},
    ]
    assert run.deeds == ["read shelf"]
    assert not report.streamed
    assert outcome_of(gateway, "scroll", {}, run).streamed


@pytest.mark.parametrize(("place", "status", "deeds"), [("shelf", 200, []), ("box", 201, ["box"])])
def test_an_empty_answer_is_a_status(
    gateway: Modules, place: str, status: int, deeds: list[str]
) -> None:
    """Without a body, and of the status that the rules state."""
    run = run_of(gateway)
    run.context.path.place = place
    endpoint = next(item for item in gateway["endpoints"].ENDPOINTS if item.method == "PUT")

    answer = asyncio.run(endpoint.plan(None, run))

    assert endpoint.reads_bytes
    assert (answer.body, answer.status) == (None, status)
    assert run.deeds == [f"keep {deed}" for deed in deeds]


def test_changes_of_groups_come_before_those_that_include_them(gateway: Modules) -> None:
    """
    A group that two others include changes once; `both` changes answers and events alike.

    What a change of a group includes is a group of the file that has the change.
    """
    (row,) = (one for one in gateway["endpoints"].PASSTHROUGH if one.path == "/v1/models/fetch")

    changes = {
        side: [change.values.__name__ for change in getattr(row, side)]
        for side in ("request", "answer", "stream")
    }

    assert changes == {
        "request": ["request_id", "request_force"],
        "answer": ["answer_id", "answer_kind", "answer_bytes"],
        "stream": ["stream_id", "stream_kind", "stream_bytes"],
    }


MOST_KEYWORDS = 15
"""What Python passes without making a dictionary for the call."""


@pytest.mark.parametrize("plan", sorted(path.name for path in PLANS.glob("*.py")))
def test_no_body_is_made_with_a_dictionary(plan: str) -> None:
    """Each request would make one, and throw it away."""
    calls = [
        node
        for node in ast.walk(ast.parse((PLANS / plan).read_text("utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert [] == [ast.unparse(node.func) for node in calls if len(node.keywords) > MOST_KEYWORDS]
