"""Conversations that are passed on, as raw JSON: a made model's turns, and what LM Studio takes."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import Refusal
from ..types import internal
from ..wire.go_json import mend_surrogates
from ..wire.lenient import UNREADABLE
from ..wire.raw_members import member_of
from ._picture_parts import read_mended, with_pictures
from ._raw import SEARCHED_BYTES, found_in, kind_of
from .pictures import may_have_refused_url

_decode_items = msgspec.json.Decoder(list[Raw]).decode
_NOT_NATIVE: Final = ("stop", "seed", "presence_penalty", "frequency_penalty")
"""Options that /v1 takes and LM Studio's own chat route does not."""
_TOOL: Final = re.compile(rb'"tool"')
_IMAGE_URL: Final = re.compile(rb'"image_url"')
_NO_MESSAGES: Final = "messages must be a list, which the model's own turns can precede"


def behind_made_turns(
    messages: Raw, made: internal.MadeModel | UnsetType, pictures: dict[str, str]
) -> list[Raw] | UnsetType:
    """
    Return messages behind the turns that a model was made with; UNSET when it has none.

    `pictures` has PNG for what LM Studio refuses.

    Raises Refusal (400) when the messages can't be read: the turns would be lost.

    >>> turn = internal.MadeMessage(role="user", content="Fog?")
    >>> made = internal.MadeModel(parent="", license=[], parameters={}, messages=[turn])
    >>> [bytes(message) for message in behind_made_turns(Raw(b'[{"role":"user"}]'), made, {})]
    [b'{"role":"user","content":"Fog?"}', b'{"role":"user"}']
    """
    turns = [] if isinstance(made, UnsetType) else _turns(made)
    if not turns and not pictures:
        return UNSET
    return [*turns, *_with_png(_own_turns(messages), pictures)]


def passed_on_conversation(
    messages: Raw, made: internal.MadeModel | UnsetType, pictures: dict[str, str]
) -> list[Raw] | UnsetType:
    """
    Return a conversation as LM Studio takes it, behind what a model was made with; UNSET as it is.

    The model's system text comes first, unless the client's first message is one
    (docs/facts/ollama.md#stored-messages). Pictures of tool results stand in a turn of the user
    after them (docs/facts/lmstudio.md#refused-content). `pictures` has PNG for what LM Studio
    refuses. Messages that are not changed keep their bytes. Raises Refusal (400) when a made
    model's turns would be lost, as the messages can't be read.

    >>> made = internal.MadeModel(
    ...     parent="", license=[], parameters={}, messages=[], system="Rhyme.")
    >>> [bytes(message) for message in passed_on_conversation(Raw(b'[{"role":"user"}]'), made, {})]
    [b'{"role":"system","content":"Rhyme."}', b'{"role":"user"}']
    >>> passed_on_conversation(Raw(b'[{"role":"system"}]'), made, {})
    UNSET
    """
    told = UNSET if isinstance(made, UnsetType) else made.system
    turns = [] if isinstance(made, UnsetType) else _turns(made)
    # Messages may be large, and most have no result of a tool.
    view = memoryview(messages)
    if len(view) <= SEARCHED_BYTES:
        may_show = bool(_TOOL.search(view) and _IMAGE_URL.search(view))
    else:
        may_show = found_in(messages, _TOOL) and found_in(messages, _IMAGE_URL)
    if not turns and told is UNSET and not pictures:
        return _with_pictures_apart(_decode_items(messages)) if may_show else UNSET
    own = _with_png(_own_turns(messages), pictures)
    shown = _with_pictures_apart(own) if may_show else UNSET
    is_told = bool(own) and member_of(own[0], "role") in ("system", "developer")
    if told is UNSET or is_told:
        return [*turns, *(shown or own)] if turns or pictures else shown
    return [_turn("system", told), *turns, *(shown or own)]


