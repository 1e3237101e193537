"""
What is given in files: a body, a curl line, a case, a recorded exchange, a fixture, a stream.

JSON is read without help; YAML needs a reader that olgate does not bring along.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from .asked import Answered, Asked, for_route
from .curl import read_curl
from .problems import NotExplained

_CURL = re.compile(r"\s*(?:[$%>]\s+)?curl(?:\.exe)?\s")
_EVENT = re.compile(rb"\s*(?::|data:|event:|id:|retry:)")


def read_request(
    text: str, route: str | None, where: str, folder: Path | None, case: str | None
) -> Asked:
    """
    Return the request that a text holds: JSON, a curl line, a case or a recorded exchange.

    `where` names the text in sentences. Files that it names are looked for from `folder`; None is
    for texts of which no file may be read, and no setting be taken, so that no case is. Raises
    NotExplained.
    """
    if _CURL.match(text):
        return read_curl(text.strip(), folder)
    value = parse(text, where)
    found = value if isinstance(value, list) else [value]
    cases = [one for one in found if isinstance(one, Mapping) and "case" in one]
    if cases:
        if folder is None:
            raise NotExplained(
                "a case names files and settings, which are not read here: explain it with "
                "`olgate explain FILE`"
            )
        return _of_case(_chosen(cases, case, where), folder, where)
    if isinstance(value, Mapping) and "client" in value and "upstream" in value:
        return _of_exchange(value, where)
    if route is None:
        raise NotExplained(
            f"{where} holds a body and no route; say which with --route, such as --route /api/chat"
        )
    return for_route(route, text.strip().encode("utf-8", "surrogateescape"), where)


_TOO_DEEP: Final = (
    "{where} has lists or objects in each other to a depth that is not read here; the gateway "
    "refuses such a body with 400"
)


def parse(text: str, where: str) -> Any:
    """Return what a text of JSON or YAML holds. Raises NotExplained."""
    try:
        return json.loads(text)
    except RecursionError:
        raise NotExplained(_TOO_DEEP.format(where=where)) from None
    except ValueError as problem:
        is_json = text.lstrip()[:1] in ("{", "[") and "# yaml" not in text[:200]
        if is_json and not Path(where).suffix.startswith(".y"):
            raise NotExplained(f"{where} is not JSON: {problem}") from None
    try:
        # By its name: the gateway needs no reader for YAML, and takes one that is there.
        yaml = import_module("ruamel.yaml")
    except ImportError:
        raise NotExplained(
            f"{where} is not JSON, and for YAML a reader is missing: `pip install ruamel.yaml`"
        ) from None
    try:
        return yaml.YAML(typ="safe", pure=True).load(text)
    except RecursionError:
        raise NotExplained(_TOO_DEEP.format(where=where)) from None
    except yaml.error.YAMLError as problem:
        line = str(problem).splitlines()[0]
        raise NotExplained(f"{where} is neither JSON nor YAML: {line}") from None


def read_answer(path: Path) -> Answered:
    """
    Return what LM Studio answers, by a fixture, a recorded exchange, or a body as it arrives.

    A body that begins as server-sent events is a stream, and any other is JSON. Raises
    NotExplained.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise NotExplained(f"--answer: {path} can't be read: {problem.strerror}") from None
    if _EVENT.match(data):
        kind = (("content-type", "text/event-stream"),)
        return Answered(headers=kind, pieces=_events(data), source=str(path))
    value = parse(data.decode("utf-8", "replace"), str(path))
    if isinstance(value, Mapping) and "chunks" in (value.get("response") or {}):
        return of_fixture(value, str(path))
    if isinstance(value, Mapping) and "client" in value and "upstream" in value:
        answer = _of_exchange(value, str(path)).answer
        if answer is None:
            raise NotExplained(f"--answer: {path} is an exchange that LM Studio did not answer")
        return answer
    return Answered(headers=_JSON, pieces=(data,), source=str(path))


def of_fixture(value: Mapping[str, Any], where: str) -> Answered:
    """Return the answer of a fixture of the conformance suite."""
    response = value["response"]
    return Answered(
        status=int(response.get("status", 200)),
        headers=tuple((response.get("headers") or {}).items()),
        pieces=tuple(_bytes(item) for item in response["chunks"]),
        source=where,
    )


_JSON = (("content-type", "application/json; charset=utf-8"),)


def _events(data: bytes) -> tuple[bytes, ...]:
    """Return a stream event by event, as LM Studio sends it."""
    parts = re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", data)
    return tuple(part for part in parts if part)


