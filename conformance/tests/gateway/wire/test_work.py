"""Work that grows with a body's size alone: counted in steps of the interpreter, not in time."""

from collections.abc import Callable

import msgspec
import pytest
from msgspec import Raw

from conformance.tests.gateway.interpreter import steps_of
from gateway.faults import Refusal, UpstreamFailure
from gateway.transforms.messages import conversation
from gateway.transforms.passed_calls import sound_calls, whole_calls
from gateway.transforms.tool_fragments import finished_calls, merge_tool_calls
from gateway.types import ollama, openai
from gateway.wire.go_json import first_value
from gateway.wire.reading import read_slowly

MANY = 300


def steps_to_refuse(body: bytes) -> int:
    """Return how many steps it takes to refuse a body."""

    def refuse() -> None:
        with pytest.raises(Refusal):
            first_value(body)

    return steps_of(refuse)


@pytest.mark.parametrize(
    "item",
    [b"1,", b'"a\\n",', b"null,", b"[],", b'{"a":[1, {"b":-1.5e3}]},', b"true , "],
)
@pytest.mark.parametrize("begin", [b"[", b'{"model":"m","x":[', b"[[[[[["])
def test_what_is_whole_before_an_error_takes_no_steps(item: bytes, begin: bytes) -> None:
    """A syntax error at the end of a large body is found without a step for each value."""
    first_value(b"[1]")
    few, many = (steps_to_refuse(begin + item * n + b"!") for n in (MANY, 8 * MANY))
    # Less than one for every value more; the collector may run hooks meanwhile.
    assert many - few < MANY


@pytest.mark.parametrize(
    "body",
    [
        b"[1,]", b"[1,2 3]", b'{"a":1,}', b'{"a":1,"b"}', b"[01,1]", b"[1.,1]", b"[-,1]", b"[1e,1]",
        b'["\x01",1]', b'["\\x",1]', b'["\\u12",1]', b"[[1,],1]", b'[{"a":1,},1]', b"[nul,1]",
        b'[{"a" 1},1]', b'[{1:1},1]', b"[,1]", b"[1,,1]", b'{"a":[1,2,],"b":1}', b"[[[[[[1,]]]]]]",
    ],
)  # fmt: skip
def test_runs_of_values_hide_no_error(body: bytes) -> None:
    """What is skipped in one go is only what Go takes: the words are those of a walk by steps."""
    with pytest.raises(Refusal) as large:
        first_value(b"[[" + b"1," * MANY + body + b"," + b"1," * MANY + b"1]]")
    with pytest.raises(Refusal) as small:
        first_value(body)
    assert small.value.error == large.value.error


@pytest.mark.parametrize(
    ("field", "item"), [("context", b"1,"), ("stops", b'"a",'), ("floats", b"1.5,"), ("x", b"[],")]
)
def test_plain_values_that_fit_take_no_steps(field: str, item: bytes) -> None:
    """Under an unknown key, and in lists of plain values beside one."""

    class Request(msgspec.Struct, forbid_unknown_fields=True):
        context: list[int] = []
        stops: list[str] = []
        floats: list[float] = []

    decoder = msgspec.json.Decoder(Request)

    def steps_to_read(number: int) -> int:
        items = (item * number)[:-1]
        body = b'{"unknown":1,"' + field.encode() + b'":[' + items + b"]}"
        return steps_of(lambda: read_slowly(body, Request, decoder, "Request"))

    steps_to_read(1)
    assert steps_to_read(8 * MANY) - steps_to_read(MANY) < MANY


def test_values_that_do_not_fit_are_told_once() -> None:
    """The first failure is the answer; plain values after it take next to no steps."""

    class Item(msgspec.Struct, forbid_unknown_fields=True):
        name: str = ""

    class Request(msgspec.Struct, forbid_unknown_fields=True):
        items: list[Item] = []

    decoder = msgspec.json.Decoder(Request)

    def steps_to_refuse_items(number: int) -> int:
        body = b'{"items":[' + (b"5," * number)[:-1] + b"]}"

        def refuse() -> None:
            with pytest.raises(Refusal):
                read_slowly(body, Request, decoder, "Request")

        return steps_of(refuse)

    more = steps_to_refuse_items(8 * MANY) - steps_to_refuse_items(MANY)
    assert more < 30 * 7 * MANY


def calls_and_results(calls: int) -> int:
    """Return the steps to pair the results of many calls in one message, half of them named."""
    call = ollama.ToolCall(function=ollama.ToolCallFunction(name="f", arguments=Raw(b"{}")))
    messages = [ollama.Message(role="assistant", tool_calls=[call]) for _ in range(calls)]
    messages += [
        ollama.Message(role="tool", content="1", tool_name="f" if n % 2 else "g")
        for n in range(calls)
    ]
    return steps_of(lambda: conversation(messages, msgspec.UNSET))


def many_fragments(calls: int) -> int:
    """Return the steps to put many calls of one answer together."""
    fragments = [
        openai.ToolCallFragment(
            index=n,
            id=f"id{n}",
            function=openai.FunctionFragment(name=f"f{n}", arguments=Raw(b'"{}"')),
        )
        for n in range(calls)
    ]
    fragments += [
        openai.ToolCallFragment(
            function=openai.FunctionFragment(name=f"g{n}", arguments=Raw(b'"{}"'))
        )
        for n in range(calls)
    ]
    return steps_of(
        lambda: finished_calls(merge_tool_calls(msgspec.UNSET, fragments, len(fragments)))
    )


def one_call_in_pieces(pieces: int) -> int:
    """Return the steps to put one call together whose fragments all repeat its name."""
    fragments = [
        openai.ToolCallFragment(
            function=openai.FunctionFragment(name="f", arguments=Raw(b'"[{}, "'))
        )
        for _ in range(pieces)
    ]
    return steps_of(
        lambda: finished_calls(merge_tool_calls(msgspec.UNSET, fragments, len(fragments)))
    )


def test_too_many_calls_in_one_event_take_no_steps() -> None:
    """They are refused before they are put together, which was work in one turn of the loop."""

    def steps_to_refuse_calls(number: int) -> int:
        function = openai.FunctionFragment(name="f", arguments=Raw(b'"{}"'))
        call = openai.ToolCallFragment(index=0, id="1", function=function)
        raw = Raw(msgspec.json.encode([{"delta": {"tool_calls": [call] * number}}]))

        def refuse() -> None:
            for rewriter in (sound_calls([], MANY), whole_calls([], MANY)):
                with pytest.raises(UpstreamFailure):
                    rewriter.take({"choices": raw})
            with pytest.raises(UpstreamFailure):
                merge_tool_calls(msgspec.UNSET, [call] * number, MANY)

        return steps_of(refuse)

    steps_to_refuse_calls(2 * MANY)
    assert steps_to_refuse_calls(16 * MANY) - steps_to_refuse_calls(2 * MANY) < MANY


@pytest.mark.parametrize("work", [calls_and_results, many_fragments, one_call_in_pieces])
def test_twice_as_much_is_at_most_twice_the_work(work: Callable[[int], int]) -> None:
    """With a few steps more for what is done once."""
    assert work(2 * MANY) <= 2.1 * work(MANY)
