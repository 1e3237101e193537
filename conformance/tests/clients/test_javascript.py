"""Clients in JavaScript: the official one, and the one with the strictest schemas."""

from pathlib import Path

from conformance.tests.clients.pair import Pair, failures_of, names_of

OLLAMA = """
    list show version chat chat_stream chat_options think think_stream think_level think_false
    tools_roundtrip tools_parallel tools_stream format_schema format_json
    image_buffer image_base64 generate generate_stream generate_raw generate_image_format
    embed embed_string embeddings_legacy ps_load_and_unload
    missing_model missing_model_stream missing_model_generate missing_model_show
    missing_model_embed concurrent stream_abort stream_breaks_off
"""

AI_SDK = """
    generateText streamText options tools tools_stream structured structured_json_schema
    think vision embed missing_model stream_breaks_off
"""


def test_the_official_client_is_content(pair: Pair, javascript: Path, node: str) -> None:
    """Every scenario runs and holds, and the answer that it leaves is left upstream."""
    outcomes = pair.drive_and_leave([node, javascript / "ollama.mjs"])
    assert {} == failures_of(outcomes)
    assert OLLAMA.split() == names_of(outcomes)


def test_the_ai_sdk_is_content(pair: Pair, javascript: Path, node: str) -> None:
    """Every scenario runs and holds."""
    outcomes = pair.drive([node, javascript / "ai_sdk.mjs"])
    assert {} == failures_of(outcomes)
    assert AI_SDK.split() == names_of(outcomes)
