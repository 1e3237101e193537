"""
The names of fields that a vendor's page in Markdown mentions, endpoint by endpoint.

Read are tables with a column of names, lists whose points begin with a name in backticks, parameter
lists in YAML, and examples in JSON, those in a `curl` command included. They belong to the endpoint
that was named last as `POST /path`: in a heading, on a line of its own or at the head of a code
block; a heading of the same or a higher level ends that. Prose is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Side: TypeAlias = Literal["request", "answer", "parameter", ""]

_ENDPOINT = re.compile(
    r"\b(GET|POST|PUT|PATCH|DELETE|HEAD)\s+(?:https?://[^\s/`]+)?(/[^\s`*)\"'?]*)"
)
_ENDPOINT_LINE = re.compile(rf"[`*_\s]*{_ENDPOINT.pattern}[^\s]*[`*_\s]*")
_HEADING = re.compile(r"(#{1,6})\s+(.+)")
_BOLD = re.compile(r"\*\*([^*]+)\*\*:?")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*(\S*)")
_POINT = re.compile(r"\s*[-*+]\s+`([A-Za-z_$][\w$.\[\]-]*)`\s*(?:$|[:(\u2013\u2014-])")
_NAME = re.compile(r"[`*_\\\s]*([A-Za-z_$][\w$.\[\]-]*)")
_SEPARATOR = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CURL_BODY = re.compile(r"(?:-d|--data(?:-raw|-binary)?|--json)[\s=]+'((?:[^']|'\\'')*)'")
_CURL_URL = re.compile(r"https?://[^\s/'\"]+(/[^\s'\"?\\]*)")
_NAME_COLUMNS = ("name", "field", "parameter", "property", "key", "attribute", "option", "argument")
_ASKED = re.compile(r"request|parameter|body|argument|input", re.IGNORECASE)
_ANSWERED = re.compile(r"response|answer|output|return|result|event", re.IGNORECASE)
_IN_URL = re.compile(r"(?:path|query|header|url) parameter", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A name, or an example with all its names; `line` counts from one."""

    method: str
    path: str
    side: Side
    line: int
    name: str = ""
    example: object = None


@dataclass
class Page:
    """What a page mentions; `skipped` holds lines with what could not be read there, and why."""

    endpoints: dict[tuple[str, str], int] = field(default_factory=dict)
    """The line on which each was named first, by method in small letters and path."""
    mentions: list[Mention] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)


def read_page(text: str) -> Page:
    """Return what a page mentions of endpoints and their fields."""
    reader = _Reader()
    reader.read(text.splitlines())
    return reader.page


