"""Decision models: checks of a request, and its pictures in LM Studio's form."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType

from ..wire.go_json import unreadable_number
from ._media import media_type, without_line_ends
from ._raw import decoded

_TEXT_BYTES: Final = 64 * 1024
_WHOLE_BYTES: Final = 32 * 1024 * 1024
_MOST_QUESTIONS: Final = 64
_CANDIDATES: Final = (2, 26)
_KINDS: Final = ("choice", "noul", "score")


def huge_number_problem(value: Raw) -> str | UnsetType:
    """
    Return Ollama's text for a value that holds a number beyond a double, absent for any other.

    (docs/facts/ollama.md#huge-numbers)

    >>> huge_number_problem(Raw(b"[1e400]"))
    'json: cannot unmarshal number 1e400 into Go value of type float64'
    """
    return unreadable_number(value) or UNSET


def decision_problem(state: Raw | UnsetType, questions: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for questions or a state that a decision model can't be asked.

    (docs/facts/ollama.md#systemone)

    >>> decision_problem(Raw(b'""'), Raw(b'{"a":{"type":"noul"}}'))
    'state must not be empty'
    >>> decision_problem(Raw(b'"x"'), Raw(b'{"a":{"type":"noul"}}'))
    UNSET
    """
    asked = decoded(questions)
    if not isinstance(asked, dict) or not 1 <= len(asked) <= _MOST_QUESTIONS:
        return "questions must contain 1–64 fields"  # noqa: RUF001 - Ollama's own dash
    told = decoded(state)
    if told is None or (isinstance(told, str) and not told.strip()) or told in ([], {}):
        return "state must not be empty"
    if not isinstance(told, str | list | dict):
        return "state: must be a string, object, or array"
    for name, question in asked.items():
        if (problem := _question_problem(question)) is not None:
            return f'question "{name}": {problem}'
    return UNSET


def _question_problem(question: Any) -> str | None:
    kind = question.get("type") if isinstance(question, dict) else None
    if kind not in _KINDS:
        return "type must be choice, noul, or score"
    criteria = question.get("criteria")
    if kind == "noul":
        return None
    least, most = _CANDIDATES
    if not isinstance(criteria, list | dict) or not least <= len(criteria) <= most:
        return "criteria must contain 2–26 candidates"  # noqa: RUF001 - Ollama's own dash
    return None


def fits_decision(
    state: Raw | UnsetType, questions: Raw | UnsetType, images: list[str] | UnsetType | None
) -> bool:
    """
    Whether text and questions have at most 64 KiB, and all of it at most 32 MiB.

    (docs/facts/ollama.md#systemone)

    >>> fits_decision(Raw(b'"x"'), Raw(b"{}"), UNSET)
    True
    """
    texts = sum(len(bytes(raw)) for raw in (state, questions) if not isinstance(raw, UnsetType))
    pictures = 0 if isinstance(images, UnsetType) or images is None else sum(map(len, images))
    return texts <= _TEXT_BYTES and texts + pictures <= _WHOLE_BYTES


def decision_images_problem(images: list[str] | UnsetType | None, sees: str) -> str | UnsetType:
    """
    Return Ollama's text for pictures that the model can't see or that are addresses.

    `sees` is whether it sees: yes, no, or unknown. (docs/facts/ollama.md#systemone)

    >>> decision_images_problem(["QUFB"], "no")
    'image inputs are not supported by this decision model'
    >>> decision_images_problem([], "no")
    UNSET
    """
    if isinstance(images, UnsetType) or not images:
        return UNSET
    if sees == "no":
        return "image inputs are not supported by this decision model"
    if any(":" in image[:64] for image in images):
        return "images must be base64-encoded; URLs and data URLs are not supported"
    return UNSET


def decision_images(images: list[str] | UnsetType | None) -> list[str] | UnsetType:
    """
    Return pictures as data URLs, which LM Studio wants; UNSET for none.

    >>> decision_images([]), decision_images(["iVBORw0KGgo="])
    (UNSET, ['data:image/png;base64,iVBORw0KGgo='])
    """
    if isinstance(images, UnsetType) or not images:
        return UNSET
    return [f"data:{media_type(image)};base64,{without_line_ends(image)}" for image in images]


def answers_by_name(answers: Raw | UnsetType) -> Raw:
    """
    Return the answers of a decision model as they came, an empty object for none.

    >>> bytes(answers_by_name(UNSET))
    b'{}'
    """
    return Raw(b"{}") if isinstance(answers, UnsetType) else answers
