"""Bodies are read as Ollama reads them, on both paths and in its words."""

import json
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from conformance.tests.gateway.wire.steps import read_in_small_steps, read_whole
from gateway.faults import Refusal
from gateway.wire import reading
from gateway.wire.fitting import GoRules
from gateway.wire.reading import read_late, read_slowly


class Function(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call's function, its arguments as sent."""

    index: int | UnsetType | None = UNSET
    name: str
    arguments: Raw | UnsetType = UNSET


class Call(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool call of the history."""

    id: str | UnsetType | None = UNSET
    function: Function | UnsetType | None = UNSET


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message of the history."""

    role: str | UnsetType | None = UNSET
    content: str | UnsetType | None = UNSET
    images: list[str] | UnsetType | None = UNSET
    tool_calls: list[Call] | UnsetType | None = UNSET


class Property(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"any": "anyOf"}):
    """A schema's property: a type that holds itself."""

    type: str | list[str] | UnsetType | None = UNSET
    any: list["Property"] | UnsetType | None = UNSET
    properties: dict[str, "Property"] | UnsetType | None = UNSET


class Tool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool on offer."""

    type: str | UnsetType = UNSET
    parameters: Property | UnsetType | None = UNSET


class ChatRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Built like the generated request structs."""

    model: str | UnsetType | None = UNSET
    messages: list[Message] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    tools: list[Tool] | UnsetType | None = UNSET
    options: Raw | UnsetType = UNSET
    format: Raw | UnsetType = UNSET
    top_logprobs: int | UnsetType | None = UNSET
    num_ctx: int | float | UnsetType | None = UNSET
    ratio: float | UnsetType | None = UNSET
    context: list[int] | UnsetType | None = UNSET
    files: dict[str, str] | UnsetType | None = UNSET
    level: Literal["low", "high"] | UnsetType | None = UNSET
    extra: dict[str, Any] | UnsetType | None = UNSET


CHAT = msgspec.json.Decoder(ChatRequest)
RULES = GoRules(
    types={
        "ChatRequest.messages[]": "api.Alias",
        "ChatRequest.tools": "api.Tools",
        "ChatRequest.format": "json.RawMessage",
        "ChatRequest.stream": "*bool",
        "Message.images[]": "api.ImageData",
    }
)
OBJECTS = {"options": "map[string]interface {}"}
MAP_TYPE = "map[string]interface {}"

Reader = Callable[..., ChatRequest]
both_paths = pytest.mark.parametrize("reader", [read_whole, read_slowly, read_in_small_steps])


def read(body: bytes | str, reader: Reader = read_whole) -> ChatRequest:
    """Read a chat request."""
    data = body.encode() if isinstance(body, str) else body
    return reader(data, ChatRequest, CHAT, "ChatRequest", rules=RULES, objects=OBJECTS)


def refusal_of(body: bytes | str, reader: Reader = read_whole) -> tuple[int, str]:
    """The status and text that a body is refused with."""
    with pytest.raises(Refusal) as caught:
        read(body, reader)
    return caught.value.status, caught.value.error


def comparable(value: Any) -> Any:
    """Plain data with the texts of raw parts, since two `Raw` are never equal."""
    if isinstance(value, Raw):
        return ("raw", bytes(value))
    if isinstance(value, msgspec.Struct):
        fields = type(value).__struct_fields__
        return {name: comparable(getattr(value, name)) for name in fields}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    return value


def raw_text(value: Raw | UnsetType) -> str:
    """The text of a raw field that is present."""
    assert isinstance(value, Raw)
    return bytes(value).decode()


@pytest.mark.parametrize("body", ["", " \n", "\t\r\n "])
def test_a_blank_body_is_missing(body: str) -> None:
    """Nothing but white space is no body."""
    assert (400, "missing request body") == refusal_of(body)


SYNTAX = [
    ('{"model":', "unexpected EOF"),
    ('{"model":"x', "unexpected EOF"),
    ('{"model":"x\\', "unexpected EOF"),
    ('{"model":"x\\u12', "unexpected EOF"),
    ('{"model":"x"', "unexpected EOF"),
    ('{"model"', "unexpected EOF"),
    ("[1,", "unexpected EOF"),
    ("tru", "unexpected EOF"),
    ("1.", "unexpected EOF"),
    ("-", "unexpected EOF"),
    ("<html>", "invalid character '<' looking for beginning of value"),
    ("model=x", "invalid character 'm' looking for beginning of value"),
    ("'x'", r"invalid character '\'' looking for beginning of value"),
    ("\ufeff{}", "invalid character 'ï' looking for beginning of value"),
    ('{"a":}', "invalid character '}' looking for beginning of value"),
    ("[1,]", "invalid character ']' looking for beginning of value"),
    ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
    ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
    ('{"a" 1}', "invalid character '1' after object key"),
    ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
    ('{"a":01}', "invalid character '1' after object key:value pair"),
    ("[1 2]", "invalid character '2' after array element"),
    ('{"a":"x\ny"}', "invalid character '\\n' in string literal"),
    ('{"a":"\x01"}', "invalid character '\\x01' in string literal"),
    ('{"a":"\\q"}', "invalid character 'q' in string escape code"),
    ('{"a":"\\u12x4"}', "invalid character 'x' in \\u hexadecimal character escape"),
    ('{"a":tall}', "invalid character 'a' in literal true (expecting 'r')"),
    ('{"a":fals3}', "invalid character '3' in literal false (expecting 'e')"),
    ('{"a":NULL}', "invalid character 'N' looking for beginning of value"),
    ('{"a":nul1}', "invalid character '1' in literal null (expecting 'l')"),
    ('{"a":-x}', "invalid character 'x' in numeric literal"),
    ('{"a":1.x}', "invalid character 'x' after decimal point in numeric literal"),
    ('{"a":1e+x}', "invalid character 'x' in exponent of numeric literal"),
    ('{"a":NaN}', "invalid character 'N' looking for beginning of value"),
    ('{"a":1\\}', "invalid character '\\\\' after object key:value pair"),
    ('{"a":1\x7f}', "invalid character '\\x7f' after object key:value pair"),
    (b"\xa0{}", "invalid character '\\u00a0' looking for beginning of value"),
    (b"\x1f\x8b\x08\x00", "invalid character '\\x1f' looking for beginning of value"),
]


@pytest.mark.parametrize(("body", "text"), SYNTAX)
def test_syntax_errors_have_gos_words(body: bytes | str, text: str) -> None:
    """Every way a JSON text breaks is told as Go tells it."""
    assert (400, text) == refusal_of(body)


FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"

MISMATCHES = [
    ('{"model":1}', FIELD.format("number", "ChatRequest.model", "string")),
    ('{"MODEL":1.5}', FIELD.format("number", "ChatRequest.model", "string")),
    ('{"stream":"false"}', FIELD.format("string", "ChatRequest.stream", "bool")),
    ('{"options":"x"}', FIELD.format("string", "ChatRequest.options", MAP_TYPE)),
    ('{"options":[]}', FIELD.format("array", "ChatRequest.options", MAP_TYPE)),
    ('{"top_logprobs":8192.0}', FIELD.format("number 8192.0", "ChatRequest.top_logprobs", "int")),
    ('{"top_logprobs":1e3}', FIELD.format("number 1e3", "ChatRequest.top_logprobs", "int")),
    ('{"top_logprobs":"1"}', FIELD.format("string", "ChatRequest.top_logprobs", "int")),
    ('{"ratio":1e400}', FIELD.format("number 1e400", "ChatRequest.ratio", "float64")),
    ('{"context":{}}', FIELD.format("object", "ChatRequest.context", "[]int")),
    ('{"context":[1,1.5]}', FIELD.format("number 1.5", "ChatRequest.context", "int")),
    ('{"files":[]}', FIELD.format("array", "ChatRequest.files", "map[string]string")),
    ('{"files":{"a":true}}', FIELD.format("bool", "ChatRequest.files", "string")),
    ('{"messages":"x"}', FIELD.format("string", "ChatRequest.messages", "[]api.Message")),
    ('{"messages":["x"]}', FIELD.format("string", "ChatRequest.messages", "api.Alias")),
    (
        '{"messages":[{"content":[]}]}',
        FIELD.format("array", "ChatRequest.messages.content", "string"),
    ),
    (
        '{"messages":[{"tool_calls":[{"id":1}]}]}',
        FIELD.format("number", "ChatRequest.messages.tool_calls.id", "string"),
    ),
    (
        '{"messages":[{"images":[1]}]}',
        FIELD.format("number", "ChatRequest.messages.images", "api.ImageData"),
    ),
    ('{"tools":{}}', FIELD.format("object", "ChatRequest.tools", "api.Tools")),
    ('{"tools":[true]}', FIELD.format("bool", "ChatRequest.tools", "api.Tool")),
    ('{"tools":[{"type":1}]}', FIELD.format("number", "Tool.tools.type", "string")),
    (
        '{"tools":[{"parameters":{"anyOf":[{"anyOf":1}]}}]}',
        FIELD.format("number", "Property.tools.parameters.anyOf.anyOf", "[]api.Property"),
    ),
]


@both_paths
@pytest.mark.parametrize(("body", "text"), MISMATCHES)
def test_wrong_types_have_gos_words(body: str, text: str, reader: Reader) -> None:
    """A wrong type names the JSON kind, the path and the Go type."""
    assert (400, text) == refusal_of(body, reader)


@pytest.mark.parametrize(
    ("body", "kind"), [("[]", "array"), ('"x"', "string"), ("12abc", "number"), ("true", "bool")]
)
def test_a_body_of_a_wrong_type_names_the_request(body: str, kind: str) -> None:
    """The top level has its own sentence; a scalar ends where it can't go on."""
    text = f"json: cannot unmarshal {kind} into Go value of type api.ChatRequest"
    assert (400, text) == refusal_of(body)


def test_a_failure_inside_a_message_comes_first() -> None:
    """Ollama parses messages by code of its own, so their failures beat earlier plain ones."""
    body = '{"stream":"x","model":1,"messages":[{"role":2},{"content":3}]}'
    expected = FIELD.format("number", "ChatRequest.messages.role", "string")
    assert (400, expected) == refusal_of(body)


def test_the_first_of_several_plain_failures_is_told() -> None:
    """Plain failures are told in document order."""
    expected = FIELD.format("number", "ChatRequest.model", "string")
    assert (400, expected) == refusal_of('{"model":1,"stream":"x","options":3}')


def test_a_syntax_error_beats_a_wrong_type() -> None:
    """The whole value is checked before any of it is understood."""
    assert (400, "unexpected EOF") == refusal_of('{"model":1,"messages":[{"role":2}]')


@pytest.mark.parametrize("depth", [9_999, 20_000])
@pytest.mark.parametrize("key", ["format", "FORMAT", "unknown"])
def test_nesting_without_end_is_refused(key: str, depth: int) -> None:
    """Nesting that no parser here follows is a refusal, never a crash."""
    body = f'{{"{key}":{"[" * depth}{"]" * depth}}}'
    status, text = refusal_of(body)
    assert (400, "exceeded max depth") == (status, text[: len("exceeded max depth")])


@both_paths
def test_null_is_absent(reader: Reader) -> None:
    """Null as the whole body, as a field and as an element stands for nothing given."""
    assert ChatRequest() == read("null", reader)
    request = read('{"model":null,"tools":[null],"context":[null],"files":{"a":null}}', reader)
    assert ChatRequest(model=None, tools=[Tool()], context=[0], files={"a": ""}) == request
    tools = read('{"tools":[{"type":null}]}', reader).tools
    assert tools
    assert UNSET is tools[0].type


def test_null_options_stay_raw() -> None:
    """A raw field may be null where an object is expected."""
    assert "null" == raw_text(read('{"options": null }').options)


@both_paths
def test_what_follows_the_first_value_is_not_looked_at(reader: Reader) -> None:
    """Trailing bytes of any kind do no harm."""
    assert ChatRequest(model="x") == read(b' {"model":"x"} \xff}garbage{"model":"y"}', reader)


@both_paths
def test_the_last_of_equal_keys_counts(reader: Reader) -> None:
    """Keys that differ in nothing but letter case are equal."""
    assert ChatRequest(model="b") == read('{"model":"a","model":"b"}', reader)
    assert ChatRequest(model="b") == read('{"model":"a","MODEL":"b"}', reader)
    assert ChatRequest(model="a") == read('{"Model":"b","model":"a"}', reader)
    request = read('{"tools":[{"type":"a","Type":null}]}', reader)
    assert ChatRequest(tools=[Tool(type="a")]) == request


def test_keys_fold_as_in_go() -> None:
    """The Kelvin sign is a k and the long s an s; a dotted capital I is no i."""
    assert ChatRequest(files={}, stream=True) == read('{"file\u017f":{},"\u017fTREAM":true}')
    assert ChatRequest() == read('{"f\u0130les":{}}')


def test_keys_inside_open_values_keep_their_case() -> None:
    """Raw values, maps and free values are the client's own."""
    body = (
        '{"MODEL":"x","format":{"Model":1,"STREAM":2},"files":{"Model":"f"},'
        '"extra":{"Role":[{"Content":1}]},"messages":[{"Tool_Calls":[{"FUNCTION":'
        '{"NAME":"f","Arguments":{"B":1.50,"a":{"Name":1e2}}}}]}]}'
    )
    request = read(body)
    assert '{"Model":1,"STREAM":2}' == raw_text(request.format)
    assert {"Model": "f"} == request.files
    assert {"Role": [{"Content": 1}]} == request.extra
    assert request.messages
    calls = request.messages[0].tool_calls
    assert calls
    function = calls[0].function
    assert isinstance(function, Function)
    assert ("f", '{"B":1.50,"a":{"Name":1e2}}') == (function.name, raw_text(function.arguments))


def test_unknown_keys_are_dropped_at_every_level() -> None:
    """An unknown key costs nothing but the fast path."""
    body = '{"foo":{"model":1},"model":"x","messages":[{"role":"user","name":"n","type":[]}]}'
    assert ChatRequest(model="x", messages=[Message(role="user")]) == read(body)


def test_bad_text_becomes_the_replacement_character() -> None:
    """Lone surrogates and bytes that are no UTF-8 are replaced one by one, good pairs are kept."""
    body = rb'{"model":"\ud83d|\ude00\ud83d\u0041|\ud83d\ude00|\\ud83d|' + b"\xe2\x82|\xed\xa0\x80"
    expected = "\ufffd|\ufffd\ufffdA|\U0001f600|\\ud83d|\ufffd\ufffd|\ufffd\ufffd\ufffd"
    assert expected == read(body + b'"}').model


@pytest.mark.parametrize("text", [b"\xff", rb"\ud83d", rb"\uDE00"])
def test_raw_values_hold_good_text_only(text: bytes) -> None:
    """What is passed on as it is must be readable for whoever gets it."""
    value = raw_text(read(b'{"format":{"a":"' + text + b'","b":1.0}}').format)
    assert {"a": "\ufffd", "b": 1.0} == json.loads(value)


def test_numbers_in_raw_values_keep_their_text() -> None:
    """The slow path loses neither digits nor order."""
    body = '{"X":0,"format":{"z":1.10,"a":12345678901234567890,"m":1e400,"n":-0}}'
    expected = '{"z":1.10,"a":12345678901234567890,"m":1e400,"n":-0}'
    assert expected == raw_text(read(body).format)


def test_a_whole_number_with_a_fraction_fits_a_wide_field() -> None:
    """A field of integer or number takes 8192.0 on either path."""
    assert [8192.0] * 2 == [read('{"num_ctx":8192.0}').num_ctx, read('{"NUM_CTX":8192.0}').num_ctx]


@both_paths
def test_nothing_is_required(reader: Reader) -> None:
    """A required field that is absent or null gets Go's zero value."""
    body = '{"messages":[{"tool_calls":[{"function":{}},{"function":{"name":null}}]}]}'
    calls = [Call(function=Function(name=""))] * 2
    assert ChatRequest(messages=[Message(tool_calls=calls)]) == read(body, reader)


def test_a_closed_vocabulary_is_refused_with_a_sentence() -> None:
    """A value outside a vocabulary is the client's mistake, whatever its text."""
    status, text = refusal_of('{"LEVEL":"middle"}')
    assert (400, True) == (status, "middle" in text and "level" in text)


def test_other_requests_get_their_own_words() -> None:
    """The request's name and the exceptions are the caller's."""
    rules = GoRules(types={"ChatRequest.files": "api.F"})
    with pytest.raises(Refusal) as caught:
        read_whole(b'{"files":1}', ChatRequest, CHAT, "CreateRequest", rules=rules)
    assert FIELD.format("number", "CreateRequest.files", "api.F") == caught.value.error


class Open(msgspec.Struct, kw_only=True):
    """A struct that lets unknown keys pass."""

    model: str | UnsetType = UNSET


class Holder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A closed struct around an open one."""

    inner: Open | UnsetType = UNSET


def test_an_open_struct_loses_no_key() -> None:
    """A struct that would drop a key in another letter case has no fast path."""
    body = b'{"inner":{"Model":"x"}}'
    assert Holder(inner=Open(model="x")) == read_whole(
        body, Holder, msgspec.json.Decoder(Holder), "Holder"
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
functions = st.fixed_dictionaries(
    {"name": texts},
    optional={"index": st.none() | st.integers(0, 9), "arguments": st.dictionaries(texts, values)},
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.none() | texts,
        "content": st.none() | texts,
        "images": st.none() | st.lists(texts, max_size=2),
        "tool_calls": st.lists(
            st.fixed_dictionaries({}, optional={"id": texts, "function": functions}), max_size=2
        ),
    },
)
properties: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "type": st.none() | texts | st.lists(texts, max_size=2),
            "anyOf": st.lists(properties, max_size=2),
            "properties": st.dictionaries(texts, properties, max_size=2),
        },
    )
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "model": st.none() | texts,
        "messages": st.none() | st.lists(messages, max_size=3),
        "stream": st.none() | st.booleans(),
        "tools": st.lists(
            st.fixed_dictionaries({}, optional={"type": texts, "parameters": properties}),
            max_size=2,
        ),
        "options": st.none() | st.dictionaries(texts, values, max_size=3),
        "format": values,
        "top_logprobs": st.none() | st.integers(-(2**63), 2**63 - 1),
        "num_ctx": st.none() | st.integers(0, 2**40) | st.floats(0, 1e9),
        "ratio": st.floats(allow_nan=False, allow_infinity=False),
        "context": st.lists(st.integers(0, 2**31), max_size=3),
        "files": st.dictionaries(texts, texts, max_size=3),
        "level": st.none() | st.sampled_from(["low", "high"]),
        "extra": st.dictionaries(texts, values, max_size=3),
    },
)
FOLDED = {"messages", "tool_calls", "function", "tools", "parameters", "anyOf"}


def recase(value: Any, recased: Callable[[str], str], key: str = "") -> Any:
    """Change the letter case of a struct's keys, and of no others."""
    if isinstance(value, list):
        return [recase(item, recased, key) for item in value]
    if isinstance(value, dict) and key == "properties":
        return {name: recase(item, recased, "parameters") for name, item in value.items()}
    if isinstance(value, dict) and (not key or key in FOLDED):
        return {recased(name): recase(item, recased, name) for name, item in value.items()}
    return value


@settings(deadline=None, max_examples=150)
@given(requests, st.sampled_from([str, str.upper, str.title, str.swapcase]))
def test_both_paths_build_equal_structs(
    request: dict[str, Any], recased: Callable[[str], str]
) -> None:
    """What the fast path reads, the slow path reads alike, at any letter case of the keys."""
    body = msgspec.json.encode(request)
    fast = comparable(CHAT.decode(body))
    assert fast == comparable(read(body))
    assert fast == comparable(read(body, read_slowly))
    assert fast == comparable(read(msgspec.json.encode(recase(request, recased))))


@settings(deadline=None, max_examples=150)
@given(requests, st.integers(0, 400), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_any_damage_ends_in_a_request_or_a_refusal(
    request: dict[str, Any], at: int, junk: bytes, cut: int
) -> None:
    """Whatever bytes come, both paths give the same answer, and a refusal is a 400 with a text."""
    whole = msgspec.json.encode(request)
    body = whole[:at] + junk + whole[at + cut :]
    answers: list[Any] = []
    for reader in (read_whole, read_slowly):
        try:
            answers.append(comparable(read(body, reader)))
        except Refusal as refusal:
            answers.append((refusal.status, refusal.error))
    assert answers[0] == answers[1]
    if isinstance(answers[0], tuple):
        assert (400, True) == (answers[0][0], bool(answers[0][1]))


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Built like the generated options."""

    seed: int | float | UnsetType = UNSET
    temperature: int | float | UnsetType | None = UNSET
    use_mmap: bool | UnsetType = UNSET
    stop: list[str] | UnsetType = UNSET
    names: list[str] | UnsetType = UNSET


OPTIONS = msgspec.json.Decoder(Options)
NO_OPTIONS = Options()
SENTENCES = {
    "seed": "seed must be whole",
    "temperature": "temperature must be a number",
    "use_mmap": "use_mmap must be true or false",
    "stop": "stop must be a list",
    "stop[]": "stop must hold texts",
    "names": "names must be a list of texts",
}


def late(text: bytes | str | None) -> Options:
    """Read options that the first stage kept raw."""
    raw = UNSET if text is None else Raw(text)
    return read_late(raw, OPTIONS, NO_OPTIONS, SENTENCES, 500)


@pytest.mark.parametrize("text", [None, "null", " null "])
def test_absent_options_are_the_empty_ones(text: str | None) -> None:
    """Absent and null are no options."""
    assert NO_OPTIONS is late(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Options()),
        ('{"seed":1,"temperature":0.5}', Options(seed=1, temperature=0.5)),
        ('{"seed":1.7}', Options(seed=1.7)),
        ('{"seed":1.7,"unknown":[1]}', Options(seed=1.7)),
        ('{"Seed":1,"STOP":"x"}', Options()),
        ('{"seed":null,"stop":null,"stop_at":1}', Options()),
        ('{"stop":["\\ud83d"],"x":1}', Options(stop=["\ufffd"])),
        (b'{"stop":["\xff"]}', Options(stop=["\ufffd"])),
    ],
)
def test_options_are_read_leniently(text: bytes | str, expected: Options) -> None:
    """Unknown keys, nulls and bad text are no reason to refuse; letter case counts."""
    assert expected == late(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"seed":"1"}', "seed must be whole"),
        ('{"unknown":1,"use_mmap":1}', "use_mmap must be true or false"),
        ('{"stop":"x"}', "stop must be a list"),
        ('{"stop":["x",1]}', "stop must hold texts"),
        ('{"stop":[null]}', "stop must hold texts"),
        ('{"names":[1]}', "names must be a list of texts"),
        ('{"temperature":1e400}', "temperature must be a number"),
    ],
)
def test_a_wrong_option_has_its_sentence(text: str, sentence: str) -> None:
    """The sentence is the spec's, the status the caller's."""
    with pytest.raises(Refusal) as caught:
        late(text)
    assert (500, sentence) == (caught.value.status, caught.value.error)


def test_a_wrong_option_without_a_sentence_is_named() -> None:
    """A gap in the spec's sentences still gives a readable refusal."""
    with pytest.raises(Refusal) as caught:
        read_late(Raw('{"seed":[]}'), OPTIONS, NO_OPTIONS, {}, 500)
    assert (500, '"seed" must be of type number') == (caught.value.status, caught.value.error)


@both_paths
@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        ('{"model":"a","model":"b"}', "b", UNSET),
        ('{"model":"a","model":null}', "a", UNSET),
        ('{"model":"a","MODEL":null}', "a", UNSET),
        ('{"stream":false,"stream":null}', UNSET, None),
        ('{"stream":null,"stream":false}', UNSET, False),
    ],
)
def test_a_key_that_comes_twice_is_read_twice(
    body: str, model: Any, stream: Any, reader: Reader
) -> None:
    """A null takes back what may be missing, and leaves what may not (ollama.md#doubled-keys)."""
    found = read(body, reader)
    assert (model, stream) == (found.model, found.stream)


