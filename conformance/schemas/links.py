"""
Operations one after the other: what one of them made, the next ones use (`links` of the spec).

This module makes the copy of the spec for the walk, and reads its result. The tests say what must
have happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import schemathesis
from schemathesis.engine import events, from_schema

from conformance.schemas.ollama import Account, Document, account_for, copy_for, settings_for

WALKED = ("create_model", "show_model", "chat", "delete_model")


def copy_to_walk(document: Document, names: Mapping[str, Sequence[str]]) -> Document:
    """Return the copy that is walked: models are made of such that can chat, under plain names."""
    changed = copy_for(document, names, streamed=False)
    schemas = changed["components"]["schemas"]
    made = schemas["CreateRequest"]
    kept = ("model", "from", "system", "license", "stream")
    made["properties"] = {name: made["properties"][name] for name in kept}
    made["properties"]["model"] = {"type": "string", "pattern": "^[a-z]{4,8}$"}
    made["properties"]["from"] = {"type": "string", "enum": list(names["llm"])}
    made["properties"]["stream"] = {"type": "boolean", "const": False}
    made["required"] = ["model", "from", "stream"]
    made["additionalProperties"] = False
    for name in ("ShowRequest", "ChatRequest", "DeleteRequest"):
        schemas[name]["properties"]["model"].pop("enum", None)
    return changed


def walk(url: str, document: Document, walks: int) -> Account:
    """Walk from operation to operation that many times, against the gateway at an address."""
    config = settings_for(document, WALKED, ("stateful",), "positive", most=walks)
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=url)
    account = Account()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                account_for(account, "walk", event.recorder)
            case events.NonFatalError():
                account.troubles.append(f"{event.label}: {event.info.message}")
            case events.FatalError():
                account.troubles.append(repr(event.exception))
    return account
