"""Tool calls: texts and objects, and fragments put together whatever their cuts."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from gateway.faults import UpstreamFailure
from gateway.settings.schema import LimitSettings
from gateway.transforms import (
    finished_calls,
    merge_tool_calls,
    offered_tools,
    sound_tools,
    to_arguments,
    to_json_text,
    tool_parameters,
)
from gateway.types import internal, ollama, openai


def fragment(
    index: int | float | UnsetType | None = UNSET,
    id: str | UnsetType | None = UNSET,
    name: str | UnsetType | None = UNSET,
    arguments: str | UnsetType | None = UNSET,
) -> openai.ToolCallFragment:
    text = UNSET if isinstance(arguments, UnsetType) else Raw(msgspec.json.encode(arguments))
    return openai.ToolCallFragment(
        index=index, id=id, function=openai.FunctionFragment(name=name, arguments=text)
    )


def made(index: int, id: str, name: str, arguments: str) -> internal.AssembledToolCall:
    return internal.AssembledToolCall(index=index, id=id, name=name, arguments=arguments)


MOST = LimitSettings().tool_calls


def merge(
    *chunks: list[openai.ToolCallFragment], most: int = MOST
) -> list[internal.AssembledToolCall]:
    calls: list[internal.AssembledToolCall] | UnsetType = UNSET
    for chunk in chunks:
        calls = merge_tool_calls(calls, chunk, most)
    finished = finished_calls(calls, UNSET)
    return [] if isinstance(finished, UnsetType) else finished


def said(calls: list[internal.AssembledToolCall]) -> list[tuple[str, str]]:
    """The names and arguments of calls, whose ids must be there and different."""
    assert len(calls) == len({call.id for call in calls if call.id})
    assert [*range(len(calls))] == [call.index for call in calls]
    return [(call.name, call.arguments) for call in calls]


# -- texts and objects


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (b"{}", "{}"),
        (b'{ "b": 1.0,\n "a": [1e5, "\\u00e9 x"] }', '{"b":1,"a":[100000,"é x"]}'),
        ('{"a":"é"}'.encode(), '{"a":"é"}'),
    ],
)
def test_arguments_are_written_as_go_writes_them(arguments: bytes, text: str) -> None:
    """The order at the top stays, numbers are doubles (ollama.md#arguments-in)."""
    assert text == to_json_text(Raw(arguments))


def test_only_objects_are_parameters() -> None:
    """Null is absent, and so is any other value."""
    assert UNSET is tool_parameters(Raw(b"null"))
    assert UNSET is tool_parameters(Raw(b"[]"))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("{}", "{}"),
        (
            '{"properties":{"b":{"type":"string"},"a":{}},"type":"object","title":"T",'
            '"additionalProperties":false,"required":["b"],"$defs":{"x":1}}',
            '{"type":"object","$defs":{"x":1},"required":["b"],'
            '"properties":{"b":{"type":"string"},"a":{}}}',
        ),
        (
            '{"properties":{"a":{"type":"string","pattern":"^a$","minLength":1,"default":"x",'
            '"format":"date","enum":["x",null],"description":"d"}}}',
            '{"properties":{"a":{"type":"string","description":"d","enum":["x",null]}}}',
        ),
        (
            '{"properties":{"a":{"anyOf":[{"type":"string","title":"t"},null,{"$ref":"#"}]}}}',
            '{"properties":{"a":{"anyOf":[{"type":"string"},{},{}]}}}',
        ),
        (
            '{"type":"object","required":null,"properties":{"a":null,"b":{"type":["string","null"]}}}',
            '{"type":"object","properties":{"a":{},"b":{"type":["string","null"]}}}',
        ),
        (
            '{"properties":{"a":{"items":{"pattern":"x","minimum":1,"properties":{"pattern":{}}}}}}',
            '{"properties":{"a":{"items":{"minimum":1,"properties":{"pattern":{}}}}}}',
        ),
        (
            '{"properties":{"pattern":{"type":"string"}},"$defs":{"p":{"pattern":"^x$"}}}',
            '{"$defs":{"p":{"pattern":"^x$"}},"properties":{"pattern":{"type":"string"}}}',
        ),
    ],
)
def test_parameters_hold_what_ollama_keeps(sent: str, kept: str) -> None:
    """Of a property seven keywords; a refused pattern is kept nowhere (ollama.md#tools)."""
    found = tool_parameters(Raw(sent.encode()))

    assert isinstance(found, Raw)
    assert kept == bytes(found).decode()


def tools_with(schema: str, *others: str) -> Raw:
    listed = [
        f'{{"type": "function", "function": {{"name": "f", "parameters": {schema}}}}}',
        *others,
    ]
    return Raw(f"[{', '.join(listed)}]".encode())


