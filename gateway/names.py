"""Model names: Ollama's grammar, and the way from LM Studio's keys to Ollama's names and back.

May live here: pure functions over the text of a name. May not live here: which models exist,
aliases, and the choice between several that match; that is the catalogue's. Trimming is the
caller's business, too.

An Ollama name forbids much that occurs in a key, so `canonical` escapes it, reversibly:

    _x2e_     the UTF-8 bytes of one or more characters that have no place there
    _x_       nothing at all (an empty part)
    _xj_      as the whole namespace: host and model are two pieces of one text
    _xh..._   at the end of a part: a digest of a text too long for any name; not reversible
"""

import difflib
import hashlib
import itertools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

__all__ = [
    "IrreversibleName",
    "Name",
    "canonical",
    "differ_in_case",
    "key_of",
    "looks_suspicious",
    "nearest",
    "parse",
    "split_instance",
    "split_place",
    "split_variant",
    "stated",
    "without_local",
]

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

_MAX_HOST: Final = 350
_MAX_PART: Final = 80
_MAX_REMEMBERED: Final = 1000

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class IrreversibleName(ValueError):
    """A name that holds only a digest of its key: the catalogue alone can tell which key it is."""


@dataclass(frozen=True, slots=True)
class Name:
    """A legal Ollama model name, its defaults filled in. (ollama sheet §2)"""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def display(self) -> str:
        """The shortest form, the tag always shown: "llama3:latest". (ollama sheet §2.2)"""
        # Next to a host that is not the default one, the namespace is shown even if it is.
        if self.host.lower() != DEFAULT_HOST:
            return self.full
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """Every part: "registry.ollama.ai/library/llama3:latest"."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def folded(self) -> str:
        """Equal for two names exactly when Ollama's lookup takes them for the same one."""
        return self.full.lower()


def parse(text: str) -> Name | None:
    """Read `[scheme://][host/][namespace/]model[:tag]`; None when it is illegal.

    (ollama sheet §2.1)
    """
    # A request's name is read several times; what is no name may be of any size, and is not kept.
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
    name = Name(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag)
    is_legal = (
        _HOST.fullmatch(name.host)
        and _NAMESPACE.fullmatch(name.namespace)
        and _MODEL.fullmatch(name.model)
        and _MODEL.fullmatch(name.tag)
    )
    return name if is_legal else None


_remembered = lru_cache(maxsize=1024)(_read)

Place = Literal["cloud", "local"]


def split_place(text: str) -> tuple[str, Place | None]:
    """Split a name into the name proper and where it says to run; raises `ValueError` for both.

    "x:cloud" is "x" on ollama.com and "x:20b-cloud" is "x:20b" there; "x:local" is "x" here. Only
    what stands behind the last colon counts, in any letter case. (ollama sheet §2.4)
    """
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


def without_local(text: str) -> str:
    """Take a ":local" off a name; ollama.com's names stay, as names like any other.

    What is kept here is kept under its name proper. (ollama sheet §2.4)
    """
    try:
        base, place = split_place(text.strip())
    except ValueError:
        return text
    return base if place == "local" else text


def differ_in_case(one: str, other: str) -> bool:
    """Whether two texts are the same model's name but for letter case. (ollama sheet §2.3)"""
    left, right = parse(one), parse(other)
    if left is None or right is None:
        return False
    return left.folded == right.folded and left.full != right.full


def stated(model: object, name: object) -> str:
    """Return the name in a request with two keys for it: `model` unless it is empty.

    Blanks are not empty. (ollama sheet §2.5)
    """
    if isinstance(model, str) and model:
        return model
    return name if isinstance(name, str) else ""


# From a key to its name.

_JOINED: Final = "_xj_"
_DIGEST_CHARS: Final = 40
_CONTENT: Final = rf"x(?:(?:[0-9a-f]{{2}})*|j|h[0-9a-f]{{{_DIGEST_CHARS}}})"
_ESCAPE: Final = re.compile(rf"_{_CONTENT}_", re.IGNORECASE)

# In a text whose escaped characters are masked by NUL: an underscore that would read as an escape
# once the character behind, an underscore or an escape itself, is written.
_AMBIGUOUS: Final = re.compile(rf"_(?={_CONTENT}[_\0])", re.IGNORECASE)

# A host may hold a colon, but a key's colon would look like a tag or a port.
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_.-]")
_ILLEGAL_IN_NAMESPACE: Final = re.compile(r"[^A-Za-z0-9_-]")


