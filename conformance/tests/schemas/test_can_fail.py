"""The suite finds what it is meant to find: a fake gateway with one fault each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance.runner.runner import Bench
from conformance.schemas.ollama import (
    Document,
    copy_for,
    find_too_few,
    read_document,
    run_operation,
)
from conformance.suite.spec import NDJSON
from conformance.tests.schemas.fake import (
    LAST,
    FakeGateway,
    Fault,
    Reply,
    answer_well,
    as_json,
    as_lines,
    encode,
    frame,
    stream,
)

SCHEMA = "response_schema_conformance"
ENDS = "stream_ends_once"


def streams(reply: Reply) -> Fault:
    """Answer streamed chats so, and everything else well."""

    def answer(path: str, body: Any) -> Reply:
        streamed = path == "/api/chat" and body.get("stream") is not False
        return reply if streamed else answer_well(path, body)

    return answer


def without(key: str) -> dict[str, Any]:
    """Return a frame that lacks a key."""
    return {name: value for name, value in frame().items() if name != key}


FAULTS: dict[str, tuple[Reply, set[str]]] = {
    "required-field-missing": (stream(without("created_at"), LAST), {SCHEMA}),
    "required-field-of-the-message-missing": (
        stream(frame(message={"role": "assistant"}), LAST),
        {SCHEMA},
    ),
    "wrong-type": (stream(frame(message={"role": "assistant", "content": 3}), LAST), {SCHEMA}),
    "wrong-type-in-the-last-line": (stream(frame(), {**LAST, "eval_count": "2"}), {SCHEMA}),
    "null-for-absent": (stream(frame(done_reason=None), LAST), {SCHEMA}),
    "undeclared-field": (stream(frame(choices=[]), LAST), {SCHEMA}),
    "blank-line": (as_lines([encode(frame()), b"", encode(LAST)]), {SCHEMA}),
    "blank-line-at-the-end": (as_lines([encode(frame()), encode(LAST), b""]), {SCHEMA}),
    "no-line": (Reply(200, NDJSON, b""), {SCHEMA, ENDS}),
    "no-json": (as_lines([b"data: {}", encode(LAST)]), {SCHEMA}),
    "line-without-its-end": (Reply(200, NDJSON, encode(LAST)), {SCHEMA}),
    "error-line": (stream(frame(), {"error": "out of coal"}), {ENDS}),
    "two-ends": (stream(LAST, LAST), {ENDS}),
    "no-end": (stream(frame(), frame()), {ENDS}),
    "undeclared-status": (
        as_json({"error": "I am a teapot"}, 418),
        {"status_code_conformance", "positive_data_acceptance"},
    ),
    "undeclared-content-type": (
        Reply(200, "text/html", encode(LAST)),
        {"content_type_conformance"},
    ),
    "trouble-of-the-upstream": (
        as_json({"error": "bad gateway"}, 502),
        {"not_a_server_error", "positive_data_acceptance"},
    ),
    "fault-of-its-own": (as_json({"error": "internal error"}, 500), {"faults_are_stated"}),
    "valid-shape-refused": (
        as_json({"error": "json: cannot unmarshal object"}, 400),
        {"shapes_are_read"},
    ),
    "error-without-its-text": (as_json({"message": "no"}, 400), {SCHEMA}),
}


@pytest.fixture(scope="module")
def document(names: dict[str, list[str]]) -> Document:
    """Return the copy of the spec that the fake is held against."""
    return copy_for(read_document(), names)


@pytest.fixture(scope="module")
def bench(document: Document) -> Iterator[tuple[Bench, FakeGateway]]:
    """Serve the fake gateway, with a stand-in that it never asks."""
    fake = FakeGateway(document)
    with Bench(lambda url, overrides: fake) as running:
        yield running, fake


@pytest.fixture
def fake(bench: tuple[Bench, FakeGateway]) -> Iterator[FakeGateway]:
    """Return the fake gateway, without a fault so far."""
    yield bench[1]
    bench[1].mend()


@pytest.fixture
def url(bench: tuple[Bench, FakeGateway]) -> str:
    """Return the fake gateway's address."""
    running, _ = bench
    address: str = running.submit(running.pair_for).gateway_url
    return address


