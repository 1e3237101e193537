"""The Modelfile that show makes: read as the `ollama` command reads it, it makes the same model."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from gateway.transforms import modelfile
from gateway.types import internal

NAME = "pilot:latest"


def unquoted(text: str) -> str | None:
    """Return a value without its quotes, None while they are open (ollama.md#modelfile)."""
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            is_whole = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if is_whole else None
    return text


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command with its value. A value ends with a line on which no quotes are open."""
    found: list[tuple[str, str]] = []
    word, value, state = "", "", "nothing"
    for letter in text:
        ends = letter in "\r\n"
        if state == "comment":
            state = "nothing" if ends else state
        elif state == "nothing":
            if letter == "#":
                state = "comment"
            elif not ends and letter not in " \t":
                word, state = letter, "word"
        elif state == "word":
            assert letter not in "\r\n", "a command without a value"
            if letter not in " \t":
                word += letter
            elif word in ("PARAMETER", "MESSAGE"):
                word += " "
            else:
                value, state = "", "value"
        elif ends and (whole := unquoted(value.strip())) is not None:
            found.append((word, whole))
            state = "nothing"
        elif ends or letter in " \t" or letter.isprintable():
            value += letter
    assert state != "value", "quotes that are never closed"
    return found


def made_again(text: str, kept: internal.MadeModel) -> dict[str, Any]:
    """Return what a Modelfile makes, from the model itself or from one without values."""
    read = commands(text)
    inherits = ("FROM", NAME) in read
    made: dict[str, Any] = {"system": UNSET, "template": UNSET, "requires": UNSET}
    made |= {"license": [], "messages": [], "stop": []}
    if inherits:
        made |= {name: getattr(kept, name) for name in made if name != "stop"}
        made["stop"] = kept.parameters.get("stop", [])
    messages: list[internal.MadeMessage] = []
    stops: list[str] = []
    for word, value in read:
        if word in ("SYSTEM", "TEMPLATE", "REQUIRES"):
            made[word.lower()] = value
        elif word == "LICENSE":
            made["license"] = [*dict.fromkeys([*made["license"], value])]
        elif word == "PARAMETER stop":
            stops.append(value)
        elif word.startswith("MESSAGE "):
            messages.append(internal.MadeMessage(role=word.split()[1], content=value))
    made["stop"] = stops or made["stop"]
    made["messages"] = messages or made["messages"]
    return made


LETTERS = [*'ab" \t\n\r#', "\u00e9", "\u200d", "\U0001f600"]
TEXTS = st.text(st.sampled_from(LETTERS), min_size=1)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])


@given(
    system=TEXTS,
    template=TEXTS | st.none(),
    licences=st.lists(TEXTS, max_size=2, unique=True),
    turns=st.lists(st.tuples(ROLES, TEXTS), max_size=3),
)
@example('Say """\nnow', None, [], [])
@example('"', '"""', ['""'], [("user", 'a"\nb')])
def test_a_modelfile_makes_the_model_again(
    system: str, template: str | None, licences: list[str], turns: list[tuple[str, str]]
) -> None:
    """Whatever quotes, line ends and blanks its texts have."""
    kept = internal.MadeModel(
        parent="tiny:latest",
        system=system,
        template=UNSET if template is None else template,
        license=licences,
        parameters={},
        messages=[internal.MadeMessage(role=role, content=text) for role, text in turns],
    )

    made = made_again(modelfile(NAME, UNSET, kept), kept)

    for name, value in made.items():
        if name != "stop":
            assert getattr(kept, name) == value, name
