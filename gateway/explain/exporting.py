"""
A kept exchange as a case of the conformance suite: a file that runs.

The stand-in of the suite answers what LM Studio answered, and the case expects what the client got.
Whoever reports a fault changes what is expected to what it should have been.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .models import OPENAI, V1
from .problems import NotExplained

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)
"""A picture of one point, which stands for each picture that was left out."""

_IMAGE = re.compile(r"\(image, [\d,]+ bytes\)")
_SENT_BY_ITSELF = ("content-type", "accept")


def as_case(
    exchange: Mapping[str, Any], name: str, models: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """
    Return an exchange, as the gateway shows it, as a case with a name such as `chat/my-report`.

    `models` is LM Studio's list as it is now; without it, the list of the exchange is taken, or one
    with the model that was asked. Raises NotExplained for an exchange whose bodies were too long.
    """
    client, answer = exchange["client"], exchange["answer"]
    calls = (exchange.get("upstream") or {}).get("calls") or []
    for part in (client, answer, *(call.get("response") or {} for call in calls)):
        if "left_out" in part:
            raise NotExplained(
                f"the exchange {exchange['id']} can't be a case: {part['left_out']}; raise "
                "inspect.body_bytes and let it happen again"
            )
    sent: dict[str, Any] = {"method": client["method"], "path": client["path"]}
    headers = {
        key: value
        for key, value in (client.get("headers") or {}).items()
        if key not in _SENT_BY_ITSELF or "json" not in value
    }
    if headers:
        sent["headers"] = headers
    for key in ("request", "raw_body"):
        if key in client:
            sent[key] = _with_pictures(client[key])
    upstream: dict[str, Any] = {
        "script": [*_lists(calls, models, _names(exchange, calls)), *_answers(calls)]
    }
    main = _main(calls)
    if main is not None and isinstance(main.get("request"), Mapping):
        method, path = main["method"], main["path"]
        body = _with_pictures(main["request"])
        upstream["expect_requests"] = [{"method": method, "path": path, "body": body}]
        if "(image," in json.dumps([main["request"], client.get("request")]):
            # Another picture is sent than the one that was left out.
            del upstream["expect_requests"]
    return {
        "case": name,
        "why": f"an exchange that a gateway kept at {exchange['at']}; correct what is expected",
        "own_pair": True,
        "client": sent,
        "upstream": upstream,
        "expect": _expected(answer),
    }


def _main(calls: list[Any]) -> Mapping[str, Any] | None:
    asked = [call for call in calls if not _is_list(call) and not call["path"].startswith(V1)]
    return asked[-1] if asked else None


def _is_list(call: Mapping[str, Any]) -> bool:
    return bool(call["method"] == "GET" and call["path"].endswith("/models"))


def _names(exchange: Mapping[str, Any], calls: list[Any]) -> list[str]:
    """Return what the exchange calls its model, LM Studio's key first."""
    said = [(_main(calls) or {}).get("request"), exchange["client"].get("request")]
    found = [one["model"] for one in said if isinstance(one, Mapping) and "model" in one]
    found.append(exchange.get("model"))
    return [name.removesuffix(":latest") for name in found if isinstance(name, str) and name]


def _lists(
    calls: list[Any], models: Mapping[str, Any] | None, names: list[str]
) -> list[dict[str, Any]]:
    """Return rules for LM Studio's lists of models, which a name is looked up in."""
    known = [call for call in calls if _is_list(call) and call.get("response")]
    if known:
        return list({call["path"]: _rule(call, 0) for call in known}.values())
    if row := _row(models, names):
        loads = any(call["path"].startswith(f"{V1}/") for call in calls)
        if not loads and not row.get("loaded_instances"):
            # It answered at once, so it was loaded.
            length = row.get("max_context_length") or 4096
            row["loaded_instances"] = [{"id": row["key"], "config": {"context_length": length}}]
        return [_said(V1, {"models": [row]})]
    rows = [{"id": name, "object": "model", "owned_by": "lm-studio"} for name in names[:1]]
    lacking = {"error": f"Unexpected endpoint or method. (GET {V1})"}
    return [
        _said(V1, lacking),
        _said(V1.replace("v1", "v0"), lacking),
        _said(OPENAI, {"object": "list", "data": rows}),
    ]


def _row(models: Mapping[str, Any] | None, names: list[str]) -> dict[str, Any] | None:
    """Return what LM Studio's list says of one model; nobody else's models are to be told."""
    rows = (models or {}).get("models")
    for row in rows if isinstance(rows, list) else []:
        known = (row.get("key"), *(row.get("variants") or ())) if isinstance(row, dict) else ()
        if set(names) & set(known):
            return dict(row)
    return None


def _answers(calls: list[Any]) -> list[dict[str, Any]]:
    met: dict[tuple[str, str], int] = {}
    rules = []
    for call in calls:
        key = call["method"], call["path"]
        met[key] = met.get(key, 0) + 1
        if not _is_list(call) and call.get("response"):
            rules.append(_rule(call, met[key]))
    return rules


def _rule(call: Mapping[str, Any], nth: int) -> dict[str, Any]:
    response = call["response"]
    made: dict[str, Any] = {"match": {"method": call["method"], "path": call["path"]}}
    if nth:
        made["nth"] = nth
    made["answer"] = {
        "status": response["status"],
        "headers": response["headers"],
        "chunks": response["chunks"],
    }
    if call.get("fault"):
        made["answer"]["end"] = "close"
    return made


def _said(path: str, value: Any) -> dict[str, Any]:
    return {
        "match": {"method": "GET", "path": path},
        "answer": {
            "status": 200,
            "headers": {"content-type": "application/json; charset=utf-8"},
            "chunks": [[0, json.dumps(value)]],
        },
    }


def _expected(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a case expects: all that the client got, without times."""
    status, kind = answer["status"], answer["headers"].get("content-type", "")
    expect: dict[str, Any] = {"status": status}
    text = "".join(data for _, data in answer["chunks"] if isinstance(data, str))
    if "ndjson" in kind:
        lines = [json.loads(line) for line in text.splitlines() if line]
        return expect | {"frames": {"lines": lines}, "tolerate": ["times"]}
    if "json" in kind and text:
        value = json.loads(text)
        if status >= 400 and isinstance(value, dict) and isinstance(value.get("error"), str):
            return expect | {"error": value["error"]}
        return expect | {"json": value, "tolerate": ["times"]}
    if text:
        # A stream of events has ids and times of its own in it.
        return expect if "event-stream" in kind else expect | {"text": text}
    return expect | {"body_empty": True}


def _with_pictures(value: Any) -> Any:
    if isinstance(value, str):
        return PICTURE if _IMAGE.fullmatch(value) else value
    if isinstance(value, Mapping):
        return {key: _with_pictures(one) for key, one in value.items()}
    return [_with_pictures(one) for one in value] if isinstance(value, list) else value


def case_text(case: Mapping[str, Any]) -> str:
    """Return a case as the text of its file: JSON, which is YAML, too."""
    return json.dumps(case, indent=2, ensure_ascii=False) + "\n"


def case_name(identifier: str) -> str:
    """
    Return the name of the case of an exchange.

    >>> case_name("3F-a_1")
    'inspected/3f-a-1'
    """
    word = "".join(letter if letter.isalnum() else "-" for letter in identifier.lower())
    return f"inspected/{word}"
