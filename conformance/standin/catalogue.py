"""What the stand-in has on its disk: the description of models, and the default set of them.

The module has descriptions only. The table knows which models are loaded, and how.
"""

from pathlib import Path
from typing import Literal

import msgspec

MIB = 1024 * 1024

Fragments = Literal["whole", "tokens"]
"""How the arguments of a tool call are streamed: in one fragment, or token by token."""


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantisation of a model: `name` as after the ``@``, `quantization` as in the lists."""

    name: str
    quantization: str
    bits: float
    size_bytes: int


class Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model thinks: the options it offers, which one holds unasked, and the field's name."""

    options: tuple[str, ...]
    default: str
    field: str = "reasoning_content"


class Loaded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instance that is there from the start. Without `ttl_s` it counts as loaded by hand."""

    id: str | None = None
    context_length: int | None = None
    variant: str | None = None
    ttl_s: int | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A downloaded model.

    `vision`, `tools` and `reasoning` say what it does; `stated` whether the lists say so.
    The first variant is the selected one. `fault` is set for the models that act out a fault.
    """

    key: str
    type: Literal["llm", "embedding", "decision"] = "llm"
    publisher: str
    display_name: str
    architecture: str
    params: str | None = None
    format: Literal["gguf", "mlx"] = "gguf"
    max_context_length: int = 32768
    default_context_length: int = 4096
    variants: tuple[Variant, ...]
    vision: bool = False
    tools: bool = False
    reasoning: Reasoning | None = None
    stated: bool = True
    fragments: Fragments = "whole"
    dimension: int | None = None
    loaded: tuple[Loaded, ...] = ()
    fault: str | None = None

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError(f"model {self.key!r} has no variants: state at least one")

    def find_variant(self, name: str) -> Variant | None:
        """Return the variant of that name in any letter case, or None."""
        return next((v for v in self.variants if v.name.casefold() == name.casefold()), None)

    @property
    def identifiers(self) -> list[str]:
        """The names under which lists show it: with several variants each has its own."""
        if len(self.variants) == 1:
            return [self.key]
        return [*(f"{self.key}@{variant.name}" for variant in self.variants), self.key]


def q4(size_mib: int) -> Variant:
    """Return the usual four-bit variant of that size."""
    return Variant(name="q4_k_m", quantization="Q4_K_M", bits=4, size_bytes=size_mib * MIB + 421)


PLAIN = Model(
    key="tiny-plain-1b-instruct",
    publisher="harbor",
    display_name="Tiny Plain 1B Instruct",
    architecture="llama",
    params="1B",
    max_context_length=8192,
    variants=(q4(770),),
    loaded=(Loaded(),),
)
EMBEDDING = Model(
    key="text-embedding-tiny-v1",
    type="embedding",
    publisher="harbor",
    display_name="Tiny Embed v1",
    architecture="nomic-bert",
    max_context_length=2048,
    default_context_length=2048,
    variants=(q4(80),),
    loaded=(Loaded(),),
)
GRADED = Model(
    key="harbor/lantern-8b",
    publisher="harbor",
    display_name="Lantern 8B",
    architecture="qwen3_5",
    params="8B",
    format="mlx",
    max_context_length=131072,
    default_context_length=32768,
    variants=(Variant(name="4bit", quantization="4bit", bits=4, size_bytes=4700 * MIB + 77),),
    vision=True,
    tools=True,
    reasoning=Reasoning(options=("off", "low", "medium", "high", "on"), default="medium"),
)
SWITCHED = Model(
    key="meadow/thicket-4b",
    publisher="meadow",
    display_name="Thicket 4B",
    architecture="gemma4",
    params="4B",
    max_context_length=65536,
    default_context_length=8192,
    variants=(q4(2550),),
    tools=True,
    reasoning=Reasoning(options=("off", "on"), default="on"),
)
TWO_VARIANTS = Model(
    key="orchard/pebble-7b",
    publisher="orchard",
    display_name="Pebble 7B",
    architecture="qwen2",
    params="7B",
    max_context_length=32768,
    variants=(
        q4(4460),
        Variant(name="q8_0", quantization="Q8_0", bits=8, size_bytes=7720 * MIB + 9),
    ),
    tools=True,
    fragments="tokens",
)
SILENT = Model(
    key="quiet-fjord-3b",
    publisher="fjord",
    display_name="Quiet Fjord 3B",
    architecture="granite",
    params="3B",
    variants=(q4(1900),),
    tools=True,
    stated=False,
)

DEFAULT: tuple[Model, ...] = (PLAIN, EMBEDDING, GRADED, SWITCHED, TWO_VARIANTS, SILENT)


def read_catalogue(path: Path) -> tuple[Model, ...]:
    """Read a catalogue: a JSON list of models with the fields of `Model`.

    Raises ValueError that names the file and the place for anything else.
    """
    try:
        models = msgspec.json.decode(path.read_bytes(), type=tuple[Model, ...])
    except msgspec.DecodeError as error:
        raise ValueError(
            f"{path}: no catalogue, a JSON list of models is expected: {error}"
        ) from error
    return check(models, str(path))


def check(models: tuple[Model, ...], origin: str = "the catalogue") -> tuple[Model, ...]:
    """Return the models, or raise ValueError when two of them have one key."""
    seen: set[str] = set()
    for model in models:
        if model.key.casefold() in seen:
            raise ValueError(f"{origin}: the key {model.key!r} stands there twice")
        seen.add(model.key.casefold())
    return models


def downloaded_model(key: str, size_bytes: int) -> Model:
    """Return the description of a model that a finished download put on the disk."""
    publisher, _, name = key.rpartition("/")
    return Model(
        key=key,
        publisher=publisher or "unknown",
        display_name=name.replace("-", " ").title(),
        architecture="llama",
        variants=(Variant(name="q4_k_m", quantization="Q4_K_M", bits=4, size_bytes=size_bytes),),
        tools=True,
    )


def fault_model(fault: str, embedding: bool = False) -> Model:
    """Return the model that acts out a fault, named `fault-ID` or `text-embedding-fault-ID`."""
    return Model(
        key=f"text-embedding-fault-{fault}" if embedding else f"fault-{fault}",
        type="embedding" if embedding else "llm",
        publisher="faults",
        display_name=f"Fault {fault}",
        architecture="llama",
        params="1B",
        max_context_length=131072,
        default_context_length=131072,
        variants=(q4(1),),
        vision=not embedding,
        tools=not embedding,
        fault=fault,
    )