def canonical(key: str, variant: str | None = None) -> str:
    """The one Ollama name, in display form, of an LM Studio key or of one of its variants.

    "qwen/qwen3-8b" is "qwen/qwen3-8b:latest", its variant "q4_k_m" is "qwen/qwen3-8b:q4_k_m".
    Keys with up to three segments keep their shape; further slashes, and everything else that an
    Ollama name forbids, are escaped. `key_of` is the inverse. Names of keys that differ in letter
    case only may be equal but for letter case; other keys have names that differ in more.

    A key that outgrows even the longest name (about 430 characters when escaped; a variant of 80)
    gets a digest, which `key_of` refuses with `IrreversibleName`. (wire sheet §2, ollama sheet
    §2.1)
    """
    return f"{_canonical_path(key)}:{_canonical_tag(variant)}"


def _canonical_path(key: str) -> str:
    *above, model = key.rsplit("/", 2)
    if all((*above, model)):
        parts = [_escape(model)]
        if above:
            namespace = above[-1]
            # The display form leaves the default namespace and host out: they get an escape.
            is_hidden = len(above) == 1 and namespace.lower() == DEFAULT_NAMESPACE
            forced = (0,) if is_hidden else ()
            parts.insert(0, _escape(namespace, forced, _ILLEGAL_IN_NAMESPACE))
        if len(above) == 2:
            forced = (0,) if above[0].lower() == DEFAULT_HOST else ()
            parts.insert(0, _escape(above[0], forced))
        limits = (_MAX_HOST, _MAX_PART, _MAX_PART)[-len(parts) :]
        if all(len(part) <= limit for part, limit in zip(parts, limits, strict=True)):
            return "/".join(parts)
    return _pack(_escape(key), key)


def _pack(text: str, key: str) -> str:
    """An escaped text in a single part, or in two; else a digest of the key."""
    if len(text) <= _MAX_PART:
        return text
    # Rather behind an escaped character than in the middle of a word.
    breaks = {match.end() for match in _ESCAPE.finditer(text)}
    cuts = range(len(text) - _MAX_PART, min(len(text), _MAX_HOST + 1))
    for cut in sorted(cuts, key=lambda at: (at not in breaks, at)):
        host, model = text[:cut], text[cut:]
        if model[0] not in ".-" and host.lower() != DEFAULT_HOST:
            return f"{host}/{_JOINED}/{model}"
    return _digest(text, key)


def _canonical_tag(variant: str | None) -> str:
    if variant is None:
        return DEFAULT_TAG
    # What Ollama takes for the default, or for a place to run at and cuts off (ollama sheet §2.4).
    forced: tuple[int, ...] = ()
    if variant.lower() in (DEFAULT_TAG, "cloud", "local"):
        forced = (0,)
    elif variant.lower().endswith("-cloud"):
        forced = (len(variant) - len("-cloud"),)
    tag = _escape(variant, forced)
    return tag if len(tag) <= _MAX_PART else _digest(tag, variant)


def _escape(text: str, forced: Collection[int] = (), illegal: re.Pattern[str] = _ILLEGAL) -> str:
    if not text:
        return "_x_"
    escaped = {match.start() for match in illegal.finditer(text)}
    escaped.update(forced)
    if text[0] in ".-":
        escaped.add(0)
    masked = "".join("\0" if at in escaped else char for at, char in enumerate(text))
    escaped.update(match.start() for match in _AMBIGUOUS.finditer(masked))
    pieces: list[str] = []
    for is_escaped, run in itertools.groupby(enumerate(text), lambda each: each[0] in escaped):
        chars = "".join(char for _, char in run)
        pieces.append(_escape_run(chars) if is_escaped else chars)
    return "".join(pieces)


def _escape_run(run: str) -> str:
    return f"_x{run.encode(errors='surrogatepass').hex()}_"


