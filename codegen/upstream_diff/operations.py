"""
The operations of an OpenAPI document, and under which path each is reached.

A path counts from the server's address, which may hold a path itself: `/chat` below
`https://host/v1` is `/v1/chat`. Names of path parameters mean nothing, nor does a slash at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from codegen.descriptions.spec import METHODS
from codegen.upstream_diff.document import Document, Node, Unread, UnreadableDocument
from codegen.upstream_diff.shape import named_kind

Key: TypeAlias = tuple[str, str]
"""A method, and a path with `{}` for each of its parameters."""

ALL_METHODS = (*METHODS, "options", "trace")
_ADDRESS = re.compile(r"^([^:/]+:)?//[^/]*")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Operation:
    """One method of one path; `path` is the whole one, below the server's address."""

    method: str
    path: str
    node: Node
    item: Node
    server: str = ""
    """Its own server, where that is not the document's."""

    @property
    def name(self) -> str:
        """The operation as rules write it."""
        return f"{self.method} {self.path}"

    @property
    def key(self) -> Key:
        """What it is compared by."""
        return key_of(self.method, self.path)


@dataclass(frozen=True)
class UnreadPath:
    """A path whose operations, or one of them, could not be read."""

    path: str
    method: str
    reason: str

    def covers(self, key: Key) -> bool:
        """Whether an operation may be described there."""
        return key[1] == key_of("", self.path)[1] and self.method in ("", key[0])


def key_of(method: str, path: str) -> Key:
    """
    Return what operations are compared by.

    >>> key_of("GET", "/v1/models/{id}/")
    ('get', '/v1/models/{}')
    """
    return method.lower(), _VARIABLE.sub("{}", path).rstrip("/") or "/"


def check_openapi(document: Document) -> None:
    """Raise UnreadableDocument when a document is no OpenAPI 3 with paths."""
    contents = document.contents
    if not isinstance(contents, dict):
        kind = named_kind(contents)
        raise UnreadableDocument(f"this is not an OpenAPI document: it holds {kind}, not an object")
    if "swagger" in contents:
        raise UnreadableDocument(
            f"this is Swagger {contents['swagger']}, which is not read: "
            "convert it to OpenAPI 3 first"
        )
    if "openapi" not in contents:
        raise UnreadableDocument("this is not an OpenAPI document: it has no `openapi`")
    if not str(contents["openapi"]).startswith("3."):
        raise UnreadableDocument(f"OpenAPI {contents['openapi']} is not read, only 3")
    if "paths" not in contents:
        raise UnreadableDocument("there is nothing to compare: it has no `paths`")
    if not isinstance(contents["paths"], dict):
        kind = named_kind(contents["paths"])
        raise UnreadableDocument(f"its `paths` is {kind}, not an object")


def bases(document: Document) -> list[str]:
    """
    Return the paths that operations may be below, the stated ones first.

    Then come parts of these: some vendors state one and repeat it in every path, and others serve
    the same routes under a longer path than ours.
    """
    stated = [_path(url) for url in _servers(document.root)] or [""]
    parts = ["/" + part for base in stated for part in _tails(base)]
    return list(dict.fromkeys([*stated, *parts, ""]))


def operations(document: Document, base: str) -> tuple[list[Operation], list[UnreadPath]]:
    """Return the operations with their paths below a base, and the paths that can't be read."""
    found: list[Operation] = []
    unread: list[UnreadPath] = []
    first: dict[Key, str] = {}
    for path, item in (document.root.get("paths") or document.root).entries():
        if path.startswith("x-"):
            continue
        whole = _below(base, path)
        target = item.followed()
        if isinstance(target, Unread):
            unread.append(UnreadPath(whole, "", target.reason))
        elif not isinstance(target.value, dict):
            reason = f"{named_kind(target.value)} where the operations of a path should stand"
            unread.append(UnreadPath(whole, "", reason))
        else:
            for method, node in target.entries():
                if method.lower() not in ALL_METHODS:
                    continue
                if not isinstance(node.value, dict):
                    reason = f"{named_kind(node.value)} where an operation should stand"
                    unread.append(UnreadPath(whole, method.lower(), reason))
                    continue
                operation = _operation(document, method.lower(), path, whole, node, target)
                if operation.key in first:
                    reason = f"described a second time, after `{first[operation.key]}`"
                    unread.append(UnreadPath(operation.path, operation.method, reason))
                    continue
                first[operation.key] = operation.path
                found.append(operation)
    return found, unread


def passed_on(document: Document) -> dict[Key, str]:
    """Return the operations that a description leaves to another server, and how."""
    stated = document.root.get("x-passed-on")
    return {
        key_of(*name.split(" ", 1)): str(value.value)
        for name, value in (stated.entries() if stated else ())
        if " " in name
    }


def _operation(
    document: Document, method: str, path: str, whole: str, node: Node, item: Node
) -> Operation:
    own = list(_servers(node)) or list(_servers(item))
    if not own or set(own) & set(_servers(document.root)):
        return Operation(method, whole, node, item)
    return Operation(method, _below(_path(own[0]), path), node, item, own[0])


def _servers(node: Node) -> Iterator[str]:
    for server in (node.get("servers") or Node([], node.document)).items():
        url = server.text("url")
        if url is not None:
            yield _VARIABLE.sub(partial(_default, server), url)


def _default(server: Node, found: re.Match[str]) -> str:
    variable = server.get("variables", found[1])
    return (variable.text("default") if variable else None) or found[0]


def _path(url: str) -> str:
    path = _ADDRESS.sub("", re.split(r"[?#]", url)[0])
    return "/".join(["", *(part for part in path.split("/") if part not in ("", "."))])


def _below(base: str, path: str) -> str:
    return f"{base}/{path.lstrip('/')}"


def _tails(base: str) -> Iterator[str]:
    parts = base.strip("/").split("/")
    for start in range(1, len(parts)):
        yield "/".join(parts[start:])
