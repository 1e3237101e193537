"""
Messages of a request: Ollama's checks, and the form that LM Studio needs.

Pairing tool results with tool calls needs the whole conversation, which no rule sees at once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, Raw, UnsetType, structs

from ..types import internal, ollama, openai
from ..wire.fitting import IN_STEPS
from ..wire.go_json import unreadable_number
from ._media import (
    broken_base64,
    broken_base64_in_steps,
    media_type,
    without_line_ends,
)
from ._raw import kind_of
from ._roles import USUAL, other_roles, sent_role

_NO_OBJECT: Final = "Value looks like object, but can't find closing '}' symbol"
_ID_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH: Final = 8
_SOUND_FORMATS: Final = {"audio/wav": "wav", "audio/mp3": "mp3"}


def base64_problem(text: str) -> str | UnsetType:
    """
    Return Go's text for an image that is not base64, absent for one that is.

    (docs/facts/ollama.md#images)

    >>> base64_problem("data:image/png;base64,aGk=")
    'illegal base64 data at input byte 4'
    """
    return broken_base64(text)


IN_STEPS[base64_problem] = broken_base64_in_steps


def object_problem(value: Raw) -> str | UnsetType:
    """
    Return Ollama's text for a value that must be an object or null and is not, else absent.

    (docs/facts/ollama.md#arguments-in)

    >>> object_problem(Raw(b'"{}"'))
    "Value looks like object, but can't find closing '}' symbol"
    """
    return UNSET if kind_of(value) in ("absent", "object") else _NO_OBJECT


def arguments_problem(value: Raw) -> str | UnsetType:
    """
    Return Ollama's text for arguments that are not an object, or hold a number beyond a double.

    (docs/facts/ollama.md#arguments-in, docs/facts/ollama.md#huge-numbers)

    >>> arguments_problem(Raw(b'{"a": 1e400}'))
    'json: cannot unmarshal number 1e400 into Go value of type float64'
    """
    problem = object_problem(value)
    return unreadable_number(value) or UNSET if isinstance(problem, UnsetType) else problem


def _with_tool_call_ids(messages: list[ollama.Message]) -> list[internal.IdentifiedMessage]:
    """
    Return the messages with an id on every tool call, and on every result the id of its call.

    Most clients send results without ids, and many calls without. A result without one answers a
    call, still unanswered, of the last turn that made calls: the one named by its `tool_name`, else
    the first. (A run of assistant messages is one turn.) A sent id is kept; if it is of no call, a
    call that lacks an id takes it. Other ids are made up from a call's place, so that they stay the
    same when the conversation grows. (docs/facts/clients.md#tool-results,
    docs/facts/ollama.md#messages)

    >>> call = ollama.ToolCall(function=ollama.ToolCallFunction(name="f", arguments=Raw(b"{}")))
    >>> asked, told = _with_tool_call_ids([
    ...     ollama.Message(role="assistant", tool_calls=[call]),
    ...     ollama.Message(role="tool", content="4"),
    ... ])
    >>> told.tool_call_id == asked.tool_calls[0].id
    True
    """
    if not _have_calls(messages):
        # There is nothing to pair, as in most conversations.
        return [_alone(message) for message in messages]
    turns = [
        _Turn(
            message=message,
            role=sent_role(message.role),
            calls=_calls(message) if message.tool_calls else [],
            sent_id=message.tool_call_id or "",
        )
        for message in messages
    ]
    _Pairing(turns)
    taken = {turn.sent_id for turn in turns if turn.sent_id}
    taken.update(call.id for turn in turns for call in turn.calls if call.id)
    for place, turn in enumerate(turns):
        for number, call in enumerate(turn.calls):
            if not call.id:
                call.id = _made_up_id(f"{place}.{number}.{call.name}", taken)
                taken.add(call.id)
    return [_identified(turn) for turn in turns]


def conversation(
    messages: list[ollama.Message], made: internal.MadeModel | UnsetType
) -> list[internal.IdentifiedMessage]:
    """
    Return the messages for LM Studio, after those of a derived model.

    Its system text comes first, unless the client's own first message is one. All tool calls have
    ids (see `_with_tool_call_ids`). Pictures of tool results stand in a turn of the user after
    them, as LM Studio takes none in the results. (docs/facts/ollama.md#stored-messages,
    docs/facts/lmstudio.md#refused-content)

    >>> made = internal.MadeModel(
    ...     parent="", license=[], parameters={}, messages=[], system="Rhyme.")
    >>> [message.content for message in conversation([ollama.Message(content="Hi")], made)]
    ['Rhyme.', 'Hi']
    """
    own = _with_pictures_apart(_with_tool_call_ids(messages))
    if isinstance(made, UnsetType):
        return own
    kept = [*_turns(made), *own]
    if isinstance(made.system, UnsetType) or (own and own[0].role == "system"):
        return kept
    return [internal.IdentifiedMessage(role="system", content=made.system), *kept]


def has_other_role(messages: list[ollama.Message] | UnsetType | None) -> bool:
    """
    Return whether a message has a role that LM Studio does not know.

    (docs/facts/ollama.md#messages)

    >>> has_other_role([ollama.Message(role="narrator")]), has_other_role([ollama.Message()])
    (True, False)
    """
    for message in messages or ():
        if message.role not in USUAL:
            return bool(other_roles(messages))
    return False


def prompt_as_messages(
    prompt: str | UnsetType,
    system: str | UnsetType,
    images: list[str | None] | UnsetType | None,
    made: internal.MadeModel | UnsetType,
) -> list[internal.IdentifiedMessage]:
    """
    Return a prompt as a conversation: a system message when there is one, then a user message.

    The request's system text replaces that of a derived model, whose messages precede the prompt.
    (docs/facts/ollama.md#generate)

    >>> [message.role for message in prompt_as_messages("Hi", "Be brief.", UNSET, UNSET)]
    ['system', 'user']
    """
    told = system or (UNSET if isinstance(made, UnsetType) else made.system)
    messages = [] if isinstance(made, UnsetType) else _turns(made)
    if not isinstance(told, UnsetType) and told:
        messages.insert(0, internal.IdentifiedMessage(role="system", content=told))
    messages.append(internal.IdentifiedMessage(role="user", content=prompt, images=_images(images)))
    return messages


def message_content(
    text: str | UnsetType, images: list[str] | UnsetType
) -> str | list[openai.ContentPart]:
    """
    Return what a message says: its text, or parts when it has images or sound.

    A text part comes first, if there is text; bytes are sniffed, as nothing declares what they are.
    (docs/facts/ollama.md#media-types, docs/facts/ollama.md#backend-requests)

    >>> message_content("Hi", UNSET)
    'Hi'
    >>> [part.type for part in message_content("What is it?", ["iVBORw0KGgo="])]
    ['text', 'image_url']
    """
    said = "" if isinstance(text, UnsetType) else text
    if isinstance(images, UnsetType) or not images:
        return said
    parts = [openai.ContentPart(type="text", text=said)] if said else []
    parts += [_part(without_line_ends(image)) for image in images]
    return parts


def _with_pictures_apart(
    messages: list[internal.IdentifiedMessage],
) -> list[internal.IdentifiedMessage]:
    """Move the pictures of a run of tool results into a turn of the user after the run."""
    for message in messages:
        if message.images and message.role == "tool":
            break
    else:
        return messages
    apart: list[internal.IdentifiedMessage] = []
    pictures: list[str] = []
    for message in messages:
        if pictures and message.role != "tool":
            apart.append(internal.IdentifiedMessage(role="user", images=pictures))
            pictures = []
        if message.role == "tool" and message.images:
            pictures = [*pictures, *message.images]
            message = structs.replace(message, images=UNSET)
        apart.append(message)
    if pictures:
        apart.append(internal.IdentifiedMessage(role="user", images=pictures))
    return apart


def _turns(made: internal.MadeModel) -> list[internal.IdentifiedMessage]:
    return [
        internal.IdentifiedMessage(role=turn.role.lower(), content=turn.content)
        for turn in made.messages
    ]


def _part(data: str) -> openai.ContentPart:
    kind = media_type(data)
    if kind in _SOUND_FORMATS:
        sound = openai.InputAudio(data=data, format=_SOUND_FORMATS[kind])
        return openai.ContentPart(type="input_audio", input_audio=sound)
    url = openai.ImageUrl(url=f"data:{kind};base64,{data}")
    return openai.ContentPart(type="image_url", image_url=url)


@dataclass(slots=True)
class _Call:
    """A tool call whose id may still be unknown ("")."""

    id: str
    name: str
    arguments: Raw
    is_answered: bool = False


@dataclass(slots=True)
class _Turn:
    """A message, its tool calls, and the tool call that it answers."""

    message: ollama.Message
    role: str
    calls: list[_Call]
    sent_id: str
    answered: _Call | None = None


class _Pending:
    """
    The tool calls of one turn, in their order: the next one that a result may answer.

    A call that was answered, or has an id, stays so. It is dropped from the queue where it is met.
    """

    def __init__(self) -> None:
        self._queues: defaultdict[tuple[bool, str], deque[_Call]] = defaultdict(deque)

    def add(self, calls: list[_Call]) -> None:
        for call in calls:
            for lacks_id in (False,) if call.id else (False, True):
                self._queues[lacks_id, ""].append(call)
                if call.name:
                    self._queues[lacks_id, call.name].append(call)

    def first(self, name: str, *, lacks_id: bool) -> _Call | None:
        """Return the first call with this name ("" is any) that is not answered."""
        queue = self._queues.get((lacks_id, name))
        while queue:
            call = queue[0]
            if not (call.is_answered or (lacks_id and call.id)):
                return call
            queue.popleft()
        return None


class _Pairing:
    """Walks a conversation once and notes the tool call that every tool result answers."""

    def __init__(self, turns: list[_Turn]) -> None:
        self._ids_of_calls = {call.id for turn in turns for call in turn.calls if call.id}
        self._known: dict[str, _Call] = {}
        self._pending = _Pending()
        role_before = ""
        for turn in turns:
            if turn.calls:
                joins = turn.role == role_before == "assistant"
                if not joins:
                    self._pending = _Pending()
                self._pending.add(turn.calls)
                self._known.update((call.id, call) for call in turn.calls if call.id)
            if turn.role == "tool":
                turn.answered = self._find_call(turn)
                if turn.answered is not None:
                    turn.answered.is_answered = True
            role_before = turn.role

    def _find_call(self, turn: _Turn) -> _Call | None:
        sent = turn.sent_id
        if sent in self._known:
            return self._known[sent]
        if sent in self._ids_of_calls:
            # A later call has this id, so no earlier call may take it.
            return None
        lacks_id = bool(sent)
        found = self._pending.first(turn.message.tool_name or "", lacks_id=lacks_id)
        found = found or self._pending.first("", lacks_id=lacks_id)
        if sent and found is not None:
            found.id = sent
            self._known[sent] = found
        return found


def _calls(message: ollama.Message) -> list[_Call]:
    calls = []
    for call in message.tool_calls or ():
        name, arguments = "", Raw(b"{}")
        if isinstance(call.function, ollama.ToolCallFunction):
            name = call.function.name or ""
            if kind_of(call.function.arguments) == "object":
                arguments = call.function.arguments or arguments
        calls.append(_Call(id=call.id or "", name=name, arguments=arguments))
    return calls


def _have_calls(messages: list[ollama.Message]) -> bool:
    for message in messages:  # noqa: SIM110 - a generator costs more than its steps
        if message.tool_calls:
            return True
    return False


def _alone(message: ollama.Message) -> internal.IdentifiedMessage:
    """Return a message of a conversation without tool calls."""
    content, thinking, images = message.content, message.thinking, message.images
    return internal.IdentifiedMessage(
        role=sent_role(message.role),
        content=UNSET if content is None else content,
        thinking=UNSET if thinking is None else thinking,
        images=_images(images) if images else UNSET,
        tool_call_id=message.tool_call_id or UNSET,
        tool_name=message.tool_name or UNSET,
    )


def _identified(turn: _Turn) -> internal.IdentifiedMessage:
    message = turn.message
    identity = turn.sent_id or (turn.answered.id if turn.answered is not None else "")
    return internal.IdentifiedMessage(
        role=turn.role,
        content=UNSET if message.content is None else message.content,
        thinking=UNSET if message.thinking is None else message.thinking,
        images=_images(message.images),
        tool_calls=[
            internal.IdentifiedToolCall(id=call.id, name=call.name, arguments=call.arguments)
            for call in turn.calls
        ]
        or UNSET,
        tool_call_id=identity or UNSET,
        tool_name=message.tool_name or UNSET,
    )


def _images(images: list[str | None] | UnsetType | None) -> list[str] | UnsetType:
    # LM Studio would refuse an empty image; null counts as one.
    return [image for image in images or () if image] or UNSET


def _made_up_id(seed: str, taken: set[str]) -> str:
    """Return an id that looks like Ollama's own. (docs/facts/ollama.md#tool-calls-out)"""
    attempt = 0
    while True:
        digest = hashlib.blake2b(f"{seed}.{attempt}".encode("utf-8", "replace"), digest_size=8)
        number = int.from_bytes(digest.digest(), "big")
        characters = []
        for _ in range(_ID_LENGTH):
            number, place = divmod(number, len(_ID_CHARACTERS))
            characters.append(_ID_CHARACTERS[place])
        identity = "call_" + "".join(characters)
        if identity not in taken:
            return identity
        attempt += 1
