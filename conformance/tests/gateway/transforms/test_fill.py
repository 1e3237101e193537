"""Fill-in-the-middle: only models that surely know the markers, and the markers themselves."""

import pytest
from msgspec import UNSET

from gateway.names.fill_markers import MARKERS, knows
from gateway.transforms import untemplated_prompt


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("qwen2", "qwen2.5-coder-7b-instruct"),
        ("Qwen2", "Qwen/Qwen2.5-Coder-7B"),
        ("qwen3moe", "qwen/qwen3-coder-30b"),
        ("qwen3_next", "qwen/qwen3-coder-next"),
        ("deepseek2", "deepseek-coder-v2-lite-instruct"),
        ("gemma", "codegemma-7b"),
        ("llama", "codellama-7b"),
        ("mistral", "mistralai/codestral-22b-v0.1"),
        ("starcoder2", "starcoder2-15b"),
        ("gpt_bigcode", "starcoder"),
        ("stablelm", "stable-code-3b"),
    ],
)
def test_code_models_know_their_markers(architecture: str, key: str) -> None:
    """By architecture and name together."""
    assert knows(architecture, key)


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("qwen2", "qwen2.5-7b-instruct"),
        ("qwen2", "text-embedding-qwen-coder-embed"),
        ("qwen2", "codeqwen1.5-7b-chat"),
        ("gemma", "gemma-7b"),
        ("gemma", "codegemma-7b-it"),
        ("gemma3", "codegemma-x"),
        ("llama", "llama-3.1-8b"),
        ("llama", "deepseek-coder-6.7b"),
        ("llama", "codestral-22b"),
        ("llama", "codellama-7b-python"),
        ("llama", "codellama-34b"),
        ("mistral", "devstral-small"),
        ("starcoder2", "starcoder2-15b-instruct"),
        ("", "qwen2.5-coder"),
        ("gpt-oss", "coder"),
    ],
)
def test_others_are_not_guessed(architecture: str, key: str) -> None:
    """A chat model may share the architecture, a code model may have other markers."""
    assert not knows(architecture, key)


@pytest.mark.parametrize(
    ("architecture", "prompt"),
    [
        ("qwen2", "<|fim_prefix|>a{b}<|fim_suffix|>c<|fim_middle|>"),
        ("Gemma", "<|fim_prefix|>a{b}<|fim_suffix|>c<|fim_middle|>"),
        ("starcoder2", "<fim_prefix>a{b}<fim_suffix>c<fim_middle>"),
        (
            "deepseek2",
            "<\uff5cfim\u2581begin\uff5c>a{b}<\uff5cfim\u2581hole\uff5c>c<\uff5cfim\u2581end\uff5c>",
        ),
        ("llama", "<PRE> a{b} <SUF>c <MID>"),
        ("mistral", "[SUFFIX]c[PREFIX] a{b}"),
        ("unheard-of", "a{b}"),
        ("", "a{b}"),
    ],
)
def test_prompts(architecture: str, prompt: str) -> None:
    """Texts stand between the markers as they are; without markers the prompt stands alone."""
    assert prompt == untemplated_prompt(UNSET, architecture, "a{b}", "c")


def test_missing_texts_are_empty() -> None:
    """Nothing before, nothing after."""
    assert "<|fim_prefix|><|fim_suffix|><|fim_middle|>" == untemplated_prompt(
        UNSET, "qwen2", UNSET, UNSET
    )


@pytest.mark.parametrize("architecture", MARKERS)
def test_every_row_can_be_known(architecture: str) -> None:
    """A row without a name that leads to it would be dead."""
    markers = MARKERS[architecture]

    assert architecture == architecture.lower()
    assert all(knows(architecture, word) for word in markers.words)
    assert markers.template.count("{prompt}") == markers.template.count("{suffix}") == 1


def test_a_raw_prompt_goes_out_as_it_is() -> None:
    """No markers are put around it, whatever the model and whatever stands in suffix."""
    assert "a" == untemplated_prompt(True, "qwen2", "a", "c")
