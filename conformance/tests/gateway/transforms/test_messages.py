"""Messages: what is refused in them, whose tool results answer which calls, what they say."""

import base64
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import (
    base64_problem,
    conversation,
    message_content,
    object_problem,
    prompt_as_messages,
)
from gateway.types import internal, ollama, openai

MADE_UP = re.compile(r"call_[a-z0-9]{8}")
BAD_ARGUMENTS = "Value looks like object, but can't find closing '}' symbol"


def with_tool_call_ids(messages: list[ollama.Message]) -> list[internal.IdentifiedMessage]:
    """Return a conversation with a model that brings nothing of its own."""
    return conversation(messages, UNSET)


def call(name: str | None, id: str | None = None, arguments: bytes = b"{}") -> ollama.ToolCall:
    return ollama.ToolCall(
        id=id, function=ollama.ToolCallFunction(name=name, arguments=Raw(arguments))
    )


def asks(*calls: ollama.ToolCall) -> ollama.Message:
    return ollama.Message(role="assistant", tool_calls=list(calls))


def tells(
    content: str = "", name: str | UnsetType = UNSET, id: str | UnsetType = UNSET
) -> ollama.Message:
    return ollama.Message(role="tool", content=content, tool_name=name, tool_call_id=id)


def ids_of_calls(messages: list[internal.IdentifiedMessage]) -> list[str]:
    return [call.id for message in messages for call in message.tool_calls or ()]


def ids_of_results(messages: list[internal.IdentifiedMessage]) -> list[str | UnsetType]:
    return [message.tool_call_id for message in messages if message.role == "tool"]


# -- images and arguments that are refused


def go_reads(data: bytes) -> int | None:
    """Go's decoder byte by byte: the position of the first fault, None when there is none."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def skip(at: int) -> int:
        while at < len(data) and data[at] in b"\r\n":
            at += 1
        return at

    at = 0
    while True:
        group = 0
        while group < 4:
            at = skip(at)
            if at == len(data):
                return at - group if group else None
            byte = data[at]
            at += 1
            if byte in alphabet:
                group += 1
                continue
            if byte != ord("=") or group < 2:
                return at - 1
            if group == 2:
                at = skip(at)
                if at == len(data):
                    return len(data)
                if data[at] != ord("="):
                    return at - 1
                at += 1
            at = skip(at)
            return at if at < len(data) else None


@pytest.mark.parametrize(
    ("image", "at"),
    [
        ("", None),
        ("aGk=", None),
        ("aGk", 0),
        ("aGkxaGk", 4),
        ("aGk=\r\n", None),
        ("aG\r\nk=", None),
        ("aA==", None),
        ("aA=\n=", None),
        ("aA=", 3),
        ("aA=x", 2),
        ("aGk=aGk=", 4),
        ("=", 0),
        ("a===", 1),
        ("data:image/png;base64,aGk=", 4),
        ("aG k", 2),
        ("aGk_", 3),
        ("é", 0),
        ("aGké", 3),
    ],
)
def test_images_must_be_base64(image: str, at: int | None) -> None:
    """A fault is named by the byte that Go's decoder names."""
    wanted = UNSET if at is None else f"illegal base64 data at input byte {at}"

    assert wanted == base64_problem(image)


@given(st.text(alphabet="aA+/=\r\n-é", max_size=14))
def test_any_image_is_judged_as_go_judges_it(image: str) -> None:
    """The quick way and Go's way byte by byte agree."""
    at = go_reads(image.encode())
    wanted = UNSET if at is None else f"illegal base64 data at input byte {at}"

    assert wanted == base64_problem(image)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (b"{}", UNSET),
        (b'{"a":{"b":[1]}}', UNSET),
        (b"null", UNSET),
        (b'"{}"', BAD_ARGUMENTS),
        (b"[]", BAD_ARGUMENTS),
        (b"1", BAD_ARGUMENTS),
        (b"false", BAD_ARGUMENTS),
    ],
)
def test_arguments_must_be_an_object_or_null(arguments: bytes, problem: str | UnsetType) -> None:
    """OpenAI's way to send them as a text is refused."""
    assert problem == object_problem(Raw(arguments))