@dataclass
class _Reader:
    page: Page = field(default_factory=Page)
    endpoint: tuple[str, str] | None = None
    endpoint_level: int = 0
    side: Side = ""
    side_level: int = 0
    level: int = 0
    column: int | None = None
    """Where names stand in the table that is being read."""

    def read(self, lines: list[str]) -> None:
        at = 0
        while at < len(lines):
            fence = _FENCE.match(lines[at])
            if fence is not None and len(fence[1]) == 3:
                end = next(
                    (n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[1]),
                    len(lines),
                )
                self._block(at + 1, fence[2], lines[at + 1 : end])
                at = end
            elif fence is None:
                # A longer fence holds shorter ones, and is a frame around parts of the page.
                self._line(at + 1, lines[at], lines[at + 1] if at + 1 < len(lines) else "")
            at += 1

    def _line(self, number: int, line: str, following: str) -> None:
        heading, bold = _HEADING.fullmatch(line.strip()), _BOLD.fullmatch(line.strip())
        if heading is not None:
            self._title(number, heading[2], len(heading[1]))
        elif bold is not None:
            self._title(number, bold[1], 7)
        elif (found := _ENDPOINT_LINE.fullmatch(line)) is not None:
            self._begin(number, found, self.level)
        elif "|" in line and self.endpoint is not None:
            self._row(number, line, following)
        else:
            self.column = None
            point = _POINT.match(line)
            if point is not None and self.endpoint is not None and self.side:
                self._name(number, point[1])

    def _title(self, number: int, text: str, level: int) -> None:
        self.column = None
        found = _ENDPOINT.search(text)
        if level <= 6:
            self.level = level
            if level <= self.endpoint_level:
                self.endpoint = None
        if found is not None:
            self._begin(number, found, min(level, self.level or level))
            return
        asked, answered = _ASKED.search(text), _ANSWERED.search(text)
        if _IN_URL.search(text):
            self.side, self.side_level = "parameter", level
        elif bool(asked) != bool(answered):
            self.side, self.side_level = ("request" if asked else "answer"), level
        elif level <= self.side_level or asked:
            self.side, self.side_level = "", level

    def _begin(self, number: int, found: re.Match[str], level: int) -> None:
        path = re.sub(r"<([^>]*)>|:([A-Za-z_]+)", r"{\1\2}", found[2])
        self.endpoint, self.endpoint_level = (found[1].lower(), path), level
        self.side, self.side_level = "", level
        self.page.endpoints.setdefault(self.endpoint, number)

    def _row(self, number: int, line: str, following: str) -> None:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if _SEPARATOR.fullmatch(following.strip()) and "|" in following:
            names = [cell.strip("`* ").lower() for cell in cells]
            self.column = next((names.index(one) for one in _NAME_COLUMNS if one in names), None)
        elif self.column is not None and not _SEPARATOR.fullmatch(line.strip()):
            cell = cells[self.column] if self.column < len(cells) else ""
            found = _NAME.match(cell)
            if found is not None:
                self._name(number, found[1])
            elif cell:
                self.page.skipped.append((number, "a row of a table without a name"))

    def _block(self, number: int, language: str, lines: list[str]) -> None:
        first = _ENDPOINT_LINE.fullmatch(lines[0]) if lines else None
        if first is not None:
            self._begin(number + 1, first, self.level)
            lines = lines[1:]
        if self.endpoint is not None:
            self._code(number, language, "\n".join(lines), self.side)

    def _code(self, number: int, language: str, text: str, side: Side) -> None:
        head = text.lstrip()
        if "curl " in text:
            self._curl(number, text)
        elif head.startswith(("{", "[", "data:")) and language in ("", "json", "jsonc", "json5"):
            self._examples(number, text, side)
        elif head.startswith(("- name:", "title:")):
            try:
                content = YAML(typ="safe", pure=True).load(text)
            except YAMLError:
                self.page.skipped.append((number, "a list in YAML that can't be read"))
                return
            self._listed(number, content, side)

    def _listed(self, number: int, content: object, side: Side) -> None:
        if isinstance(content, list):
            for name in _names(content, ""):
                self._name(number, name)
            return
        title = str(content.get("title", "")) if isinstance(content, dict) else ""
        variants = content.get("variants") if isinstance(content, dict) else None
        if _ANSWERED.search(title):
            side = "answer"
        elif _ASKED.search(title):
            side = "request"
        for variant in variants.values() if isinstance(variants, dict) else ():
            if isinstance(variant, dict):
                language, code = str(variant.get("language", "")), str(variant.get("code", ""))
                self._code(number, language, code, side)

    def _curl(self, number: int, text: str) -> None:
        bodies = _CURL_BODY.findall(text)
        address = _CURL_URL.search(text)
        assert self.endpoint is not None
        if not bodies or address is None or not _same_path(address[1], self.endpoint[1]):
            return
        for body in bodies:
            self._examples(number, body.replace("'\\''", "'"), "request")

    def _examples(self, number: int, text: str, side: Side) -> None:
        assert self.endpoint is not None
        try:
            values = [json.loads(text)]
        except ValueError:
            try:
                values = [json.loads(line) for line in _messages(text)]
            except ValueError:
                values = []
        if not values:
            self.page.skipped.append((number, "an example that is not JSON"))
        for value in values:
            self.page.mentions.append(Mention(*self.endpoint, side, number, example=value))

    def _name(self, number: int, name: str) -> None:
        assert self.endpoint is not None
        path = name.replace("[]", ".*").strip(".")
        self.page.mentions.append(Mention(*self.endpoint, self.side, number, path))


def _messages(text: str) -> Iterator[str]:
    """Yield what may be JSON of a stream: lines, those of server-sent events without their name."""
    for line in text.splitlines():
        content = line.removeprefix("data:").strip()
        if content and not line.startswith(("event:", ":")) and content != "[DONE]":
            yield content


def _names(entries: list[object], above: str) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            path = f"{above}.{entry['name']}" if above else entry["name"]
            yield path
            children = entry.get("children")
            yield from _names(children, path) if isinstance(children, list) else ()


def _same_path(one: str, two: str) -> bool:
    parts = one.strip("/").split("/"), two.strip("/").split("/")
    return len(parts[0]) == len(parts[1]) and all(
        a == b or b.startswith("{") for a, b in zip(*parts, strict=True)
    )
