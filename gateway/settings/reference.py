"""
What the user reads of the settings: the table, the default file and the JSON Schema.

All three are made from `schema` and its tables, whose fields have a docstring each.
`python -m gateway.settings` writes them.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from typing import Any, NamedTuple

import msgspec

from .hints import TABLES_OF_PORTS, expectation
from .live import RELOADED
from .paths import (
    BORROWED,
    HINTS,
    HOST_HINTS,
    HOSTS,
    KEY_HINTS,
    KEYS,
    MAPS,
    MORE,
    OF_ANY_HOST,
    OF_ANY_KEY,
    OF_UPSTREAM,
    SECTION_NAMES,
    SECTIONS,
    TABLES,
)
from .schema import SECRETS, HostSettings, KeySettings, PortSettings, Settings
from .written import as_value, describe

WIDTH = 98
"""Characters of a comment's line in the default file."""

_OBVIOUS = ("text", "a list of texts", "true or false", TABLES_OF_PORTS)
"""Values that the default shows, or that need no word."""
_OF_HOSTS = (
    "NAME is your own, and only the file can have it. A host has every key of `[upstream]`, whose "
    "values hold where its own table has none, and these ([several hosts](fleet.md#several-hosts)):"
)
_OF_KEYS = (
    "NAME is your own, and only the file can have it. A reload changes these ([keys](keys.md)):"
)
_MARKED = re.compile(r"(<!-- settings -->\n).*?(<!-- end of the settings -->)", re.DOTALL)
_CITED = re.compile(r" \(docs/(facts/[a-z]+\.md#[a-z0-9-]+)\)")


_EXAMPLES = {HOSTS: ['# url = "http://…"'], KEYS: ['# secret_file = "/run/secrets/…"']}
"""What a table of one's own needs at least."""


class Setting(NamedTuple):
    """What is said of one setting. `default` is as a file states it, None if there is none."""

    path: str
    meaning: str
    accepts: str
    default: object
    variables: tuple[str, ...]


def explained_settings() -> tuple[Setting, ...]:
    """Return every setting except those of the free-form sections, in the order of the schema."""
    meanings = _docstrings()
    defaults = describe(Settings())
    return tuple(
        Setting(
            path=path,
            meaning=_meaning_of(path, meanings),
            accepts=expectation(hint, path),
            default=() if path == "listen.keys" else None if path in SECRETS else defaults[path],
            variables=tuple(name for name, paths in BORROWED.items() if path in paths),
        )
        for path, hint in HINTS.items()
    )


def explained_host_settings() -> tuple[Setting, ...]:
    """Return the settings that a host has beyond those of `[upstream]`."""
    meanings, plain = _docstrings(), HostSettings()
    return tuple(
        Setting(
            path=path,
            meaning=meanings[HostSettings.__name__, key],
            accepts=expectation(hint, path),
            default=getattr(plain, key),
            variables=(),
        )
        for path, hint in HOST_HINTS.items()
        if (key := path.removeprefix(OF_ANY_HOST)) not in OF_UPSTREAM
    )


def explained_key_settings() -> tuple[Setting, ...]:
    """Return the settings of an access key."""
    meanings, plain = _docstrings(), KeySettings()
    return tuple(
        Setting(
            path=path,
            meaning=meanings[KeySettings.__name__, path.removeprefix(OF_ANY_KEY)],
            accepts=expectation(hint, path),
            default=getattr(plain, path.removeprefix(OF_ANY_KEY)),
            variables=(),
        )
        for path, hint in KEY_HINTS.items()
    )


def explained_sections() -> dict[str, str]:
    """Return what each section is about, in the order of the schema."""
    meanings = _docstrings()
    return {
        name: inspect.cleandoc(SECTIONS[name].__doc__ or "").partition("\n\n")[0]
        if name in SECTIONS
        else meanings[Settings.__name__, name]
        for name in SECTION_NAMES
    }


def with_table(page: str) -> str:
    """Return a page whose marked passage holds the tables of all settings."""
    parts: list[str] = []
    for section, meaning in explained_sections().items():
        shown = f"{section}.NAME" if section in TABLES else section
        parts.append(f"### `[{shown}]`\n\n{_linked(meaning)}\n")
        rows = [each for each in explained_settings() if each.path.startswith(f"{section}.")]
        if section in MAPS:
            parts.append("The keys are your own, and only the file can have them.\n")
            continue
        if section == HOSTS:
            parts.append(f"{_OF_HOSTS}\n")
            rows = list(explained_host_settings())
        if section == KEYS:
            parts.append(f"{_OF_KEYS}\n")
            rows = list(explained_key_settings())
        parts.append("| key | default | meaning |\n|---|---|---|")
        parts += [_row(each) for each in rows]
        parts.append("")
    table = "\n".join(parts)
    return _MARKED.sub(lambda match: f"{match[1]}\n{table}\n{match[2]}", page)