# -- pairing


def test_results_without_ids_answer_calls_in_order() -> None:
    """Also when one tool is called twice."""
    messages = with_tool_call_ids(
        [asks(call("f"), call("f"), call("g")), tells("1"), tells("2"), tells("3")]
    )

    assert 3 == len(set(ids_of_calls(messages)))
    assert ids_of_calls(messages) == ids_of_results(messages)


def test_results_with_names_answer_the_calls_so_named() -> None:
    """The second result of one name answers the second call; an unknown name goes by order."""
    messages = with_tool_call_ids(
        [
            asks(call("f"), call("g"), call("f")),
            tells("g", name="g"),
            tells("f", name="f"),
            tells("?", name="x-f"),
        ]
    )
    first, second, third = ids_of_calls(messages)

    assert [second, first, third] == ids_of_results(messages)
    assert ["g", "f", "x-f"] == [message.tool_name for message in messages[1:]]


def test_sent_ids_are_kept() -> None:
    """And a result that has none gets the call that is left."""
    messages = with_tool_call_ids(
        [asks(call("f", "1"), call("g", "2")), tells("g", id="2"), tells("f")]
    )

    assert ["1", "2"] == ids_of_calls(messages)
    assert ["2", "1"] == ids_of_results(messages)


def test_calls_without_ids_take_those_of_their_results() -> None:
    """Some clients send ids with results only."""
    messages = with_tool_call_ids(
        [asks(call("f"), call("g")), tells("g", name="g", id="b"), tells("f", id="a")]
    )

    assert ["a", "b"] == ids_of_calls(messages)
    assert ["b", "a"] == ids_of_results(messages)


def test_empty_ids_count_as_none() -> None:
    """LM Studio refuses them."""
    messages = with_tool_call_ids([asks(call("f", "")), tells("1", id="")])

    (made_up,) = ids_of_calls(messages)
    assert MADE_UP.fullmatch(made_up)
    assert [made_up] == ids_of_results(messages)


def test_a_result_without_a_call_has_no_id() -> None:
    """A sent one is left alone."""
    messages = with_tool_call_ids(
        [tells("1"), asks(call("f")), tells("2"), tells("3"), tells(id="x")]
    )

    assert [UNSET, ids_of_calls(messages)[0], UNSET, "x"] == ids_of_results(messages)


def test_results_answer_the_last_turn() -> None:
    """An unanswered call of an earlier turn is not looked at."""
    user = ollama.Message(role="user", content="Again")
    messages = with_tool_call_ids(
        [asks(call("f"), call("g")), tells("f"), user, asks(call("g"), call("f")), tells(name="g")]
    )

    assert ids_of_calls(messages)[0] == messages[1].tool_call_id
    assert ids_of_calls(messages)[2] == messages[4].tool_call_id


def test_a_run_of_assistant_messages_is_one_turn() -> None:
    """Parallel calls may come in a message each, and a text may stand before the results."""
    text = ollama.Message(role="Assistant", content="Let me see.")
    messages = with_tool_call_ids([asks(call("f")), asks(call("g")), text, tells("f"), tells("g")])

    assert ids_of_calls(messages) == ids_of_results(messages)


def test_a_made_up_id_is_none_that_was_sent() -> None:
    """Even one that a later message brings."""
    (made_up,) = ids_of_calls(with_tool_call_ids([asks(call("f"))]))
    messages = with_tool_call_ids([asks(call("f")), tells("1"), asks(call("g", made_up))])

    assert made_up == ids_of_calls(messages)[1]
    assert made_up != ids_of_calls(messages)[0]


