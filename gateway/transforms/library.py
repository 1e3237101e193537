"""
Checks of names and files in requests about the model library.

These are pure checks of texts. The catalogue knows which models exist.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from msgspec import UNSET, UnsetType

from gateway.names import grammar
from gateway.types import ollama

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


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


def is_legal_name(model: str | UnsetType | None) -> bool:
    """
    Return whether a text is a name by Ollama's grammar (docs/facts/ollama.md#name-grammar).

    >>> is_legal_name("qwen3:8b"), is_legal_name(""), is_legal_name("a/b/c/d")
    (True, False, False)
    """
    return isinstance(model, str) and grammar.parse(grammar.without_local(model)) is not None


def is_some_legal_name(model: str | UnsetType | None, name: str | UnsetType | None) -> bool:
    """
    Return whether a request names a model by either key, in Ollama's grammar
    (docs/facts/ollama.md#name-keys).

    >>> is_some_legal_name("", "qwen3"), is_some_legal_name("  ", "qwen3")
    (True, False)
    """
    return is_legal_name(grammar.stated(model, name))


def illegal_name_problem(
    model: str | UnsetType | None, name: str | UnsetType | None
) -> str | UnsetType:
    """
    Return Ollama's text for a name that is none, absent when it is one
    (docs/facts/ollama.md#name-errors).

    >>> illegal_name_problem("a b", UNSET)
    'name "a b" is invalid'
    """
    text = grammar.stated(model, name)
    is_legal = grammar.parse(grammar.without_local(text.strip())) is not None
    return UNSET if is_legal else f'name "{text}" is invalid'


def files_problem(files: dict[str, str | None] | UnsetType | None) -> str | UnsetType:
    """
    Return Ollama's text for the first file that can't be meant, absent when all can.

    (docs/facts/ollama.md#create-errors)

    >>> files_problem({"../a.gguf": "sha256:0"}), files_problem({"a.gguf": ""})
    ('file path must be relative', 'invalid digest format')
    """
    if isinstance(files, UnsetType) or files is None:
        return UNSET
    for path, digest in files.items():
        if _leaves_its_folder(path):
            return "file path must be relative"
        if not digest:
            return "invalid digest format"
    return UNSET


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


def _leaves_its_folder(path: str) -> bool:
    """Return whether a file's path is absolute or leads upwards, by the rules of any system."""
    pure = PureWindowsPath(path)
    return bool(PurePosixPath(path).is_absolute() or pure.anchor or ".." in pure.parts)
