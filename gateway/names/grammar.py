"""
Ollama's grammar of model names: host, namespace, model and tag.

These are pure functions over the text of a name. The catalogue knows which models and aliases
exist, and chooses between several that match. Callers trim a name before they pass it.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

__all__ = [
    "Name",
    "differ_in_case",
    "filled",
    "is_lookup_name",
    "parse",
    "split_place",
    "stated",
    "without_local",
]

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

MAX_HOST: Final = 350
MAX_PART: Final = 80
_MAX_REMEMBERED: Final = 1000

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class Name:
    """A legal Ollama model name, its defaults filled in. (docs/facts/ollama.md#names)"""

    host: str
    namespace: str
    model: str
    tag: str
    display: str = field(init=False)
    """
    The shortest form, always with the tag: "llama3:latest". (docs/facts/ollama.md#name-display)
    """
    full: str = field(init=False)
    """Every part: "registry.ollama.ai/library/llama3:latest"."""
    folded: str = field(init=False)
    """Equal for two names exactly if Ollama's lookup treats them as the same name."""

    def __post_init__(self) -> None:
        """Make its forms: a name that is remembered is asked for them again and again."""
        display = f"{self.model}:{self.tag}"
        full = f"{self.host}/{self.namespace}/{display}"
        # With a host other than the default, even the default namespace is shown.
        if self.host.lower() != DEFAULT_HOST:
            display = full
        elif self.namespace.lower() != DEFAULT_NAMESPACE:
            display = f"{self.namespace}/{display}"
        # The way to set a member of what is frozen.
        object.__setattr__(self, "display", display)
        object.__setattr__(self, "full", full)
        object.__setattr__(self, "folded", full.lower())


def parse(text: str) -> Name | None:
    """Read `[scheme://][host/][namespace/]model[:tag]`; None when it is illegal.

    (docs/facts/ollama.md#name-grammar)
    """
    # A request's name is parsed several times. A text that is not a name can be long, and is not
    # cached.
    return _remembered(text) if len(text) <= _MAX_REMEMBERED else _read(text)


def _read(text: str) -> Name | None:
    rest, tag = text, DEFAULT_TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, _, tag = rest.rpartition(":")
        if not rest:
            return None
    above, slash, model = rest.rpartition("/")
    if slash and not above:
        return None
    host, slash, namespace = above.rpartition("/")
    if slash and not (host and namespace):
        return None
    _, scheme_end, after_scheme = host.partition("://")
    if scheme_end:
        host = after_scheme
    host, namespace = host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE
    is_legal = (
        _HOST.fullmatch(host)
        and _NAMESPACE.fullmatch(namespace)
        and _MODEL.fullmatch(model)
        and _MODEL.fullmatch(tag)
    )
    return Name(host, namespace, model, tag) if is_legal else None


def filled(text: str) -> str:
    """
    Return a name with its defaults filled in, legal or not, as Ollama quotes an illegal one
    (docs/facts/ollama.md#push).

    >>> filled("a b"), filled("/m:")
    ('registry.ollama.ai/library/a b:latest', 'registry.ollama.ai/!MISSING!/m:!MISSING!')
    """
    rest, tag = text, DEFAULT_TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, _, tag = rest.rpartition(":")
    above, slash, model = rest.rpartition("/")
    host, second, namespace = above.rpartition("/")
    parts = (
        host or (_MISSING if second else DEFAULT_HOST),
        namespace or (_MISSING if slash else DEFAULT_NAMESPACE),
        f"{model or _MISSING}:{tag or _MISSING}",
    )
    return "/".join(parts)


_MISSING: Final = "!MISSING!"
_remembered = lru_cache(maxsize=1024)(_read)

Place = Literal["cloud", "local"]


def split_place(text: str) -> tuple[str, Place | None]:
    """Split a name into the name proper and its place; raises `ValueError` if it has both places.

    "x:cloud" is "x" on ollama.com and "x:20b-cloud" is "x:20b" there; "x:local" is "x" here. Only
    the text after the last colon counts, in any letter case. (docs/facts/ollama.md#name-places)
    """
    if ":" not in text:
        return text, None
    base, place = _split_last_place(text)
    if place is not None and _split_last_place(base)[1] is not None:
        raise ValueError(f"use either :local or :cloud, not both: {text!r}")
    return base, place


def _split_last_place(text: str) -> tuple[str, Place | None]:
    base, colon, last = text.rpartition(":")
    word = last.strip().lower()
    if not colon or "/" in word:
        return text, None
    if word == "cloud" or word == "local":
        return base, "cloud" if word == "cloud" else "local"
    if word.endswith("-cloud"):
        return f"{base}:{last.strip()[: -len('-cloud')]}", "cloud"
    return text, None


def is_lookup_name(text: object) -> bool:
    """
    Tell whether a text is the name of a model that may be here, by Ollama's grammar; it may say
    so with `:local` (docs/facts/ollama.md#name-places).

    >>> is_lookup_name(" qwen3:local "), is_lookup_name("qwen3:cloud"), is_lookup_name("a b")
    (True, False, False)
    """
    try:
        base, place = split_place(text.strip() if isinstance(text, str) else "")
    except ValueError:
        return False
    return place != "cloud" and parse(base) is not None


def without_local(text: str) -> str:
    """Remove ":local" from a name; ollama.com's names stay, like any other name.

    Aliases are stored under the name proper. (docs/facts/ollama.md#name-places)
    """
    try:
        base, place = split_place(text.strip())
    except ValueError:
        return text
    return base if place == "local" else text


def differ_in_case(one: str, other: str) -> bool:
    """
    Return whether two texts are the same model's name except for letter case.
    (docs/facts/ollama.md#name-matching)
    """
    left, right = parse(one), parse(other)
    if left is None or right is None:
        return False
    return left.folded == right.folded and left.full != right.full


def stated(model: object, name: object) -> str:
    """Return the name in a request with two keys for it: `model` unless it is empty.

    Blanks are not empty. (docs/facts/ollama.md#name-keys)
    """
    if isinstance(model, str) and model:
        return model
    return name if isinstance(name, str) else ""


# From a key to its name.


# From a name to its key.


# Suffixes of LM Studio's ids.


# Hints for the log.
