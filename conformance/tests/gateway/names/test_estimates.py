"""What names suggest, where hosts say nothing; and digests, which change with what is known."""

import re
from typing import Any

import msgspec
import pytest

from conformance.standin.catalogue import DEFAULT, GRADED, Model, Variant, q4
from conformance.tests.gateway.support import COLD, LOADED, VARIED, Pair, open_pair
from gateway.names import estimates
from gateway.names.estimates import (
    architecture,
    is_embedding,
    parameter_count,
    parameter_size,
    quantization,
    sees,
    size_bytes,
    thinks,
    uses_tools,
)

SIZES = {
    "qwen2.5-coder-7b-instruct": "7B",
    "qwen/qwen3-30b-a3b": "30B",
    "mixtral-8x7b-instruct-v0.1": "8x7B",
    "google/gemma-3n-e4b": "4B",
    "openai/gpt-oss-120b": "120B",
    "tinyllama-1.1b-chat-v1.0": "1.1B",
    "smolvlm-500m-instruct": "500M",
    "embeddinggemma-300m": "300M",
    "7b-first": "7B",
    "Model-70B": "70B",
    "model_3b": "3B",
    "phi-4": "",
    "mistralai/devstral-small-2507": "",
    "all-minilm-l6-v2": "",
    "b7b": "",
    "70binary": "",
    "": "",
}
QUANTIZATIONS = {
    "tiny-1b@q4_k_m": "Q4_K_M",
    "tiny-1b@q8_0": "Q8_0",
    "tiny-1b-q6_k": "Q6_K",
    "tiny-1b-iq4_xs": "IQ4_XS",
    "tiny-mlx-4bit": "4BIT",
    "tiny-mlx-8bit": "8BIT",
    "tiny-bf16": "BF16",
    "tiny-fp16": "FP16",
    "gpt-oss-20b-mxfp4": "MXFP4",
    "4bit": "4BIT",
    "q4_k_m": "Q4_K_M",
    "tiny-1b": "",
    "q4": "",
    "64bit": "",
    "": "",
}
FAMILIES = {
    "qwen/qwen3-8b": "qwen3",
    "deepseek/deepseek-r1-0528-qwen3-8b": "qwen3",
    "qwen2.5-coder-7b-instruct": "qwen2",
    "deepseek-r1-distill-qwen-7b": "qwen2",
    "qwq-32b": "qwen2",
    "openai/gpt-oss-20b": "gptoss",
    "deepseek-coder-v2-lite": "deepseek2",
    "google/gemma-3-27b-it": "gemma3",
    "google/gemma-3n-e4b": "gemma3n",
    "google/gemma-4-e4b": "gemma4",
    "gemma-2-2b-it": "gemma2",
    "embeddinggemma-300m": "gemma2",
    "meta-llama-3.1-8b-instruct": "llama",
    "codellama-7b-instruct": "llama",
    "mixtral-8x7b-instruct-v0.1": "llama",
    "ministral-3b": "mistral",
    "mistralai/magistral-small-2509": "mistral",
    "microsoft/phi-4": "phi3",
    "IBM/Granite-4-H-Tiny": "granite",
    "text-embedding-nomic-embed-text-v1.5": "nomic-bert",
    "text-embedding-bge-small-en-v1.5": "bert",
    "never-heard-of": "",
    "": "",
}
EMBEDDERS = {
    "text-embedding-nomic-embed-text-v1.5": True,
    "jina-embeddings-v2": True,
    "all-minilm-l6-v2": True,
    "bge-m3": True,
    "gte-large": True,
    "e5-mistral-7b-instruct": True,
    "mxbai-large": True,
    "EmbeddingGemma-300m": True,
    "qwen/qwen3-8b": False,
    "vintage-7b": False,
    "re5earch": False,
}
THINKERS = {
    "qwen/qwen3-8b": True,
    "deepseek-r1-distill-qwen-7b": True,
    "openai/gpt-oss-20b": True,
    "qwq-32b": True,
    "mistralai/magistral-small-2509": True,
    "microsoft/phi-4-mini-reasoning": True,
    "zai-org/glm-4.7-flash": True,
    "zai-org/glm-4-32b": False,
    "qwen2.5-coder-7b-instruct": False,
    "meta-llama-3.1-8b-instruct": False,
    "whisper1": False,
}
TOOL_USERS = {
    "qwen/qwen3-8b": True,
    "qwen2.5-7b-instruct": True,
    "meta-llama-3.1-8b-instruct": True,
    "mistral-7b-instruct-v0.3": True,
    "mistralai/devstral-small-2507": True,
    "openai/gpt-oss-20b": True,
    "ibm/granite-4-h-tiny": True,
    "c4ai-command-r-08-2024": True,
    "llama-2-7b": False,
    "gemma-2-2b-it": False,
    "phi-4": False,
}
SEERS = {
    "qwen/qwen2.5-vl-7b": True,
    "llava-v1.5-7b": True,
    "pixtral-12b": True,
    "google/gemma-3-27b-it": True,
    "google/gemma-4-e4b": True,
    "llama-3.2-11b-vision": True,
    "qwen/qwen3-8b": False,
    "gemma-2-2b-it": False,
    "embeddinggemma-300m": False,
    "gemma-300m": False,
    "devlish": False,
}
COUNTS = {
    "7B": 7_000_000_000,
    "8x7B": 56_000_000_000,
    "1.5B": 1_500_000_000,
    "350M": 350_000_000,
    "e4b": 4_000_000_000,
    " 7b ": 7_000_000_000,
    "": None,
    "?": None,
    "70": None,
    "B": None,
    "seven": None,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_size_is_what_the_name_states(name: str, size: str) -> None:
    """Experts and fractions included, versions and dates left out."""
    assert size == parameter_size(name)


@pytest.mark.parametrize(("size", "count"), COUNTS.items())
def test_a_size_is_a_number(size: str, count: int | None) -> None:
    """Or none, for what is no size; this also reads what hosts state."""
    assert count == parameter_count(size)


@pytest.mark.parametrize(("name", "expected"), QUANTIZATIONS.items())
def test_a_quantisation_is_what_the_name_states(name: str, expected: str) -> None:
    """In capitals, as in the files."""
    assert expected == quantization(name)


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_a_family_is_what_the_name_suggests(name: str, family: str) -> None:
    """The more telling word first, in any letter case."""
    assert family == architecture(name)


@pytest.mark.parametrize(
    ("ask", "table"),
    [(is_embedding, EMBEDDERS), (thinks, THINKERS), (uses_tools, TOOL_USERS), (sees, SEERS)],
    ids=["embeds", "thinks", "uses tools", "sees"],
)
def test_a_capability_is_what_the_name_suggests(ask: Any, table: dict[str, bool]) -> None:
    """Words count, not letters within other words."""
    assert table == {name: ask(name) for name in table}


@pytest.mark.parametrize(
    ("count", "quantised", "expected"),
    [
        (8_000_000_000, "Q4_K_M", 4_500_000_000),
        (8_000_000_000, "4bit", 4_500_000_000),
        (8_000_000_000, "F16", 16_000_000_000),
        (1_000_000_000, "BF16", 2_000_000_000),
        (1_000_000_000, "F32", 4_000_000_000),
        (1_000_000_000, "Q8_0", 1_062_500_000),
        (1_000_000_000, "", 562_500_000),
        (0, "Q4_K_M", 0),
        (None, "Q4_K_M", 0),
    ],
)
def test_a_file_is_as_large_as_its_parameters(
    count: int | None, quantised: str, expected: int
) -> None:
    """Zero when nothing is known; a client shows that better than nonsense."""
    assert expected == size_bytes(count, quantised)


def test_no_name_is_too_odd() -> None:
    """Whatever a host lists, an estimate never fails."""
    for name in ("\N{SNOWMAN}", "b" * 10_000, "0b", "9" * 5000 + "b", "1" * 500 + "x7b", "x\0y\n"):
        for ask in (architecture, is_embedding, quantization, sees, thinks, uses_tools):
            ask(name)
        assert isinstance(size_bytes(parameter_count(parameter_size(name)), ""), int)
    assert estimates.parameter_size("0b") == "0B"


# -- as they are shown -----------------------------------------------------------------------------


async def listed(models: tuple[Model, ...] = DEFAULT, **host: Any) -> dict[str, dict[str, Any]]:
    """Return what tags lists for a fresh gateway, by name."""
    async with open_pair(models=models, **host) as pair:
        return {one["name"]: one for one in (await pair.get("/api/tags"))["models"]}


def model(key: str, **more: Any) -> Model:
    """Return a model of that key."""
    settings = {"publisher": "p", "display_name": key, "architecture": "llama", **more}
    return Model(key=key, **{"variants": (q4(1),), **settings})


async def test_a_host_that_says_nothing_is_estimated() -> None:
    """Any other server of the dialect lists ids only."""
    key = "qwen/qwen2.5-vl-7b-instruct-q4_k_m"
    (shown,) = (await listed((model(key),), host_version="openai")).values()
    details = shown["details"]
    assert ("qwen2", ["qwen2"], "7B", "Q4_K_M") == (
        details["family"],
        details["families"],
        details["parameter_size"],
        details["quantization_level"],
    )
    assert 3_937_500_000 == shown["size"]
    assert ["completion", "vision", "tools"] == shown["capabilities"]


async def test_an_estimate_never_refuses() -> None:
    """On such a host anything may be asked of any model."""
    async with open_pair(models=(model("plain-thing-1b"),), host_version="openai") as pair:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        body = {
            "model": "plain-thing-1b",
            "messages": [{"role": "user", "content": "Why?"}],
            "tools": [tool],
            "think": True,
            "stream": False,
        }
        answer = await pair.post("/api/chat", body)
        assert 200 == answer.status_code, answer.text


async def test_an_embedder_is_shown_as_nothing_else() -> None:
    """Its name may hold that of a model with more talents."""
    keys = ("text-embedding-e5-mistral-7b", "text-embedding-qwen3-8b", "embeddinggemma-300m")
    for version in ("0.4", "0.3", "openai"):
        models = tuple(model(key, type="embedding") for key in keys)
        shown = await listed(models, host_version=version)
        assert [["embedding"]] * 3 == [one["capabilities"] for one in shown.values()]


async def test_what_the_host_states_goes_first() -> None:
    """A name is believed only where the host is silent."""
    stated = model("qwen3-vl-tools-70b", architecture="granite", params="3B", reasoning=None)
    (shown,) = (await listed((stated,))).values()
    assert ("granite", "3B") == (
        shown["details"]["family"],
        shown["details"]["parameter_size"],
    )
    assert {"vision", "tools"}.isdisjoint(shown["capabilities"])


async def test_a_variant_that_is_not_selected_has_its_own_size(pair: Pair) -> None:
    """What the host states is of the selected one; the other's is estimated, never copied."""
    shown = {one["name"]: one for one in (await pair.get("/api/tags"))["models"]}
    latest, four, eight = (shown[f"{VARIED}:{tag}"] for tag in ("latest", "q4_k_m", "q8_0"))
    assert latest["size"] == four["size"]
    assert four["size"] < eight["size"]
    assert ["Q4_K_M", "Q4_K_M", "Q8_0"] == [
        one["details"]["quantization_level"] for one in (latest, four, eight)
    ]


async def test_tags_ps_and_show_tell_the_same(pair: Pair) -> None:
    """Size, digest and details of one model are one, wherever they stand."""
    (tag,) = (one for one in (await pair.get("/api/tags"))["models"] if LOADED in one["name"])
    running = (await pair.running())[tag["name"]]
    show = (await pair.post("/api/show", {"model": LOADED})).json()
    assert (tag["digest"], tag["size"]) == (running["digest"], running["size"])
    details = dict(tag["details"])
    del details["context_length"]
    assert details == running["details"] == show["details"]
    assert tag["capabilities"] == show["capabilities"]


# -- digests ---------------------------------------------------------------------------------------


async def test_digests_are_the_same_after_a_restart() -> None:
    """Clients keep what they know of a model under its digest."""
    first, second = await listed(), await listed()
    assert {name: one["digest"] for name, one in first.items()} == {
        name: one["digest"] for name, one in second.items()
    }


async def test_digests_are_distinct() -> None:
    """64 hex digits, and no two models share them."""
    shown = await listed()
    digests = [one["digest"] for one in shown.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(digests) == len(set(digests))


@pytest.mark.parametrize(
    "change",
    [
        {"tools": False},
        {"vision": False},
        {"reasoning": None},
        {"architecture": "another"},
        {"params": "9B"},
        {"variants": (Variant(name="8bit", quantization="8bit", bits=8, size_bytes=1),)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_digest_changes_with_what_a_model_can_do(change: dict[str, Any]) -> None:
    """A client that kept the old capabilities must notice."""
    name = f"{COLD}:latest"
    before = (await listed((GRADED,)))[name]["digest"]
    after = (await listed((msgspec.structs.replace(GRADED, **change),)))[name]["digest"]
    assert before != after


async def test_a_digest_does_not_change_with_what_is_loaded(pair: Pair) -> None:
    """Loading a model makes no other model of it."""
    before = {one["name"]: one["digest"] for one in (await pair.get("/api/tags"))["models"]}
    await pair.post("/api/generate", {"model": COLD, "options": {"num_ctx": 5000}})
    after = {one["name"]: one["digest"] for one in (await pair.get("/api/tags"))["models"]}
    assert before == after