@pytest.mark.parametrize(
    ("schema", "sound"),
    [
        ('{"pattern":"a"}', "{}"),
        ('{"pattern":"^a"}', "{}"),
        ('{"pattern":"a$"}', "{}"),
        ('{"anyOf":[{"pattern":"a"}],"minimum":1.0}', '{"anyOf":[{}],"minimum":1.0}'),
        ('{"items":{"pattern":"a","pattern2":"a"}}', '{"items":{"pattern2":"a"}}'),
        ('{"$defs":{"pattern":{"pattern":"a"}}}', '{"$defs":{"pattern":{}}}'),
    ],
)
def test_patterns_that_lm_studio_refuses_are_left_out(schema: str, sound: str) -> None:
    """Nothing else of a schema changes, and other tools keep their bytes."""
    other = '{"function": {"name" : "g"}}'
    found = sound_tools(tools_with(schema, other))

    assert isinstance(found, list)
    assert other == bytes(found[1]).decode()
    expected = f'{{"type":"function","function":{{"name":"f","parameters":{sound}}}}}'
    assert expected == bytes(found[0]).decode()


@pytest.mark.parametrize(
    "schema",
    [
        "{}",
        '{"pattern":"^a$"}',
        '{"properties":{"pattern":{"type":"string"}}}',
        '{"enum":[{"pattern":"a"}]}',
        '{"const":{"pattern":"a"}}',
        '{"pattern":1}',
    ],
)
def test_tools_that_lm_studio_takes_stay(schema: str) -> None:
    """A property and a value may be called a pattern too."""
    assert UNSET is sound_tools(tools_with(schema))
    assert UNSET is offered_tools(tools_with(schema), UNSET)


def test_a_chosen_tool_loses_its_refused_patterns_too() -> None:
    """Both changes are of one member."""
    other = '{"function": {"name" : "g"}}'
    choice = Raw(b'{"type":"function","function":{"name":"f"}}')
    found = offered_tools(tools_with('{"pattern":"a"}', other), choice)

    assert isinstance(found, list)
    assert [b'{"type":"function","function":{"name":"f","parameters":{}}}'] == [*map(bytes, found)]
    assert UNSET is offered_tools(Raw(b"{}"), choice)
    assert UNSET is sound_tools(Raw(b'{"pattern":"a"}'))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", b"{}"),
        (" \n", b"{}"),
        ("null", b"{}"),
        ("{}", b"{}"),
        (' {"b": 1.0, "a": {"c": [ ]}} ', b'{"b":1,"a":{"c":[]}}'),
        (
            '{"a":1,"b":{"d":1E5,"c":1e-7,"C":1e21},"a":-0.5}',
            b'{"a":-0.5,"b":{"C":1e+21,"c":1e-7,"d":100000}}',
        ),
        ('{"a":"\\ud83d\\ude00 \\ud83d x"}', '{"a":"\U0001f600 \ufffd x"}'.encode()),
        ('{"a":"\\\\ud83d"}', b'{"a":"\\\\ud83d"}'),
    ],
)
def test_finished_arguments_are_an_object(text: str, arguments: bytes) -> None:
    """Compact, order kept, and nothing said is an empty one."""
    assert arguments == bytes(to_arguments("f", text))


@pytest.mark.parametrize(
    "text",
    ['{"a"', "{a:1}", "[]", '"{}"', "1", "true", '{"a":1}{"b":2}', '{"a":NaN}', '{"a":' * 5000],
)
def test_bad_arguments_are_an_upstream_failure(text: str) -> None:
    """The message names the tool."""
    with pytest.raises(UpstreamFailure) as caught:
        to_arguments("get_tide", text)

    assert "bad_tool_arguments" == caught.value.fault
    start = 'LM Studio returned invalid tool call arguments for "get_tide": '
    assert caught.value.message.startswith(start)
    assert len(caught.value.message) > len(start)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_arguments_survive_both_ways(value: dict[str, object]) -> None:
    """A client that sends back what it got sends the same call."""
    arguments = to_arguments("f", json.dumps(value))

    assert value == json.loads(bytes(arguments))
    assert to_json_text(arguments) == to_json_text(Raw(json.dumps(value).encode()))


# -- fragments


def test_a_call_in_two_fragments() -> None:
    """The head names it, the rest says its arguments."""
    assert [made(0, "1", "f", '{"a":1}')] == merge(
        [fragment(0, "1", "f", "")], [fragment(0, arguments='{"a":1}')]
    )


