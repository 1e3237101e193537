"""
A script that a prompt carries: what is to be said, thought, called or failed, as JSON behind `@@`.

So an engine needs no other word of what to answer, and two engines can play the same script. The
module imports only the standard library: the scripted `llama-server` of `conformance.differential`
loads it by its path, without this package.
"""

import json
from typing import Any

MARK = "@@{"
SCRIPT_KEYS = {"say", "think", "calls", "finish", "error", "status"}


def find_script(text: str) -> dict[str, Any] | None:
    """
    Return the last script that a text carries, or None.

    `say` and `think` are lists of pieces; `calls` are tool calls with `name` and `arguments`, an
    object or a text; `finish` is the reason for the end; `error` is a failure's text, with a
    `status` before anything was said, else after it. An object with other keys is no script.

    >>> find_script('Say it: @@{"say": ["Hel", "lo"]} now')
    {'say': ['Hel', 'lo']}
    >>> find_script('@@{"sya": []}') is None
    True
    """
    place = text.rfind(MARK)
    if place < 0:
        return None
    try:
        script, _ = json.JSONDecoder().raw_decode(text, place + 2)
    except ValueError:
        return None
    return script if script and script.keys() <= SCRIPT_KEYS and _is_sound(script) else None


def arguments_of(call: dict[str, Any]) -> str:
    """Return the arguments of a call as the text that an engine sends."""
    given = call.get("arguments", {})
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _is_sound(script: dict[str, Any]) -> bool:
    texts = [*_list(script, "say"), *_list(script, "think")]
    calls = _list(script, "calls")
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls)
        and isinstance(script.get("error", ""), str)
        and isinstance(script.get("status", 0), int)
    )


def _list(script: dict[str, Any], key: str) -> list[Any]:
    value = script.get(key, [])
    return value if isinstance(value, list) else [None]