def _bytes(item: Any) -> bytes:
    data = item[1] if isinstance(item, list | tuple) else item
    return base64.b64decode(data["base64"]) if isinstance(data, Mapping) else str(data).encode()


def _chosen(cases: list[Any], name: str | None, where: str) -> Mapping[str, Any]:
    named = [one for one in cases if name in (None, one["case"])]
    if len(named) == 1:
        return dict(named[0])
    known = ", ".join(str(one["case"]) for one in cases)
    raise NotExplained(
        f"{where} has no case {name}; it has {known}"
        if name is not None
        else f"{where} holds several cases; choose one with --name: {known}"
    )


def of_case(case: Mapping[str, Any], fixtures: Path | None, where: str) -> Asked:
    """Return the request of a case; `fixtures` is the folder with the fixtures that it names."""
    name = str(case["case"])
    home = f"/api/{name.split('/', 1)[0]}"
    client = case.get("client") or {}
    asked = _of_client(client, home, f"the case {name} in {where}")
    before = tuple(_of_client(one, home, asked.source) for one in case.get("before") or ())
    return Asked(
        method=asked.method,
        path=asked.path,
        query=asked.query,
        headers=asked.headers,
        body=asked.body,
        source=asked.source,
        answer=_case_answer(case.get("upstream") or {}, fixtures, where),
        before=before,
        settings=case.get("settings") or {},
        lists=_lists((rule.get("match") or {}, rule.get("answer") or {}) for rule in _script(case)),
    )


def _of_case(case: Mapping[str, Any], folder: Path, where: str) -> Asked:
    homes = [folder, *folder.absolute().parents]
    fixtures = next((one / "fixtures" for one in homes if (one / "fixtures").is_dir()), None)
    return of_case(case, fixtures, where)


def _of_client(client: Mapping[str, Any], home: str, where: str) -> Asked:
    body: bytes | None = None
    if "raw_body" in client:
        raw = client["raw_body"]
        body = base64.b64decode(raw["base64"]) if isinstance(raw, Mapping) else str(raw).encode()
    elif "request" in client:
        body = json.dumps(client["request"], ensure_ascii=False).encode("utf-8", "surrogateescape")
    method = client.get("method") or ("GET" if body is None else "POST")
    asked = for_route(f"{method} {client.get('path') or home}", body, where)
    headers = {str(name).lower(): str(value) for name, value in _pairs(client.get("headers"))}
    return Asked(asked.method, asked.path, asked.query, headers, body, where)


def _pairs(headers: Any) -> list[tuple[Any, Any]]:
    return list(headers.items()) if isinstance(headers, Mapping) else []


def _case_answer(upstream: Mapping[str, Any], fixtures: Path | None, where: str) -> Answered | None:
    rules = upstream.get("script") or []
    if upstream.get("fixture"):
        rules = [{"fixture": upstream["fixture"]}]
    for rule in reversed(rules):
        name, answer = rule.get("fixture"), rule.get("answer") or {}
        if _is_list(rule.get("match") or {}):
            continue
        if name is not None:
            path = (fixtures or Path("fixtures")) / f"{name}.yaml"
            if not path.is_file():
                raise NotExplained(f"the fixture {name} that {where} names is not at {path}")
            return read_answer(path)
        if "chunks" in answer:
            return of_fixture({"response": answer}, f"the script of {where}")
    return None


def _script(case: Mapping[str, Any]) -> list[Any]:
    return (case.get("upstream") or {}).get("script") or []


def _is_list(asked: Mapping[str, Any]) -> bool:
    return asked.get("method") == "GET" and str(asked.get("path", "")).endswith("/models")


def _lists(calls: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the lists of models among requests and their answers, by the requests' paths."""
    found: dict[str, Any] = {}
    for asked, answer in calls:
        if _is_list(asked) and answer.get("chunks"):
            data = b"".join(map(_bytes, answer["chunks"]))
            value = parse(data.decode("utf-8", "replace"), "a list of models")
            if isinstance(value, Mapping) and ("models" in value or "data" in value):
                found[str(asked["path"])] = value
    return found


def _of_exchange(value: Mapping[str, Any], where: str) -> Asked:
    """Return the request of an exchange that the inspector has kept."""
    client, upstream = value["client"], value["upstream"]
    asked = _of_client(client, "/", f"the exchange in {where}")
    calls = upstream.get("calls") or [] if isinstance(upstream, Mapping) else []
    answered = [call for call in calls if call.get("response") and not _is_list(call)]
    return replace(
        asked,
        answer=of_fixture(answered[-1], asked.source) if answered else None,
        lists=_lists((call, call.get("response") or {}) for call in calls),
    )