def _digest(escaped: str, original: str) -> str:
    digest = hashlib.sha256(original.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    mark = f"_xh{digest}_"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", escaped[-(_MAX_PART - len(mark)) :]).strip("-")
    return f"{readable}{mark}"


# From a name to its key.


def key_of(name: str) -> tuple[str, str | None]:
    """The LM Studio key and variant of a canonical name: the inverse of `canonical`.

    Any legal name has an answer, whether or not such a model exists. The tag "latest" (also when
    it is left out) means no variant. Raises `IrreversibleName` for a name that holds a digest and
    `ValueError` for an illegal name.
    """
    parsed = parse(name)
    if parsed is None:
        raise ValueError(f"{name!r} is not a legal model name")
    tag = None if parsed.tag.lower() == DEFAULT_TAG else _unescape(parsed.tag)
    if parsed.namespace.lower() == _JOINED:
        return _unescape(parsed.host + parsed.model), tag
    path = parsed.display.removesuffix(f":{parsed.tag}")
    return "/".join(_unescape(part) for part in path.split("/")), tag


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_unescape_match, text)


def _unescape_match(match: re.Match[str]) -> str:
    content = match[0][2:-1].lower()
    if content.startswith("h"):
        raise IrreversibleName(f"{match.string!r} holds a digest of a longer name")
    if content == "j":
        return match[0]
    try:
        return bytes.fromhex(content).decode()
    except UnicodeDecodeError:
        return match[0]


# Suffixes of LM Studio's ids.

_VARIANT: Final = re.compile(r"(?P<key>.+)@(?P<variant>[^@/\\]+)", re.DOTALL)
_NUMBERED: Final = re.compile(r"(?P<key>.+):(?P<number>[0-9]{1,4})", re.DOTALL)


def split_variant(key: str) -> tuple[str, str | None]:
    """Split "foo@q4_k_m" into "foo" and "q4_k_m"; None when no variant is named.

    (wire sheet §2)
    """
    match = _VARIANT.fullmatch(key)
    return (match["key"], match["variant"]) if match else (key, None)


def split_instance(identifier: str) -> tuple[str, int | None]:
    """Split "foo:2" into "foo" and 2; None when it is not a second or later instance.

    LM Studio numbers the instances of one model from 2 on; the first has no number. (wire sheet §2)
    """
    match = _NUMBERED.fullmatch(identifier)
    if match is None or match["number"].startswith("0") or match["number"] == "1":
        return identifier, None
    return match["key"], int(match["number"])


# Hints for the log.

_ROOTS: Final = frozenset(
    {"data", "home", "media", "mnt", "opt", "root", "srv", "tmp", "users", "usr", "var", "volumes"}
)
_FILE_ENDINGS: Final = (".gguf", ".safetensors", ".bin")
_DRIVE: Final = re.compile(r"[A-Za-z]:(?:[/\\]|$)")


def looks_suspicious(name: str) -> str | None:
    """A sentence for the log when a name is probably not what its sender meant, else None."""
    first = name.partition("/")[0].lower()
    if (
        name.startswith(("/", "~", "."))
        or "\\" in name
        or _DRIVE.match(name)
        or ("/" in name and first in _ROOTS)
    ):
        return f"the model name {name!r} looks like a file path: use a name that /api/tags lists"
    if name.lower().endswith(_FILE_ENDINGS):
        return f"the model name {name!r} ends like a file: use a name that /api/tags lists"
    match = _NUMBERED.fullmatch(name)
    if match:
        return (
            f"the tag of the model name {name!r} is a bare number, as in LM Studio's names of "
            f"loaded instances: the model itself is {match['key']!r}"
        )
    return None


_CUTOFF: Final = 0.6
_MAX_COMPARED: Final = 512


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The up to `n` names most like a name, best first; letter case does not count."""
    if not name.strip() or len(name) > _MAX_COMPARED:
        return []
    asked = _spellings(name)
    scored = []
    for known in names:
        score = max(
            (_likeness(left, right) for left in asked for right in _spellings(known)), default=0.0
        )
        if score >= _CUTOFF:
            scored.append((-score, known))
    return [known for _, known in sorted(scored)[:n]]


def _spellings(name: str) -> set[str]:
    """The forms a name is compared in: whole, without its tag, and without what stands before."""
    whole = name.strip().lower()
    path = whole.rpartition(":")[0] if whole.rfind(":") > whole.rfind("/") else whole
    return {whole.removesuffix(f":{DEFAULT_TAG}"), path, path.rpartition("/")[2]} - {""}


def _likeness(left: str, right: str) -> float:
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if min(len(left), len(right)) >= 3 and (left.startswith(right) or right.startswith(left)):
        # "qwen3" for "qwen3-8b": a beginning says more than the share of equal characters.
        return max(matcher.ratio(), 0.8)
    # The bounds are cheap, the ratio is not.
    if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
        return 0.0
    return matcher.ratio()
