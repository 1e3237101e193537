"""
Small documents for the tests of `nox -s upstream-diff`, and what is said of two of them.

No test stands here.
"""

import json
from pathlib import Path
from typing import Any, TypeAlias

from codegen.upstream_diff.apis import Apis, shared
from codegen.upstream_diff.document import Document

Schema: TypeAlias = Any


def taking(schema: Schema, **more: Schema) -> dict[str, Any]:
    """Return a document with one operation, `post /things`, whose request has a schema."""
    body = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    return {"openapi": "3.1.0", "paths": {"/things": {"post": body}}, **more}


def answering(content: Schema) -> dict[str, Any]:
    """Return a document with one operation, `get /things`, whose answer has a content."""
    answer = {"responses": {"200": {"content": content}}}
    return {"openapi": "3.1.0", "paths": {"/things": {"get": answer}}}


def having(**properties: Schema) -> dict[str, Any]:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties}


def told(ours: Schema, theirs: Schema, *, minor: bool = False) -> list[str]:
    """Return what is said of two documents, without the operation and without places."""
    own, other = (
        one if isinstance(one, Document) else Document(json.loads(json.dumps(one)), Path())
        for one in (ours, theirs)
    )
    _, base = shared(own, other)
    return [
        " ".join(
            part
            for part in (found.kind, where, found.path and f"{found.path}:", found.text)
            if part
        )
        for change in Apis(own, other, base).changes()
        for found in [change.difference]
        for where in [change.side or change.operation]
        if minor or not found.minor
    ]


def told_of(ours: Schema, theirs: Schema, **more: bool) -> list[str]:
    """Return what is said of two schemas of one request."""
    return told(taking(ours), taking(theirs), **more)
