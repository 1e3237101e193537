"""
Estimates from a model's name, for values that the host does not state.

Listings show estimates. No estimate ever refuses a request.
"""

from __future__ import annotations

import re

_SIZE = re.compile(
    r"(?<![a-z0-9.])(?:(\d{1,3})x)?e?(\d{1,5}(?:\.\d{1,4})?)\s*([bm])(?![a-z0-9])", re.IGNORECASE
)
_QUANTIZATION = re.compile(
    r"(?<![a-z0-9])(iq\d_[a-z]+|q\d_k(?:_[sml])?|q\d_\d|bf16|f16|fp16|f32|mxfp4|nvfp4|int[48]|[348]bit)(?![a-z0-9])",
    re.IGNORECASE,
)
_ARCHITECTURES = (
    ("qwen3", "qwen3"), ("qwen2", "qwen2"), ("qwen", "qwen2"), ("gpt-oss", "gptoss"),
    ("deepseek", "deepseek2"), ("gemma-4", "gemma4"), ("gemma-3-", "gemma3"),
    ("gemma-3n", "gemma3n"), ("gemma3", "gemma3"), ("gemma", "gemma2"), ("qwq", "qwen2"),
    ("codellama", "llama"), ("llama", "llama"), ("mixtral", "llama"), ("devstral", "mistral"),
    ("codestral", "mistral"), ("magistral", "mistral"), ("ministral", "mistral"),
    ("mistral", "mistral"), ("phi", "phi3"),
    ("granite", "granite"), ("starcoder", "starcoder2"), ("command", "command-r"), ("glm", "glm4"),
    ("nomic", "nomic-bert"), ("bge", "bert"), ("minilm", "bert"), ("mxbai", "bert"),
)  # fmt: skip
_EMBEDDING = re.compile(r"embed|(?<![a-z])(bge|gte|e5|minilm|mxbai)(?![a-z])", re.IGNORECASE)
_THINKING = re.compile(
    r"qwen3|deepseek-?r1|gpt-oss|qwq|magistral|reason|think|glm-?4\.[5-9]|(?<![a-z0-9])r1(?![a-z0-9])"
    r"|nemotron-?(?:3|nano)",
    re.IGNORECASE,
)
_TOOLS = re.compile(
    r"qwen[23]|llama-?3\.[1-9]|mistral|ministral|devstral|gpt-oss|granite|command-r|hermes|glm-?4|tool",
    re.IGNORECASE,
)
_VISION = re.compile(
    r"vision|llava|(?<![a-z])vl(?![a-z])|pixtral|gemma-?[34](?!\d)|moondream|minicpm-v",
    re.IGNORECASE,
)
_BITS = {"f32": 32.0, "f16": 16.0, "fp16": 16.0, "bf16": 16.0}


def parameter_size(name: str) -> str:
    """
    Return the size that a name states, in Ollama's style, or "".

    >>> parameter_size("coder-7b-instruct"), parameter_size("mixture-8x7b"), parameter_size("phi")
    ('7B', '8x7B', '')
    """
    found = _SIZE.search(name)
    if found is None:
        return ""
    experts = f"{found[1]}x" if found[1] else ""
    return f"{experts}{found[2]}{found[3].upper()}"


def parameter_count(size: str) -> int | None:
    """
    Return the number for a size such as 8B or 8x7B, None if the text is not a size.

    >>> parameter_count("1.5B"), parameter_count("8x7B"), parameter_count("?")
    (1500000000, 56000000000, None)
    """
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        return None
    scale = 1_000_000_000 if found[3] in "bB" else 1_000_000
    return round(float(found[2]) * scale) * int(found[1] or 1)


def quantization(name: str) -> str:
    """
    Return the quantisation that a name states, in upper case as GGUF files have it, or "".

    >>> quantization("tiny-1b@q4_k_m"), quantization("tiny-1b-mlx-4bit")
    ('Q4_K_M', '4BIT')
    """
    found = _QUANTIZATION.search(name)
    return found[1].upper() if found else ""


def architecture(name: str) -> str:
    """Return the family that a name suggests, or ""."""
    lowered = name.lower()
    return next((family for word, family in _ARCHITECTURES if word in lowered), "")


def size_bytes(parameters: int | None, quantization_name: str) -> int:
    """
    Return the approximate size of a model's file in bytes; 0 if nothing is known.

    >>> size_bytes(8_000_000_000, "Q4_K_M")
    4500000000
    """
    if not parameters:
        return 0
    lowered = quantization_name.lower()
    bits = _BITS.get(lowered)
    if bits is None:
        digit = re.search(r"\d", lowered)
        bits = float(digit[0]) + 0.5 if digit else 4.5
    return round(parameters * bits / 8)


def is_embedding(name: str) -> bool:
    """
    Return whether a name suggests an embedding model; LM Studio prefixes their names
    (docs/facts/lmstudio.md#embedding-names).
    """
    return bool(_EMBEDDING.search(name))


def thinks(name: str) -> bool:
    """Return whether a name suggests a model that reasons."""
    return bool(_THINKING.search(name))


def uses_tools(name: str) -> bool:
    """Return whether a name suggests a model that calls tools."""
    return bool(_TOOLS.search(name))


def sees(name: str) -> bool:
    """Return whether a name suggests a model that accepts images."""
    return bool(_VISION.search(name))