def behind_made_input(
    input: Raw,
    previous_response_id: Raw | UnsetType,
    made: internal.MadeModel | UnsetType,
    pictures: dict[str, str],
) -> list[Raw] | UnsetType:
    """
    Return the input of a response behind the turns that a model was made with; UNSET for none.

    A text is one message. A response that goes on from another has the turns already.
    `pictures` has PNG for what LM Studio refuses. Raises Refusal (400) when
    the input can't be read: the turns would be lost.

    >>> turn = internal.MadeMessage(role="user", content="Fog?")
    >>> made = internal.MadeModel(parent="", license=[], parameters={}, messages=[turn])
    >>> [bytes(item) for item in behind_made_input(Raw(b'"Hi"'), UNSET, made, {})]
    [b'{"role":"user","content":"Fog?"}', b'{"role":"user","content":"Hi"}']
    """
    goes_on = (
        not isinstance(previous_response_id, UnsetType)
        and kind_of(previous_response_id) == "string"
    )
    turns = [] if isinstance(made, UnsetType) or goes_on else _turns(made)
    if not turns and not pictures:
        return UNSET
    if kind_of(input) == "string":
        return [*turns, Raw(b'{"role":"user","content":' + bytes(input) + b"}")]
    return [*turns, *_with_png(_own_turns(input), pictures)]


def made_instructions(
    input: Raw | UnsetType, made: internal.MadeModel | UnsetType
) -> str | UnsetType:
    """
    Return the system text that a model was made with, UNSET where the input begins with one.

    (docs/facts/ollama.md#stored-messages)

    >>> made = internal.MadeModel(
    ...     parent="", license=[], parameters={}, messages=[], system="Rhyme.")
    >>> made_instructions(Raw(b'"Hi"'), made)
    'Rhyme.'
    >>> made_instructions(Raw(b'[{"role":"system","content":"Brief."}]'), made)
    UNSET
    """
    if isinstance(made, UnsetType) or made.system is UNSET:
        return UNSET
    items = [] if isinstance(input, UnsetType) or kind_of(input) != "array" else _own_turns(input)
    is_told = bool(items) and member_of(items[0], "role") in ("system", "developer")
    return UNSET if is_told else made.system


def native_chat_problem(made: internal.MadeModel | UnsetType) -> str | UnsetType:
    """
    Return why a derived model can't answer on LM Studio's own chat route, absent when it can.

    That route takes no turns of an assistant and not all options.
    (docs/facts/lmstudio.md#native-chat)

    >>> made = internal.MadeModel(parent="", license=[], parameters={"stop": ["E"]}, messages=[])
    >>> native_chat_problem(made)
    'this route cannot apply what the model was made with (stop): use /v1/chat/completions'
    """
    if isinstance(made, UnsetType):
        return UNSET
    lost: list[str] = [name for name in _NOT_NATIVE if name in made.parameters]
    lost += ["MESSAGE"] if made.messages else []
    if not lost:
        return UNSET
    return (
        f"this route cannot apply what the model was made with ({', '.join(lost)}): "
        "use /v1/chat/completions"
    )


def _own_turns(messages: Raw) -> list[Raw]:
    """
    Return a client's messages, with U+FFFD for what is no character: LM Studio reads them so too.

    Raises Refusal (400) for anything but a list.
    """
    try:
        return _decode_items(messages)
    except UNREADABLE:
        text = mend_surrogates(bytes(messages).decode("utf-8", "replace"))
    try:
        return _decode_items(text.encode())
    except UNREADABLE:
        raise Refusal(400, _NO_MESSAGES) from None


def _with_png(messages: list[Raw], pictures: dict[str, str]) -> list[Raw]:
    """Return messages with PNG in place of pictures; those without any keep their bytes."""
    return [
        Raw(msgspec.json.encode(with_pictures(read_mended(message), pictures)))
        if pictures and may_have_refused_url(message)
        else message
        for message in messages
    ]


def _with_pictures_apart(messages: list[Raw]) -> list[Raw] | UnsetType:
    """Move the pictures of a run of tool results into a turn of the user after the run."""
    apart: list[Raw] = []
    pictures: list[Any] = []
    is_changed = False
    for raw in messages:
        message = msgspec.json.decode(raw)
        is_result = isinstance(message, dict) and message.get("role") == "tool"
        if pictures and not is_result:
            apart.append(_turn("user", pictures))
            pictures = []
        parts = message.get("content") if is_result else None
        if isinstance(parts, list) and any(map(_is_picture, parts)):
            is_changed = True
            pictures += filter(_is_picture, parts)
            message["content"] = [part for part in parts if not _is_picture(part)] or ""
            raw = Raw(msgspec.json.encode(message))
        apart.append(raw)
    if pictures:
        apart.append(_turn("user", pictures))
    return apart if is_changed else UNSET


def _is_picture(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url"


def _turns(made: internal.MadeModel) -> list[Raw]:
    return [_turn(turn.role, turn.content) for turn in made.messages]


def _turn(role: str, content: Any) -> Raw:
    return Raw(msgspec.json.encode({"role": role, "content": content}))