def test_everything_else_of_a_message_is_kept() -> None:
    """Null is absent, roles are in lower case, empty images and arguments have their stand-ins."""
    whole = ollama.Message(
        role="USER", content="Hi", thinking="Hm", images=["aGk=", None, ""], tool_name="f"
    )
    empty = ollama.Message(
        role=None, content=None, thinking=None, images=[], tool_calls=[], tool_name=None
    )
    calls = asks(
        ollama.ToolCall(function=None),
        call(None, arguments=b"null"),
        call("f", arguments=b'{"b": 1, "a": 2.0}'),
    )

    assert [
        internal.IdentifiedMessage(
            role="user", content="Hi", thinking="Hm", images=["aGk="], tool_name="f"
        ),
        internal.IdentifiedMessage(role="user"),
    ] == with_tool_call_ids([whole, empty])
    (asked,) = with_tool_call_ids([calls])
    assert [("", b"{}"), ("", b"{}"), ("f", b'{"b": 1, "a": 2.0}')] == [
        (made.name, bytes(made.arguments)) for made in asked.tool_calls or ()
    ]


names = st.sampled_from(["f", "g", "h"])
ids = st.none() | st.sampled_from(["", "1", "2", "3", "4"])
conversations = st.lists(
    st.one_of(
        st.builds(lambda calls: asks(*calls), st.lists(st.builds(call, names, ids), max_size=3)),
        st.builds(
            lambda name, id: ollama.Message(role="tool", tool_name=name, tool_call_id=id),
            st.none() | names,
            ids,
        ),
        st.builds(ollama.Message, role=st.just("user"), content=st.just("Hi")),
    ),
    max_size=10,
)


def with_distinct_ids(messages: list[ollama.Message]) -> list[ollama.Message]:
    """Take ids away from calls that repeat one."""
    seen: set[str] = set()
    for message in messages:
        for made in message.tool_calls or ():
            if made.id in seen:
                made.id = None
            elif made.id:
                seen.add(made.id)
    return messages


@given(conversations.map(with_distinct_ids))
def test_ids_are_distinct_and_name_a_call_before(messages: list[ollama.Message]) -> None:
    """Whatever a client sends, unless it is itself at odds with this."""
    identified = with_tool_call_ids(messages)

    found = ids_of_calls(identified)
    assert len(found) == len(set(found))
    assert "" not in found
    before: set[str] = set()
    for message, result in zip(messages, identified, strict=True):
        if result.role == "tool":
            if message.tool_call_id:
                assert message.tool_call_id == result.tool_call_id
            elif result.tool_call_id is not UNSET:
                assert result.tool_call_id in before
        for sent, made in zip(message.tool_calls or (), result.tool_calls or (), strict=True):
            if sent.id:
                assert sent.id == made.id
            before.add(made.id)


