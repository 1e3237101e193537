"""Ollama's own Go package, on which its command line stands."""

from pathlib import Path

from conformance.tests.clients.pair import Pair, failures_of, names_of

OLLAMA = """
    heartbeat version list show list_running chat chat_stream chat_options chat_image
    think_stream think_level think_false tools_roundtrip tools_parallel_stream format_schema
    generate generate_stream embed embeddings_legacy load_and_unload
    missing_model_chat missing_model_generate missing_model_show missing_model_embed
    stream_abort stream_breaks_off
"""


def test_the_own_package_is_content(pair: Pair, go_driver: Path) -> None:
    """Every scenario runs and holds, and the answer that it leaves is left upstream."""
    outcomes = pair.drive_and_leave([go_driver])
    assert {} == failures_of(outcomes)
    assert OLLAMA.split() == names_of(outcomes)