def test_empty_names_and_nulls_continue_a_call() -> None:
    """Old versions repeat an empty name; others send null for what does not change."""
    assert [made(0, "1", "f", "{}")] == merge(
        [fragment(0, "1", "f", None)],
        [fragment(0, "", "", "{")],
        [fragment(0, None, None, "}")],
        [openai.ToolCallFragment(index=0, function=None), openai.ToolCallFragment()],
    )


def test_fragments_that_say_nothing_make_no_call() -> None:
    """An empty list of calls is an answer without calls."""
    assert [] == merge([openai.ToolCallFragment(index=0), fragment(1, "", "", "")])


def test_a_new_id_under_a_used_index_is_another_call() -> None:
    """What comes under that index afterwards belongs to the newer one."""
    assert [made(0, "1", "f", "{}"), made(1, "2", "f", '{"a":1}')] == merge(
        [fragment(0, "1", "f", "")],
        [fragment(0, arguments="{}")],
        [fragment(0, "2", "f", "")],
        [fragment(0, arguments='{"a":1}')],
    )


def test_an_index_that_no_call_was_begun_under_continues_the_last_call() -> None:
    """The other way to get indexes wrong."""
    assert [made(0, "1", "f", "{}")] == merge(
        [fragment(0, "1", "f", "{")], [fragment(1, arguments="}")]
    )


def test_an_id_repeated_in_every_fragment() -> None:
    """Fragments of one id are one call, even under another index."""
    assert [made(0, "1", "f", "{}"), made(1, "2", "g", "{}")] == merge(
        [fragment(0, "1", "f", "{"), fragment(1, "2", "g", "{")],
        [fragment(0, "2", "g", "}"), fragment(0, "1", "f", "}")],
    )


def test_two_calls_may_share_an_id() -> None:
    """Whole ones one after the other, and heads under indexes of their own."""
    assert [("f", "{}"), ("f", "{}")] == said(
        merge([fragment(0, "1", "f", "{}"), fragment(1, "1", "f", "{}")])
    )
    assert [("f", "{}"), ("g", "[]")] == said(
        merge(
            [fragment(0, "1", "f", ""), fragment(1, "1", "g", "")],
            [fragment(0, arguments="{}"), fragment(1, arguments="[]")],
        )
    )
    assert [("f", "{}"), ("g", "{}"), ("g", "{}")] == said(
        merge(
            [fragment(0, "1", "f", "{}")],
            [fragment(0, "1", "g", "{}")],
            [fragment(0, "1", "g", "{}")],
        )
    )


def test_an_index_joins_whatever_ids_its_fragments_have() -> None:
    """Gemma's fragments have empty names, and each an id of its own."""
    assert [made(0, "1", "f", '{"a":1}'), made(1, "7", "g", "{}")] == merge(
        [fragment(0, "1", "f", "")],
        [fragment(0, "2", "", '{"a"')],
        [fragment(0, "3", "", ":1}"), fragment(0, "4", "", "")],
        [fragment(1, "7", "g", "")],
        [fragment(1, "8", "", "{}")],
    )


def test_whole_calls_at_one_index() -> None:
    """Without ids, with the same name or another, in one message or in several chunks."""
    whole = [fragment(0, name="f", arguments="{}"), fragment(0, name="f", arguments='{"a":1}')]
    other = fragment(0, name="g", arguments="{}")

    expected = [("f", "{}"), ("f", '{"a":1}'), ("g", "{}")]
    assert expected == said(merge([*whole, other]))
    assert expected == said(merge([whole[0]], [whole[1]], [other]))


def test_a_name_in_pieces() -> None:
    """Joined, but for pieces that are the names of tools; a repeated name counts once."""
    pieces = [
        [fragment(0, "1", "edit_ex", "")],
        [fragment(0, name="isting_file", arguments="{")],
        [fragment(0, name="isting_file", arguments="}")],
    ]
    tools = [ollama.Tool(function=ollama.ToolFunction(name=name)) for name in ("a", "b", "ab")]

    assert [made(0, "1", "edit_existing_file", "{}")] == merge(*pieces)
    for known, names in ((tools, ["ab"]), (tools[:2], ["a", "b"]), (UNSET, ["ab"])):
        calls = merge_tool_calls(UNSET, [fragment(0, name="a", arguments="")], MOST)
        finished = finished_calls(merge_tool_calls(calls, [fragment(0, name="b")], MOST), known)
        assert not isinstance(finished, UnsetType)
        assert names == [name for name, _ in said(finished)]


def test_arguments_may_come_as_an_object() -> None:
    """Null is nothing, and what is neither text nor object is told of at the end."""
    call = openai.ToolCallFragment(
        index=0, function=openai.FunctionFragment(name="f", arguments=Raw(b'{"a": 1}'))
    )

    assert [("f", '{"a": 1}')] == said(merge([call]))
    assert [("f", "")] == said(merge([fragment(0, name="f", arguments=None)]))