@given(
    st.lists(st.lists(names, min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_complete_turns_are_paired_one_to_one(
    turns: list[list[str]], is_named: bool, random: Random
) -> None:
    """Every result gets the id of a call of its own turn, of its own name if it says one."""
    messages = []
    for turn in turns:
        told = list(turn)
        if is_named:
            random.shuffle(told)
        messages.append(asks(*(call(name) for name in turn)))
        messages += [tells(name, name=name if is_named else UNSET) for name in told]
    identified = with_tool_call_ids(messages)

    assert len(set(ids_of_calls(identified))) == len(ids_of_calls(identified))
    assert sorted(ids_of_calls(identified)) == sorted(map(str, ids_of_results(identified)))
    named = {made.id: made.name for message in identified for made in message.tool_calls or ()}
    assert all(
        named[str(message.tool_call_id)] == message.content
        for message in identified
        if message.role == "tool"
    )


@given(st.lists(st.lists(names, max_size=3), max_size=5), st.integers(0, 10))
def test_ids_stay_when_a_conversation_grows(turns: list[list[str]], cut: int) -> None:
    """LM Studio keeps what it has computed of a prompt as long as that does not change."""
    messages = [
        message
        for turn in turns
        for message in (asks(*(call(name) for name in turn)), *(tells(name) for name in turn))
    ]

    assert with_tool_call_ids(messages)[:cut] == with_tool_call_ids(messages[:cut])


# -- contents


def test_a_prompt_becomes_a_conversation() -> None:
    """An empty system prompt is none."""
    user = internal.IdentifiedMessage(role="user", content="Hi", images=["aGk="])
    system = internal.IdentifiedMessage(role="system", content="Be brief.")

    assert [system, user] == prompt_as_messages("Hi", "Be brief.", ["aGk=", None], UNSET)
    assert [user] == prompt_as_messages("Hi", "", ["aGk="], UNSET)
    assert [internal.IdentifiedMessage(role="user")] == prompt_as_messages(
        UNSET, UNSET, None, UNSET
    )


MADE = internal.MadeModel(
    parent="",
    license=[],
    parameters={},
    system="Rhyme.",
    messages=[internal.MadeMessage(role="User", content="Fog?")],
)


def test_what_a_made_model_says_comes_first() -> None:
    """Its system text, then its turns, then the client's messages."""
    said = conversation([ollama.Message(role="user", content="Hi")], MADE)

    assert [("system", "Rhyme."), ("user", "Fog?"), ("user", "Hi")] == [
        (message.role, message.content) for message in said
    ]


def test_a_first_message_of_its_own_goes_over_a_stored_system_text() -> None:
    """Told once is told: two system texts would contradict each other."""
    made = internal.MadeModel(parent="", license=[], parameters={}, messages=[], system="Rhyme.")
    own = ollama.Message(role="system", content="Be brief.")

    assert ["Be brief."] == [message.content for message in conversation([own], made)]


def test_a_prompts_system_text_goes_over_a_stored_one() -> None:
    """The stored one counts where the request is silent."""
    told = [
        [message.content for message in prompt_as_messages("Hi", system, UNSET, MADE)]
        for system in ("Be brief.", "", UNSET)
    ]

    assert [["Be brief.", "Fog?", "Hi"], ["Rhyme.", "Fog?", "Hi"], ["Rhyme.", "Fog?", "Hi"]] == told


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 20, "image/jpeg"),
        (b"GIF89a" + b"\0" * 20, "image/gif"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"),
        (b"RIFF\x01\x02\x03\x04AVI LIST", "image/jpeg"),
        (b"BM" + b"\0" * 20, "image/bmp"),
        (b"II*\0" + b"\0" * 20, "image/tiff"),
        (b"\0\0\1\0" + b"\0" * 20, "image/x-icon"),
        (b"hi", "image/jpeg"),
    ],
)
def test_images_are_sniffed(head: bytes, kind: str) -> None:
    """What is unknown counts as JPEG."""
    data = base64.b64encode(head).decode()
    url = openai.ImageUrl(url=f"data:{kind};base64,{data}")

    assert [openai.ContentPart(type="image_url", image_url=url)] == message_content("", [data])


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"RIFF\x01\x02\x03\x04WAVEfmt ", "wav"),
        (b"ID3\x04" + b"\0" * 20, "mp3"),
        (b"\xff\xfb\x90\x64" + b"\0" * 20, "mp3"),
    ],
)
def test_sound_is_told_from_images(head: bytes, format: str) -> None:
    """Ollama takes both in one list."""
    data = base64.b64encode(head).decode()
    sound = openai.InputAudio(data=data, format=format)

    assert [openai.ContentPart(type="input_audio", input_audio=sound)] == message_content(
        UNSET, [data]
    )


def test_line_ends_are_taken_out_of_images() -> None:
    """A URL has none, and the signature may be cut by one."""
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
    cut = "\r\n".join(data[at : at + 3] for at in range(0, len(data), 3))

    assert message_content("", [data]) == message_content("", [cut])


def test_text_stands_before_images() -> None:
    """And alone it is no list."""
    parts = message_content("What?", ["aGk=", "aGk="])

    assert isinstance(parts, list)
    assert ["text", "image_url", "image_url"] == [part.type for part in parts]
    assert "What?" == parts[0].text
    assert "What?" == message_content("What?", [])
    assert "" == message_content(UNSET, UNSET)