@pytest.mark.parametrize(
    ("operation", "phases"), [("chat", ["examples"]), ("embeddings", ["examples", "coverage"])]
)
def test_nothing_is_found_where_nothing_is_wrong(
    fake: FakeGateway, url: str, document: Document, operation: str, phases: list[str]
) -> None:
    """A gateway without a fault passes, so what is found below is the fault."""
    account = run_operation(url, document, operation, phases)

    assert "" == account.report()
    assert account.statuses[200] > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_answers_are_found(
    fake: FakeGateway, url: str, document: Document, fault: str
) -> None:
    """Each fault of a stream, a status or a content type fails the check that is for it."""
    reply, checks = FAULTS[fault]
    fake.fault = streams(reply)

    account = run_operation(url, document, "chat", ["examples"])

    assert checks == account.failed_checks
    assert account.findings[0].name in account.report()


def test_a_fraction_for_an_integer_may_be_refused(
    fake: FakeGateway, url: str, document: Document
) -> None:
    """
    JSON Schema takes 1.0 for an integer and Go does not; Go counts (docs/facts/ollama.md#integers).
    """
    text = "json: cannot unmarshal number 1.0 into Go struct field ChatRequest.top_logprobs of type"
    fake.fault = streams(as_json({"error": f"{text} int"}, 400))

    assert set() == run_operation(url, document, "chat", ["examples"]).failed_checks

    fake.fault = streams(as_json({"error": f"{text} string"}, 400))

    assert {"shapes_are_read"} == run_operation(url, document, "chat", ["examples"]).failed_checks


def test_taking_anything_is_found(fake: FakeGateway, url: str, document: Document) -> None:
    """A gateway that reads no types fails with requests that break the spec."""
    fake.takes_anything = True

    account = run_operation(url, document, "embeddings")

    assert {"negative_data_rejection"} == account.failed_checks


def test_answering_any_method_is_found(fake: FakeGateway, url: str, document: Document) -> None:
    """A gateway that answers a method which the spec lacks fails."""
    fake.refuses_methods = False
    fake.takes_anything = True

    account = run_operation(url, document, "embeddings", ["coverage"])

    assert "unsupported_method" in account.failed_checks


def test_answers_of_its_own_are_found(
    bench: tuple[Bench, FakeGateway], fake: FakeGateway, url: str, document: Document
) -> None:
    """Sound answers are not enough: a gateway that does not ask LM Studio is told apart."""
    running, _ = bench
    pair = running.submit(running.pair_for)

    run_operation(url, document, "chat", ["examples"])
    paths = [request.path for request in running.submit(pair.control.seen)]

    complaint = find_too_few(paths, "/v1/chat/completions", 1)
    assert complaint is not None
    assert "0 requests reached LM Studio's /v1/chat/completions" in complaint


def test_a_gateway_that_is_away_is_found(document: Document) -> None:
    """No answer at all is trouble, not an empty list of findings."""
    account = run_operation("http://127.0.0.1:9", document, "get_version")

    assert account.report()
    assert 0 == account.cases


def test_names_are_those_of_the_models(names: dict[str, list[str]]) -> None:
    """No name of the spec's examples is left in the copy, and `model` is one of the stand-in's."""
    document = copy_for(read_document(), names)

    assert "harbor/tiny" not in str(document["paths"])
    for name in ("ChatRequest", "GenerateRequest", "EmbedRequest", "EmbeddingRequest"):
        offered = document["components"]["schemas"][name]["properties"]["model"]["enum"]
        assert {*names["llm"], *names["embedding"], None} == set(offered)