@pytest.mark.parametrize("reader", [read_whole, read_slowly])
def test_options_that_come_twice_are_merged(reader: Reader) -> None:
    """A map is added to key by key; a null empties it."""
    assert {"a": 1, "b": 3} == json.loads(
        raw_text(read('{"options":{"a":1,"b":2},"options":{"b":3}}', reader).options)
    )
    body = '{"options":{"a":1},"options":null,"options":{"b":3}}'
    assert {"b": 3} == json.loads(raw_text(read(body, reader).options))


@both_paths
@pytest.mark.parametrize("number", ["1e400", "-1e999", "1" + "0" * 400])
def test_numbers_beyond_a_double(number: str, reader: Reader) -> None:
    """They are refused where Go would make a double of them, and kept where it does not."""
    status, text = refusal_of(f'{{"options":{{"a":[{number}]}}}}', reader)
    assert (400, True) == (status, f"number {number} into Go struct field" in text), text
    assert number == raw_text(read(f'{{"format":{number}}}', reader).format)


def test_a_body_without_repeated_keys_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast path must not lose to its own check: texts hold quotes, escapes and key names."""
    monkeypatch.setattr(reading, "read_slowly", lambda *_a, **_k: pytest.fail("read slowly"))
    body = {
        "model": 'a"model":"b',
        "messages": [{"role": "user", "content": 'say "model": \\ \u00e9 "'}] * 3,
        "stream": None,
    }
    assert body["model"] == read(json.dumps(body)).model
    assert body["model"] == read(json.dumps(body, ensure_ascii=False, indent=2)).model
