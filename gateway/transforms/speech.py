"""
Text of an answer sorted into thinking and content, chunk by chunk.

The hot path of the gateway: every token of every stream goes through here.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from gateway._generated import internal


def separate_speech(
    speech: internal.Speech | UnsetType,
    reasoning_content: str | UnsetType | None,
    reasoning: str | UnsetType | None,
    content: str | UnsetType | None,
    policy: str,
) -> internal.Speech:
    """
    Return what a chunk has to say now: `thinking` and `content`, "" for nothing.

    The accumulator is used again and changed. Blanks at the start of either kind, and at the end of
    the thinking, are dropped; blanks at the end of a piece of thinking wait in `held` for the next
    one. Under the policy "field" thinking stays apart, under "drop" it is lost, under "merge" it
    goes into the content between `<think>` and `</think>`; if nothing follows the thinking there,
    the closing mark is never written. `deltas` counts what the model wrote, blanks included.
    (parity notes §1.4)

    >>> speech = separate_speech(UNSET, "\\n", UNSET, UNSET, "field")
    >>> speech.thinking
    ''
    >>> separate_speech(speech, "Hm. ", UNSET, UNSET, "field").thinking
    'Hm.'
    >>> separate_speech(speech, UNSET, UNSET, "\\n\\nYes", "field").content
    'Yes'
    """
    if speech is UNSET:
        speech = internal.Speech(thinking="", content="", held="", phase="start", deltas=0)
    # Reading a field is far cheaper than writing it: what is right already is left alone.
    thought = reasoning_content or reasoning
    if thought:
        _say_thinking(speech, thought, policy)
    elif speech.thinking:
        speech.thinking = ""
    if content:
        speech.deltas += 1
        if speech.phase != "content" or speech.held:
            content = _begin_content(speech, content, policy)
        speech.content = speech.content + content if thought else content
    elif speech.content and not thought:
        speech.content = ""
    return speech


def text_or_absent(text: str) -> str | UnsetType:
    """
    Return a text, absent when it is empty: Ollama leaves such fields out.

    (ollama sheet §4.3)

    >>> text_or_absent(""), text_or_absent("x")
    (UNSET, 'x')
    """
    return text or UNSET


def _say_thinking(speech: internal.Speech, thought: str, policy: str) -> None:
    """Set what is to be sent of a piece of thinking, in the field where the policy wants it."""
    speech.deltas += 1
    text = speech.held + thought if speech.held else thought
    opening = ""
    if speech.phase != "thinking":
        # Thinking again, after content, keeps its first blanks: only marks make a new beginning.
        text = text.lstrip() if speech.phase == "start" else text
        if text.strip():
            opening = "<think>"
            if speech.phase == "start" or policy == "merge":
                speech.phase = "thinking"
    said = text.rstrip()
    if len(said) != len(text):
        speech.held = text[len(said) :]
    elif speech.held:
        speech.held = ""
    if policy == "field":
        speech.thinking = said
        said = ""
    elif policy == "merge":
        said = opening + said
    else:
        said = ""
    if speech.content != said:
        speech.content = said


def _begin_content(speech: internal.Speech, content: str, policy: str) -> str:
    """Return what is to be sent of content that follows thinking, or is the first."""
    if speech.phase == "content":
        if not content.isspace():
            speech.held = ""
        return content
    content = content.lstrip()
    if not content:
        return ""
    closing = "</think>\n\n" if policy == "merge" and speech.phase == "thinking" else ""
    speech.phase = "content"
    speech.held = ""
    return closing + content
