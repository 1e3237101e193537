"""
Tool calls put together from the fragments of a stream, or from the calls of a whole message.

Which fragments belong together, and which one begins a call, is decided by what came to users
(docs/facts/lmstudio.md#tool-fragments, docs/facts/lmstudio.md#tool-fragments-odd).
"""

from __future__ import annotations

from secrets import token_hex

from msgspec import UNSET, UnsetType

from ..faults import UpstreamFailure
from ..types import internal, ollama, openai
from ..wire.odd_values import note_odd
from ._calls import Calls


def merge_tool_calls(
    calls: list[internal.AssembledToolCall] | UnsetType,
    fragments: list[openai.ToolCallFragment],
    most: int,
) -> list[internal.AssembledToolCall]:
    """
    Return the calls with what new fragments add; `finished_calls` makes them whole.

    The index joins fragments, or an id that is known. A fragment without a name never begins a
    call, whatever id it has. A name begins one where its index is new, where it comes with an id of
    its own (LM Studio 0.3.17 got indexes wrong), and where the call before is another or whole.
    Final indexes are 0, 1, ... in the order of the calls' first fragments. Raises UpstreamFailure
    (`bad_tool_arguments`) for more than `most` fragments at a time, and for more calls.

    >>> from msgspec import Raw
    >>> head = openai.ToolCallFragment(
    ...     index=0, id="1", function=openai.FunctionFragment(name="f", arguments=Raw(b'""')))
    >>> tail = openai.ToolCallFragment(
    ...     index=0, id="2", function=openai.FunctionFragment(name="", arguments=Raw(b'"{}"')))
    >>> finished_calls(merge_tool_calls(merge_tool_calls(UNSET, [head], 9), [tail], 9), UNSET)
    [AssembledToolCall(index=0, id='1', name='f', arguments='{}')]
    """
    known = calls if isinstance(calls, Calls) else Calls(calls or ())
    known.add_all(fragments, most)
    return known


def merge_function_call(
    calls: list[internal.AssembledToolCall] | UnsetType,
    fragment: openai.FunctionFragment,
    most: int,
) -> list[internal.AssembledToolCall]:
    """
    Return the calls with what a piece of an answer's `function_call` adds.

    It is the call of an API that has one at most (docs/facts/lmstudio.md#other-calls). Raises
    UpstreamFailure (`bad_tool_arguments`) for more than `most` calls.

    >>> from msgspec import Raw
    >>> calls = merge_function_call(UNSET, openai.FunctionFragment(name="f"), 9)
    >>> piece = openai.FunctionFragment(arguments=Raw(b'"{}"'))
    >>> finished_calls(UNSET, older=merge_function_call(calls, piece, 9))[0].arguments
    '{}'
    """
    return merge_tool_calls(calls, [openai.ToolCallFragment(function=fragment)], most)


def finished_calls(
    calls: list[internal.AssembledToolCall] | UnsetType,
    tools: list[ollama.Tool] | UnsetType | None = UNSET,
    older: list[internal.AssembledToolCall] | UnsetType = UNSET,
) -> list[internal.AssembledToolCall] | UnsetType:
    """
    Return the calls of a finished answer, each with its whole arguments and an id of its own.

    What never got a name is left out and counted; a name in pieces is joined, unless each piece
    names one of `tools` and the whole does not. `older` are calls of the API's older form, which
    count where there are no others. Raises UpstreamFailure (`bad_tool_arguments`) when
    no call had a name.

    >>> finished_calls([internal.AssembledToolCall(index=0, id="1", name="f", arguments="")], UNSET)
    [AssembledToolCall(index=0, id='1', name='f', arguments='')]
    """
    calls = calls or older
    if isinstance(calls, UnsetType):
        return UNSET
    if isinstance(calls, Calls):
        calls.finish({name for tool in tools or () if (name := _name_of(tool))})
    named = [call for call in calls if call.name]
    if len(named) != len(calls):
        note_odd("ToolCallFragment", ("function.name",))
        if not named:
            raise UpstreamFailure(
                "LM Studio sent a tool call without a name", fault="bad_tool_arguments"
            )
    ids: set[str] = set()
    for place, call in enumerate(named):
        call.index = place
        if not call.id or call.id in ids:
            call.id = f"call_{token_hex(4)}"
        ids.add(call.id)
    return named or UNSET


def _name_of(tool: ollama.Tool) -> str:
    function = tool.function
    name = function.name if function else ""
    return name or ""
