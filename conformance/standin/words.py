"""Text that a small model might say, made from what it was asked: same question, same words.

Nothing here knows of requests or of the wire. Also token counting and embedding vectors, which
are made from text alone.
"""

import hashlib
import random
import re
from collections.abc import Sequence
from functools import lru_cache

SUBJECTS = ("The harbour", "A lantern", "The old path", "Morning fog", "The orchard", "A pebble")
VERBS = ("leads to", "hides behind", "belongs to", "grows beside", "answers", "outlasts")
OBJECTS = ("the quiet meadow", "a wooden bridge", "the second river", "an empty room", "tall reeds")
REMARKS = (
    "That much is certain.",
    "Few people notice.",
    "It is worth a second look.",
    "Nobody counts the steps.",
)
GARNISH = (
    "Some call it a naïve café rule \u2013 東京 agrees \U0001f642.",
    "In short: a < b & b < c, so a < c.",
    "Write <b>bold</b> & carry on.",
    "Übung macht den Meister \u2615.",
)
THOUGHTS = (
    "The question is about {topic}.",
    "First, what is known: very little.",
    "A short answer will do.",
    "There may be a second reading of it.",
    "That reading leads nowhere.",
    "Checking the wording once more.",
)
MARKERS = re.compile(r"<\|[^|<>]*\|>|\[/?INST\]|<<?/?SYS>?>|</?s>|<(?:fim|PRE|SUF|MID)[^<>]*>")
WORD = re.compile(r"[^\W_]{3,24}")
PIECE = re.compile(r"\s*\S{1,5}|\s+")
TOKEN = re.compile(r"\w+|[^\w\s]")


READ = 64 * 1024
"""
Characters of a text that are looked at: all of any that a person writes, and not all of megabytes,
for which everybody else would wait.
"""


def dice_for(*parts: str) -> random.Random:
    """Return dice that fall the same way for the same parts, on every machine."""
    digest = hashlib.sha256("\x1f".join(_read(part) for part in parts).encode("utf-8", "replace"))
    return random.Random(int.from_bytes(digest.digest()[:8], "big"))


def _read(text: str) -> str:
    """Return what is looked at of a text, and how long it is if that is not all."""
    return text if len(text) <= READ else f"{text[:READ]} {len(text)}"


def cut(text: str) -> list[str]:
    """Cut text into pieces as a tokenizer would; joined they are the text again."""
    return PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Count the tokens of a text: words and marks, as many in the rest as in what is looked at."""
    if len(text) > READ:
        return count_tokens(text[:READ]) * len(text) // READ
    return len(TOKEN.findall(text))


def topic_of(text: str) -> str:
    """Return the word that a text seems to be about: its longest, or "it"."""
    words = WORD.findall(MARKERS.sub(" ", text[:READ]))
    return max(words, key=len) if words else "it"


def names_in(text: str) -> list[str]:
    """Return the words of a text that look like names: those with a capital, best first."""
    words = WORD.findall(text[:READ])
    capital = [word for word in words[1:] if word[:1].isupper()]
    return capital or sorted(words, key=len, reverse=True)[:3]


def say(speaker: str, prompt: str) -> str:
    """Say some sentences about a prompt, in the speaker's name. Always of several pieces."""
    dice = dice_for(speaker, prompt)
    sentences = [f"{speaker} on {topic_of(prompt)}:"]
    for _ in range(dice.randint(2, 4)):
        sentences.append(f"{dice.choice(SUBJECTS)} {dice.choice(VERBS)} {dice.choice(OBJECTS)}.")
    sentences.append(dice.choice(REMARKS))
    if dice.random() < 0.6:
        sentences.insert(dice.randint(1, len(sentences)), dice.choice(GARNISH))
    return " ".join(sentences)


def relate(speaker: str, prompt: str, results: Sequence[tuple[str, str]]) -> str:
    """Answer in words from what tools gave back: pairs of the tool's name and its result."""
    told = " ".join(
        f"The tool {name} says: {result.strip()[:400]}.".replace("tool  says", "tool says")
        for name, result in results
    )
    dice = dice_for(speaker, prompt, told)
    return f"{speaker} on {topic_of(prompt)}: {told} {dice.choice(REMARKS)}"


def think(speaker: str, prompt: str, thoughts: int) -> str:
    """Think aloud in that many sentences; begins with a line break, as models do."""
    topic = topic_of(prompt)
    dice = dice_for(speaker, prompt, "thoughts")
    start = dice.randrange(len(THOUGHTS))
    lines = [THOUGHTS[(start + n) % len(THOUGHTS)].format(topic=topic) for n in range(thoughts)]
    return "\n" + " ".join(lines)


def carry_on(speaker: str, prompt: str) -> str:
    """Carry a raw prompt on: its last words again, then some sentences."""
    words = MARKERS.sub(" ", prompt).split()
    tail = " ".join(words[-6:])
    return f" {tail} \u2013 {say(speaker, prompt)}" if tail else f" {say(speaker, prompt)}"


@lru_cache(maxsize=20_000)
def direction(word: str, dimension: int) -> tuple[float, ...]:
    """Return the fixed direction of one word."""
    dice = dice_for("direction", word)
    return tuple(dice.uniform(-1.0, 1.0) for _ in range(dimension))


def embed(speaker: str, text: str, dimension: int, tokens: int) -> list[float]:
    """Return the vector of the first `tokens` tokens of a text. Its length is never one.

    Texts that share words have near vectors, and two models never give the same one.
    """
    words = TOKEN.findall(text)[:tokens]
    total = [value * 0.5 for value in direction(f"model {speaker}", dimension)]
    for word in words:
        for place, value in enumerate(direction(word.casefold(), dimension)):
            total[place] += value
    scale = 2.5 / max(1.0, len(words) ** 0.5)
    return [round(value * scale, 6) for value in total]
