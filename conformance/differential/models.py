"""
The models of a real Ollama: as its counterparts in the stand-in, but with weights of nothing.

Each file has metadata, three words and one tensor of zeros; a scripted engine never reads it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import msgspec
import numpy as np

from conformance.standin.catalogue import DEFAULT, Model

PLAIN_TEMPLATE = "{{ messages[0].content }}"
TOOL_TEMPLATE = "{% if tools %}{{ tools }}{% endif %}"
THINK_TEMPLATE = "{% if enable_thinking %}<think>\n{% endif %}{{ '</think>' }}"
WIDTH = 32
FILE_TYPES = {"Q4_K_M": 15, "Q8_0": 7}
CONTEXT = 4096
"""Tokens for which a model is loaded unasked."""
PARAMETERS = str(2 * 3 * WIDTH)
"""What Ollama counts in two tensors."""


def catalogue() -> tuple[Model, ...]:
    """Return the stand-in's models with what is the same in all files here."""
    return tuple(
        msgspec.structs.replace(
            model,
            architecture=architecture_of(model),
            params=PARAMETERS,
            format="gguf",
            variants=tuple(
                msgspec.structs.replace(one, quantization=known_quantization(one.quantization))
                for one in model.variants
            ),
            default_context_length=min(CONTEXT, model.max_context_length),
        )
        for model in DEFAULT
    )


def known_quantization(quantization: str) -> str:
    """Return a quantization that a GGUF file can state."""
    return quantization if quantization in FILE_TYPES else "Q4_K_M"


def architecture_of(model: Model) -> str:
    """Return the architecture of a file: one for which Ollama does nothing special."""
    return "nomic-bert" if model.type == "embedding" else "llama"


@dataclass(frozen=True)
class Made:
    """A model to make: its name in Ollama, and which of the stand-in's it is a counterpart of."""

    name: str
    model: Model
    quantization: str


def counterparts() -> Iterator[Made]:
    """Yield what stands for each of the stand-in's models, and for each of their variants."""
    for model in catalogue():
        yield Made(model.key, model, model.variants[0].quantization)
        if len(model.variants) > 1:
            for variant in model.variants:
                yield Made(f"{model.key}:{variant.name}", model, variant.quantization)


def write_model(path: Path, made: Made) -> None:
    """Write the file of a model."""
    model = made.model
    architecture = architecture_of(model)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(model.display_name)
    writer.add_file_type(FILE_TYPES[made.quantization])
    if model.params is not None:
        writer.add_string("general.size_label", model.params)
    writer.add_context_length(model.max_context_length)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_token_list(["<unk>", "a", "b"])
    writer.add_token_scores([0.0, 0.0, 0.0])
    writer.add_tokenizer_model("llama")
    if model.type == "embedding":
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    else:
        writer.add_chat_template(template_of(model))
    if model.vision:
        writer.add_uint32(f"{architecture}.vision.block_count", 1)
    writer.add_tensor("token_embd.weight", np.zeros((3, WIDTH), np.float32))
    writer.add_tensor("output.weight", np.zeros((3, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def template_of(model: Model) -> str:
    """Return a chat template from which Ollama reads the model's capabilities."""
    parts = [PLAIN_TEMPLATE]
    if model.tools and model.stated:
        parts.append(TOOL_TEMPLATE)
    if model.reasoning is not None:
        parts.append(THINK_TEMPLATE)
    return "".join(parts)