def test_halves_of_a_character_meet_in_the_arguments() -> None:
    """Escaped or not, they come in two fragments."""
    halves = [
        openai.ToolCallFragment(index=0, function=openai.FunctionFragment(arguments=Raw(text)))
        for text in (b'"{\\"a\\":\\"\\ud83d"', b'"\\ude00\\"}"')
    ]

    (call,) = merge([fragment(0, "1", "f", "")], [halves[0]], [halves[1]])

    assert '{"a":"\U0001f600"}'.encode() == bytes(to_arguments("f", call.arguments))


def test_a_call_that_never_gets_a_name() -> None:
    """It is left out beside others; alone it is an error that says so."""
    nameless = fragment(1, "2", "", "{}")

    assert [made(0, "1", "f", "{}")] == merge([fragment(0, "1", "f", "{}"), nameless])
    assert [made(0, "2", "f", "{}")] == merge([nameless], [fragment(1, name="f")])
    with pytest.raises(UpstreamFailure, match="without a name") as caught:
        merge([nameless])
    assert "bad_tool_arguments" == caught.value.fault


def test_indexes_count_from_zero_whatever_came() -> None:
    """Some begin at one, some leave gaps."""
    assert [made(0, "1", "f", "{}"), made(1, "2", "g", "{}")] == merge(
        [fragment(1, "1", "f", ""), fragment(7.0, "2", "g", "")],
        [fragment(7, arguments="{}"), fragment(1, arguments="{}")],
    )


def test_without_index_an_id_or_a_name_begins_a_call() -> None:
    """A call without an id gets one."""
    assert [("f", "{}"), ("g", "{}"), ("f", "")] == said(
        merge(
            [fragment(name="f", arguments="{"), fragment(arguments="}")],
            [fragment(name="g", arguments="{"), fragment(name="g", arguments="}")],
            [fragment(id="3", name="f")],
        )
    )


def test_the_number_of_calls_has_a_limit() -> None:
    """In one event and in all; pieces of a call that come one after the other do not count."""
    calls = [fragment(n, str(n), "f", "{}") for n in range(3)]
    pieces = [[fragment(0, arguments=" ")] for _ in range(9)]
    assert 3 == len(merge(calls, *pieces, most=3))
    for chunks in ([calls], [calls[:2], calls[2:]], [[calls[0]] * 3]):
        with pytest.raises(UpstreamFailure, match=r"more than 2 .*limits\.tool_calls") as caught:
            merge(*chunks, most=2)
        assert "bad_tool_arguments" == caught.value.fault


def test_calls_begun_elsewhere_go_on() -> None:
    """A plain list is as good as one that was returned."""
    calls = [made(0, "1", "f", "{")]

    merged = merge_tool_calls(calls, [fragment(0, arguments="}")], MOST)

    assert [made(0, "1", "f", "{}")] == finished_calls(merged, UNSET)


calls = st.lists(
    st.tuples(st.sampled_from(["f", "g"]), st.lists(st.sampled_from(["{", '"a', "}"]), max_size=4)),
    min_size=1,
    max_size=4,
)
INDEXINGS: dict[str, Callable[[int], int | float | UnsetType | None]] = {
    "right": lambda number: number,
    "from one": lambda number: number + 1,
    "floats": float,
    "all zero": lambda number: 0,
    "none": lambda number: UNSET,
    "null": lambda number: None,
}
indexings = st.sampled_from(sorted(INDEXINGS))


@given(calls, indexings, st.data())
def test_any_cut_gives_the_same_calls(
    wanted: list[tuple[str, list[str]]], indexing: str, data: st.DataObject
) -> None:
    """Cut anywhere, in chunks of any size, one call after another or (with indexes) mixed."""
    place = INDEXINGS[indexing]
    queues = [
        [
            fragment(place(number), str(number), name, ""),
            *(fragment(place(number), arguments=piece) for piece in pieces),
        ]
        for number, (name, pieces) in enumerate(wanted)
    ]
    fragments = [queue.pop(0) for queue in queues] if indexing in ("right", "floats") else []
    while any(queues):
        open_queues = [queue for queue in queues if queue]
        mixed = indexing in ("right", "floats")
        queue = data.draw(st.sampled_from(open_queues)) if mixed else open_queues[0]
        fragments.append(queue.pop(0))
    chunks = []
    while fragments:
        size = data.draw(st.integers(1, 3))
        chunks.append(fragments[:size])
        fragments = fragments[size:]

    assert [
        made(number, str(number), name, "".join(pieces))
        for number, (name, pieces) in enumerate(wanted)
    ] == merge(*chunks)