def default_file() -> str:
    """Return a settings file in which every setting is a comment with its default."""
    lines = [
        "# The settings of olgate, each with its default.",
        "# Remove the # in front of a key to change it. `olgate config` shows what is in force.",
    ]
    for section, about in explained_sections().items():
        if section in TABLES:
            # With a space: an example, which is not to be uncommented as it is.
            lines += ["", *_comment(about), f"# [{section}.NAME]", *_EXAMPLES[section]]
            own = explained_host_settings() if section == HOSTS else explained_key_settings()
            for each in own:
                key = each.path.rpartition(".")[2]
                if each.default is not None:
                    lines += ["", *_comment(each.meaning), f"# {key} = {as_value(each.default)}"]
            continue
        lines += ["", *_comment(about), f"[{section}]"]
        for each in explained_settings():
            if each.path.startswith(f"{section}."):
                key = each.path.partition(".")[2]
                is_set = each.default is not None
                stated = as_value(each.default) if is_set else f"...  # not set: {each.accepts}"
                lines += ["", *_comment(each.meaning), f"#{key} = {stated}"]
        if section in MAPS:
            lines += ['#"name" = "model"']
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema of the settings file, for editors."""
    found: dict[str, dict[str, Any]] = {
        name: {
            "type": "object",
            "description": _plain(meaning),
            "properties": {},
            "additionalProperties": {"type": "string", "minLength": 1} if name in MAPS else False,
        }
        for name, meaning in explained_sections().items()
    }
    for each in explained_settings():
        section, _, key = each.path.partition(".")
        entry = {"description": _plain(each.meaning), **_schema_of(each.path)}
        if each.default is not None:
            entry["default"] = each.default
        found[section]["properties"][key] = entry
    found[HOSTS]["additionalProperties"] = _schema_of_host(found["upstream"]["properties"])
    found[KEYS]["additionalProperties"] = {
        "type": "object",
        "properties": {
            each.path.removeprefix(OF_ANY_KEY): {
                "description": _plain(each.meaning),
                **_schema_of(each.path),
                **({} if each.default is None else {"default": each.default}),
            }
            for each in explained_key_settings()
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The settings file of olgate",
        "type": "object",
        "properties": found,
        "additionalProperties": False,
    }


def _schema_of_host(upstream: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one host's table; no default, since `[upstream]` may have another."""
    own = {
        each.path.removeprefix(OF_ANY_HOST): {
            "description": _plain(each.meaning),
            **_schema_of(each.path),
            "default": each.default,
        }
        for each in explained_host_settings()
    }
    taken = {
        key: {name: value for name, value in entry.items() if name != "default"}
        for key, entry in upstream.items()
    }
    return {
        "type": "object",
        "properties": {**taken, **own},
        "required": ["url"],
        "additionalProperties": False,
    }


def _schema_of(path: str) -> dict[str, Any]:
    if path == "models.keep_alive":
        return {"type": ["string", "integer"]}
    if path == MORE:
        return {"type": "array", "items": _schema_of_port()}
    made = msgspec.json.schema((HINTS | HOST_HINTS | KEY_HINTS)[path])
    # A file cannot say null: a setting that is not set is left out.
    arms = [arm for arm in made.pop("anyOf", [made]) if arm != {"type": "null"}]
    (arm,) = arms
    if "pattern" in arm:
        # Python's end of a text; a JSON Schema has the regular expressions of JavaScript.
        arm["pattern"] = arm["pattern"].replace(r"\Z", "$")
    return {name: value for name, value in arm.items() if name != "default"}


def _schema_of_port() -> dict[str, Any]:
    _, parts = msgspec.json.schema_components([PortSettings])
    made: dict[str, Any] = parts[PortSettings.__name__]
    meanings = _docstrings()
    for key, entry in made["properties"].items():
        entry["description"] = meanings[PortSettings.__name__, key]
        arms = [arm for arm in entry.pop("anyOf", []) if arm != {"type": "null"}]
        for arm in arms:
            entry |= arm
        if entry.get("default", ...) is None:
            del entry["default"]
    return {name: value for name, value in made.items() if name != "title"}


def _meaning_of(path: str, meanings: dict[tuple[str, str], str]) -> str:
    section, _, key = path.partition(".")
    try:
        return meanings[SECTIONS[section].__name__, key]
    except KeyError:
        raise LookupError(f"{path} has no docstring in gateway/settings/tables") from None


def _docstrings() -> dict[tuple[str, str], str]:
    """Return the docstring below each field of the schema, by its class and its name."""
    found: dict[tuple[str, str], str] = {}
    kinds = (Settings, HostSettings, KeySettings, *SECTIONS.values())
    modules = {kind.__module__ for kind in kinds}
    for node in (node for name in modules for node in _tree_of(name).body):
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, node.body[1:], strict=False):
                match field, after:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str() as text)),
                    ):
                        found[node.name, name] = " ".join(text.split())
    return found


def _tree_of(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _row(each: Setting) -> str:
    default = "" if each.default is None else f"`{as_value(each.default)}`"
    meaning = _linked(each.meaning)
    if each.accepts not in _OBVIOUS:
        meaning += f" {each.accepts[0].upper()}{each.accepts[1:]}."
    if each.path in RELOADED:
        meaning += " A reload changes it."
    if each.variables:
        meaning += f" Also set by {' or '.join(f'`{name}`' for name in each.variables)}."
    return f"| `{each.path}` | {default} | {meaning} |"


def _linked(text: str) -> str:
    return _CITED.sub(r" ([source](\1))", text)


def _plain(text: str) -> str:
    return _CITED.sub("", text)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        _plain(text), WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
