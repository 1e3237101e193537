"""
Checks of names and files in requests about the model library.

These are pure checks of texts. The catalogue knows which models exist.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import UNSET, UnsetType

from ..names import grammar
from ..types import ollama
from ..wire.go_text import go_type, quote

_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_INVALID: Final = "invalid model name"
_MOST_FILES: Final = 1024
_LICENCE: Final = "license must be a string or a list of strings"
_ONLY_SAFETENSORS: Final = "is only supported for safetensors imports;"
_TOOLS: Final = "with llama.cpp tools before importing"
_QUANTIZATIONS: Final = ("int4", "int8", "nvfp4", "mxfp4", "mxfp8")
_SUPPORTED: Final = f"supported types are {', '.join(_QUANTIZATIONS)}"
_INFO_TEXTS: Final = ("model_family", "base_name", "quantization_level", "parameter_size")
_INFO_LENGTHS: Final = ("context_length", "embedding_length")
_LARGEST: Final = float(2**63 - 1)


def is_digest(digest: str) -> bool:
    """
    Return whether a text is a digest as in Ollama's paths (docs/facts/ollama.md#blobs).

    >>> is_digest("sha256:" + "0" * 64), is_digest("sha256:abc")
    (True, False)
    """
    return _DIGEST.fullmatch(digest) is not None


def is_some_name(model: str | UnsetType | None, name: str | UnsetType | None) -> bool:
    """
    Return whether a request names a model by either key, ignoring blanks
    (docs/facts/ollama.md#name-keys).

    >>> is_some_name("", "qwen3"), is_some_name("  ", "qwen3")
    (True, False)
    """
    return bool(grammar.stated(model, name).strip())


def is_name_given(model: str | UnsetType | None, name: str | UnsetType | None) -> bool:
    """
    Tell whether a request has any text as a name, blanks too (docs/facts/ollama.md#push).

    >>> is_name_given("", UNSET), is_name_given(" ", UNSET)
    (False, True)
    """
    return bool(grammar.stated(model, name))


def is_legal_name(model: str | UnsetType | None) -> bool:
    """
    Tell whether a text is a name by Ollama's grammar, blanks and all
    (docs/facts/ollama.md#name-grammar).

    >>> is_legal_name("qwen3:8b"), is_legal_name(" "), is_legal_name("a/b/c/d")
    (True, False, False)
    """
    return isinstance(model, str) and grammar.parse(model) is not None


def is_some_legal_name(model: str | UnsetType | None, name: str | UnsetType | None) -> bool:
    """
    Return whether a request names a model by either key, in Ollama's grammar
    (docs/facts/ollama.md#name-keys).

    >>> is_some_legal_name("", "qwen3"), is_some_legal_name("  ", "qwen3")
    (True, False)
    """
    return is_legal_name(grammar.stated(model, name))


def is_same_name(source: str | UnsetType | None, destination: str | UnsetType | None) -> bool:
    """
    Tell whether two names are one, letter case counted: then there is nothing to copy
    (docs/facts/ollama.md#copy).

    >>> is_same_name("a", "library/a:latest"), is_same_name("a", "A")
    (True, False)
    """
    one, other = grammar.parse(source or ""), grammar.parse(destination or "")
    return one is not None and one == other


def pull_name_problem(
    model: str | UnsetType | None, name: str | UnsetType | None
) -> str | UnsetType:
    """
    Return Ollama's text for a name that can't be pulled, absent when it can
    (docs/facts/ollama.md#name-errors, docs/facts/ollama.md#name-places).

    >>> pull_name_problem("x:cloud:local", UNSET)
    'use either :local or :cloud, not both: "x:cloud:local"'
    """
    return _place_problem(grammar.stated(model, name), _INVALID)


def illegal_name_problem(
    model: str | UnsetType | None, name: str | UnsetType | None
) -> str | UnsetType:
    """
    Return Ollama's text for deleting a name that is not legal, absent for a legal one
    (docs/facts/ollama.md#name-errors, docs/facts/ollama.md#name-places).

    >>> illegal_name_problem("a b", UNSET)
    'name "a b" is invalid'
    """
    text = grammar.stated(model, name)
    return _place_problem(text, f"name {quote(text)} is invalid")


def source_name_problem(source: str | UnsetType | None) -> str | UnsetType:
    """
    Return Ollama's text for a `from` that is not a legal name, absent for a legal or missing one
    (docs/facts/ollama.md#create-errors).

    >>> source_name_problem("x:cloud:local"), source_name_problem("x:local")
    ('invalid model name', UNSET)
    """
    if not source:
        return UNSET
    problem = _place_problem(source, _INVALID)
    return problem if isinstance(problem, UnsetType) else _INVALID


def _place_problem(text: str, illegal: str) -> str | UnsetType:
    text = text.strip()
    try:
        base, place = grammar.split_place(text)
    except ValueError:
        return f"use either :local or :cloud, not both: {quote(text)}"
    if place == "cloud":
        # It is looked up under the older spelling, which needs a legal rest.
        base = base or "/"
    return UNSET if grammar.parse(base) is not None else illegal


def files_problem(files: dict[str, str | None] | UnsetType | None) -> str | UnsetType:
    """
    Return Ollama's text for the first file that can't be meant, absent when all can.

    (docs/facts/ollama.md#create-errors)

    >>> files_problem({"../a.gguf": "sha256:0"}), files_problem({"a.gguf": ""})
    ('file path must be relative: ../a.gguf', 'invalid digest format')
    >>> files_problem({"a.gguf": "x"})
    'invalid digest for a.gguf: invalid digest format'
    """
    if isinstance(files, UnsetType) or files is None:
        return UNSET
    if len(files) > _MOST_FILES:
        return f"too many files: {len(files)} exceeds maximum {_MOST_FILES}"
    for path, digest in files.items():
        if not _stays_in_its_folder(path):
            return f"file path must be relative: {path}"
        if not digest:
            return "invalid digest format"
        if not is_digest(digest):
            return f"invalid digest for {path}: invalid digest format"
    return UNSET


def file_types_problem(files: dict[str, str | None] | UnsetType | None) -> str | UnsetType:
    """
    Return Ollama's text for files of two kinds of weights, absent when they are of one
    (docs/facts/ollama.md#create-errors).

    >>> file_types_problem({"b.gguf": "", "a.safetensors": ""})
    'mixed model file types: found both safetensors and gguf inputs'
    """
    kinds = _kinds_of(files)
    return (
        f"mixed model file types: found both {kinds[0]} and {kinds[1]} inputs"
        if len(kinds) > 1
        else UNSET
    )


def quantize_problem(
    quantize: str | UnsetType | None,
    older: str | UnsetType | None,
    draft: str | UnsetType | None,
    source: str | UnsetType | None,
    files: dict[str, str | None] | UnsetType | None,
) -> str | UnsetType:
    """
    Return Ollama's text for a quantization that it refuses, absent for one that it could do.

    `older` is the older key for `quantize`, `draft` that of a draft model.
    (docs/facts/ollama.md#create-errors)

    >>> quantize_problem("Q4_K_M", UNSET, UNSET, UNSET, {"a.safetensors": "x"})
    'unsupported quantize type "Q4_K_M": supported types are int4, int8, nvfp4, mxfp4, mxfp8'
    """
    wanted = quantize or older
    kinds = _kinds_of(files)
    if kinds == ["gguf"] or (not kinds and source):
        if wanted:
            return f"create-time quantization {_ONLY_SAFETENSORS} quantize GGUF models {_TOOLS}"
        if draft:
            return (
                f"draft quantization during create {_ONLY_SAFETENSORS} "
                f"quantize GGUF draft models {_TOOLS}"
            )
        return UNSET
    if wanted and wanted.lower() not in _QUANTIZATIONS:
        return f"unsupported quantize type {quote(wanted)}: {_SUPPORTED}"
    if draft and draft.lower() not in _QUANTIZATIONS:
        return f"unsupported draft quantize type {quote(draft)}: {_SUPPORTED}"
    return UNSET


def licence_problem(license: Any) -> str | UnsetType:
    """
    Return Ollama's text for a licence that is neither a text nor texts, absent when it is
    (docs/facts/ollama.md#create-errors).

    >>> licence_problem(1), licence_problem(["MIT", None])[45:]
    ('license must be a string or a list of strings: got float64', ': element 1 is <nil>')
    """
    if license is None or isinstance(license, str | UnsetType):
        return UNSET
    if not isinstance(license, list):
        return f"{_LICENCE}: got {go_type(license)}"
    for place, text in enumerate(license):
        if not isinstance(text, str):
            return f"{_LICENCE}: element {place} is {go_type(text)}"
    return UNSET


def info_problem(info: dict[str, Any] | UnsetType | None) -> str | UnsetType:
    """
    Return Ollama's text for the first value in `info` that it can't read, absent if it can read
    all; null fits no type (docs/facts/ollama.md#create-info).

    >>> info_problem({"context_length": -1})
    'info field "context_length" must be a non-negative integer'
    >>> info_problem({"capabilities": ["tools", 1]})
    'info field "capabilities" element 1 must be a string'
    """
    info = info or {}
    if "capabilities" in info:
        listed = info["capabilities"]
        if not isinstance(listed, list):
            return 'info field "capabilities" must be an array of strings'
        for place, word in enumerate(listed):
            if not isinstance(word, str):
                return f'info field "capabilities" element {place} must be a string'
    for name in _INFO_TEXTS:
        if name in info and not isinstance(info[name], str):
            return f'info field "{name}" must be a string'
    for name in _INFO_LENGTHS:
        if name not in info:
            continue
        value = info[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f'info field "{name}" must be a number'
        if value < 0 or value != int(value) or value > _LARGEST:
            return f'info field "{name}" must be a non-negative integer'
    return UNSET


def holds_any(files: dict[str, str | None] | UnsetType | None) -> bool:
    """
    Tell whether there is any file in a map of files.

    >>> holds_any({"a": "sha256:0"}), holds_any({}), holds_any(None)
    (True, False, False)
    """
    return bool(files)


def draft_problem(
    quantize: str | UnsetType | None, files: dict[str, str | None] | UnsetType | None
) -> str | UnsetType:
    """
    Return Ollama's text for a draft model's quantization without a draft model
    (docs/facts/ollama.md#create-errors).

    >>> draft_problem("Q4_0", UNSET)
    '--draft-quantize requires a DRAFT model'
    """
    return "--draft-quantize requires a DRAFT model" if quantize and not files else UNSET


def source_problem(
    source: str | UnsetType | None, files: dict[str, str | None] | UnsetType | None
) -> str | UnsetType:
    """
    Return Ollama's text where nothing is stated to make a model of, absent otherwise.

    (docs/facts/ollama.md#create-errors)

    >>> source_problem("", UNSET)
    "neither 'from' or 'files' was specified"
    >>> source_problem(UNSET, {})
    'unknown type'
    """
    if source:
        return UNSET
    if isinstance(files, UnsetType) or files is None:
        return "neither 'from' or 'files' was specified"
    return UNSET if files else "unknown type"


def template_problem(template: str | UnsetType | None) -> str | UnsetType:
    """
    Return Go's text for a template with an action that does not end, absent for any other.

    (docs/facts/ollama.md#create-errors)

    >>> template_problem("{{ .Prompt"), template_problem("{{ .Prompt }}")
    ('template error: template: :1: unclosed action', UNSET)
    """
    text = template or ""
    opened = text.rfind("{{")
    if opened < 0 or text.find("}}", opened) >= 0:
        return UNSET
    line = text.count("\n", 0, opened) + 1
    return f"template error: template: :{line}: unclosed action"


def stored_messages_problem(messages: list[ollama.Message] | UnsetType | None) -> str | UnsetType:
    """
    Return why turns cannot be stored in a derived model, absent if they can: only text is stored.

    >>> stored_messages_problem([ollama.Message(role="user", images=["aGk="])])
    'messages of a derived model have a role and text; leave out images and tool calls'
    """
    for message in messages or ():
        if message.images or message.tool_calls:
            return (
                "messages of a derived model have a role and text; leave out images and tool calls"
            )
    return UNSET


def _kinds_of(files: dict[str, str | None] | UnsetType | None) -> list[str]:
    """The kinds of weights that files are of, by their names, each once."""
    found: dict[str, None] = {}
    for path in sorted(files or ()):
        for kind in ("safetensors", "gguf"):
            if path.endswith(f".{kind}"):
                found[kind] = None
    return list(found)


def _stays_in_its_folder(path: str) -> bool:
    """Whether a file's path is relative, clean, and free of what another system reads in it."""
    parts = path.split("/")
    return not {"", ".", ".."} & {*parts} and not {"\\", ":"} & {*path}
