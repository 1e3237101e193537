"""The official Python client, and the framework that most of its users have around it."""

from conformance.tests.clients.pair import Pair, failures_of, names_of, python_driver

OLLAMA = """
    list_models show ps chat chat_stream chat_options_keepalive chat_multi_turn
    think think_stream think_level think_false
    tools_single tools_parallel tools_stream tools_roundtrip tools_from_function
    format_json format_schema format_schema_stream image_bytes image_path
    generate generate_stream generate_system generate_format generate_raw generate_image
    generate_think embed_one embed_batch embed_dimensions embeddings_legacy preload_and_unload
    missing_model_chat missing_model_chat_stream missing_model_generate
    missing_model_generate_stream missing_model_show missing_model_embed missing_model_embeddings
    async_chat_stream async_concurrent stream_abort stream_breaks_off
"""

LANGCHAIN = """
    invoke stream options keep_alive_int validate_model_on_init tools_roundtrip tools_stream
    structured_json_schema structured_function_calling structured_json_mode
    reasoning reasoning_false vision ainvoke_astream llm_invoke_stream
    embed_documents_query aembed missing_model stream_abort stream_breaks_off
"""


def test_the_official_client_is_content(pair: Pair) -> None:
    """Every scenario runs and holds, and the answer that it leaves is left upstream."""
    outcomes = pair.drive_and_leave(python_driver("python_ollama"))
    assert {} == failures_of(outcomes)
    assert OLLAMA.split() == names_of(outcomes)


def test_langchain_is_content(pair: Pair) -> None:
    """Every scenario runs and holds, and the answer that it leaves is left upstream."""
    outcomes = pair.drive_and_leave(python_driver("python_langchain"))
    assert {} == failures_of(outcomes)
    assert LANGCHAIN.split() == names_of(outcomes)
