"""
Which clients there are: how each is driven, in what it comes, and what it must pass.

A scenario that a client is expected to fail has its reason here; one that passes all the same
fails the run until its line is gone. `toolchain` installs drivers.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

from conformance.clients.toolchain import (
    SOURCES,
    Command,
    build_go,
    build_java,
    build_ollama,
    build_rust,
    find_browser,
    install_javascript,
    make_python,
)


@dataclass(frozen=True)
class Client:
    """One client: `command` installs what it needs and says how its driver is run."""

    key: str
    name: str
    version: Callable[[], str]
    command: Callable[[], Command]
    scenarios: str
    deviations: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that fail for a known reason."""
    leaves_one: bool = False
    """Whether it leaves one answer early, which the gateway must leave then."""
    is_default: bool = False
    left_out: str = ""
    """Why it is no part of the default set, for one that is not."""


def run_here(module: str) -> Command:
    """Return the command of a driver whose client is in this environment."""
    return [sys.executable, "-m", f"conformance.clients.{module}"]


def run_apart(environment: str, module: str) -> Command:
    """Return the command of a driver whose client has an environment of its own."""
    return [make_python(environment), "-m", f"conformance.clients.{module}"]


def run_browser(environment: str, module: str) -> Command:
    """Return the command of a driver that looks at a page, whose browser is the machine's."""
    browser = find_browser()
    return [*run_apart(environment, module), browser]


def run_node(within: str, driver: str) -> Command:
    """Return the command of a driver in JavaScript."""
    folder = install_javascript(within)
    return [shutil.which("node") or "node", folder / driver]


def run_command() -> Command:
    """Return the command of the driver of the `ollama` command."""
    return [*run_here("command_ollama"), build_ollama()]


def listed(environment: str, package: str) -> str:
    """Return the version of a package in a list of a Python environment."""
    return find_version(f"python/{environment}.txt", rf"^{re.escape(package)}==(\S+)$")


def locked(within: str, package: str) -> str:
    """Return the version of a package in a lock file of npm's."""
    lock = json.loads((SOURCES / "javascript" / within / "package-lock.json").read_text("utf-8"))
    return str(lock["packages"][f"node_modules/{package}"]["version"])


def find_version(path: str, pattern: str) -> str:
    """Return the version that a pattern finds in a file of this folder."""
    found = re.search(pattern, (SOURCES / path).read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} names no version by {pattern!r}")
    return found[1]


GO_VERSION = r"github.com/ollama/ollama v(\S+)"

CLIENTS: tuple[Client, ...] = (
    Client(
        "python_ollama",
        "ollama (Python)",
        partial(version, "ollama"),
        partial(run_here, "python_ollama"),
        """
        list_models show ps chat chat_stream chat_options_keepalive chat_multi_turn think
        think_stream think_level think_false tools_single tools_parallel tools_stream
        tools_roundtrip tools_from_function format_json format_schema format_schema_stream
        image_bytes image_path generate generate_stream generate_system generate_format
        generate_raw generate_image generate_system_format_image generate_think embed_one
        embed_batch embed_dimensions embeddings_legacy pull pull_stream preload_and_unload
        missing_model_chat missing_model_chat_stream missing_model_generate
        missing_model_generate_stream missing_model_show missing_model_embed
        missing_model_embeddings async_chat_stream async_concurrent stream_abort
        stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_langchain",
        "langchain-ollama",
        partial(version, "langchain-ollama"),
        partial(run_here, "python_langchain"),
        """
        invoke stream options keep_alive_int validate_model_on_init tools_roundtrip
        tools_stream structured_json_schema structured_function_calling structured_json_mode
        reasoning reasoning_stream reasoning_false vision ainvoke_astream batch
        llm_invoke_stream llm_format_json embed_documents_query aembed missing_model
        missing_model_stream missing_model_llm missing_embed_model stream_abort
        stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "javascript_ollama",
        "ollama (JavaScript)",
        partial(locked, "", "ollama"),
        partial(run_node, "", "ollama.mjs"),
        """
        list show version chat chat_stream chat_options think think_stream think_level
        think_false tools_roundtrip tools_parallel tools_stream format_schema format_json
        image_buffer image_base64 generate generate_stream generate_raw
        generate_image_format embed embed_string embeddings_legacy pull pull_stream ps
        load_and_unload missing_model missing_model_stream missing_model_generate
        missing_model_show missing_model_embed concurrent stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "javascript_ai_sdk",
        "ollama-ai-provider-v2",
        partial(locked, "", "ollama-ai-provider-v2"),
        partial(run_node, "", "ai_sdk.mjs"),
        """
        generateText streamText options tools tools_stream structured structured_json_schema
        think think_stream vision embed missing_model missing_model_stream
        missing_embed_model stream_abort stream_breaks_off
        """,
        is_default=True,
        leaves_one=True,
    ),
    Client(
        "go_api",
        "Ollama's Go package",
        partial(find_version, "golang/go.mod", GO_VERSION),
        lambda: [build_go()],
        """
        heartbeat version list show list_running chat chat_stream chat_options chat_image
        think_stream think_level think_false tools_roundtrip tools_parallel_stream
        format_schema format_json generate generate_stream embed embeddings_legacy pull
        create_copy_delete load_and_unload missing_model_chat missing_model_generate
        missing_model_show missing_model_embed stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "command_ollama",
        "ollama (command)",
        partial(find_version, "golang/command/go.mod", GO_VERSION),
        run_command,
        """
        version list_models show run run_think run_verbose run_format run_image run_embedding
        ps_and_stop pull cp_and_rm create_model missing_model missing_model_rm abort
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_openai",
        "openai (Python) on /v1",
        partial(listed, "sdks", "openai"),
        partial(run_apart, "sdks", "python_openai"),
        """
        models chat chat_stream options tools_roundtrip tools_stream tool_choice
        format_schema format_json vision responses completions embed missing_model
        stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "javascript_openai",
        "openai (JavaScript) on /v1",
        partial(locked, "sdks", "openai"),
        partial(run_node, "sdks", "openai.mjs"),
        """
        models chat chat_stream chat_stream_helper options tools_roundtrip tools_stream
        tools_runner format_schema vision responses completions embed missing_model
        stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_anthropic",
        "anthropic (Python) on /v1/messages",
        partial(listed, "sdks", "anthropic"),
        partial(run_apart, "sdks", "python_anthropic"),
        """
        chat chat_stream tools_roundtrip tools_stream vision missing_model stream_abort
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_litellm",
        "litellm",
        partial(listed, "sdks", "litellm"),
        partial(run_apart, "sdks", "python_litellm"),
        """
        chat chat_stream chat_options chat_tools_roundtrip chat_tools_stream
        chat_json_schema chat_json_object chat_reasoning chat_reasoning_stream chat_vision
        generate_provider generate_provider_stream generate_provider_json
        generate_provider_vision text_completion async_chat embed async_embeddings
        model_info model_info_tools missing_model missing_model_stream
        missing_model_generate missing_embed_model stream_abort stream_breaks_off
        """,
        deviations={
            "model_info_tools": "litellm looks for tools in the template, which LM Studio does not"
            " provide"
        },
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "javascript_langchain",
        "@langchain/ollama",
        partial(locked, "more", "@langchain/ollama"),
        partial(run_node, "more", "langchain.mjs"),
        """
        invoke stream options tools_roundtrip tools_stream structured_json_schema
        structured_function_calling structured_json_mode think think_stream vision llm
        llm_stream embeddings check_or_pull_model missing_model missing_model_stream
        missing_embed_model stream_breaks_off
        """,
        is_default=True,
    ),
    Client(
        "javascript_ai_sdk_ollama",
        "ai-sdk-ollama",
        partial(locked, "more", "ai-sdk-ollama"),
        partial(run_node, "more", "ai_sdk_ollama.mjs"),
        """
        generateText streamText options tools tools_stream structured think think_stream
        vision embed missing_model missing_model_stream missing_embed_model
        stream_breaks_off
        """,
        is_default=True,
    ),
    Client(
        "javascript_llamaindex",
        "@llamaindex/ollama",
        partial(locked, "more", "@llamaindex/ollama"),
        partial(run_node, "more", "llamaindex.mjs"),
        """
        chat chat_stream complete complete_stream tools tools_roundtrip vision
        embeddings_legacy missing_model missing_embed_model stream_breaks_off
        """,
        is_default=True,
    ),
    Client(
        "javascript_genkit",
        "genkitx-ollama (Genkit)",
        partial(locked, "sdks", "genkitx-ollama"),
        partial(run_node, "sdks", "genkit.mjs"),
        """
        list generate stream options stop turns tools_roundtrip vision prompt embed
        missing_model missing_model_stream stream_breaks_off
        """,
        deviations={
            "stop": "Genkit sends the words to stop at as one text, which Ollama refuses as well"
        },
        is_default=True,
    ),
    Client(
        "python_llama_index",
        "llama-index (llms and embeddings)",
        partial(listed, "frameworks", "llama-index-llms-ollama"),
        partial(run_apart, "frameworks", "python_llama_index"),
        """
        complete stream_complete chat chat_usage stream_chat context_window_from_show
        fixed_context_window json_mode structured_predict stream_structured_predict
        as_structured_llm chat_with_tools stream_chat_with_tools predict_and_call
        function_agent thinking thinking_stream vision async_chat embeddings
        async_embeddings missing_model missing_embed_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_strands",
        "strands-agents",
        partial(listed, "frameworks", "strands-agents"),
        partial(run_apart, "frameworks", "python_strands"),
        """
        run stream options tools structured image missing_model stream_abort
        stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_haystack",
        "ollama-haystack",
        partial(listed, "frameworks", "ollama-haystack"),
        partial(run_apart, "frameworks", "python_haystack"),
        """
        chat chat_stream tools_roundtrip tools_stream response_format think think_stream
        options vision text_embedder document_embedder chat_async missing_model
        missing_model_stream missing_embed_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_autogen",
        "autogen-ext",
        partial(listed, "frameworks", "autogen-ext"),
        partial(run_apart, "frameworks", "python_autogen"),
        """
        create create_stream tools tools_stream options structured_output json_output vision
        assistant_agent missing_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_pydantic_ai",
        "pydantic-ai on /v1",
        partial(listed, "frameworks", "pydantic-ai-slim"),
        partial(run_apart, "frameworks", "python_pydantic_ai"),
        """
        chat chat_stream tools tools_stream options thinking output_tool output_native
        vision missing_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_any_llm",
        "any-llm-sdk",
        partial(listed, "frameworks", "any-llm-sdk"),
        partial(run_apart, "frameworks", "python_any_llm"),
        """
        models chat stream tools tools_roundtrip tools_stream response_format reasoning
        reasoning_stream reasoning_none vision embed missing_model missing_model_stream
        missing_embed_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        is_default=True,
    ),
    Client(
        "python_llm",
        "llm with llm-ollama",
        partial(listed, "frameworks", "llm-ollama"),
        partial(run_apart, "frameworks", "python_llm"),
        """
        models ollama_models prompt_stream prompt_no_stream_options usage schema think tools
        image embed missing_model
        """,
        is_default=True,
    ),
    Client(
        "python_open_webui",
        "Open WebUI",
        partial(listed, "open_webui", "open-webui"),
        partial(run_apart, "open_webui", "python_open_webui"),
        """
        version list_models models show ps chat chat_stream chat_native chat_native_stream
        chat_options chat_v1 chat_v1_stream chat_responses chat_messages
        think think_stream think_false tools_roundtrip tools_stream tools_native
        format_schema format_native image_page image_native generate complete_v1
        embed embed_page embeddings_legacy pull unload missing_model missing_model_upstream
        stream_abort native_breaks_off page_breaks_off
        """,
        deviations={"page_breaks_off": "Open WebUI treats a line with an error as a regular end"},
        leaves_one=True,
        left_out="its environment is 840 MB",
    ),
    Client(
        "browser_open_webui",
        "Open WebUI's page in Chromium",
        partial(listed, "open_webui", "open-webui"),
        partial(run_browser, "open_webui", "browser_open_webui"),
        """
        list_models chat_stream chat_turns think_stream tools_roundtrip image_upload unload refusal
        abort page_breaks_off
        """,
        deviations={"page_breaks_off": "the page shows it like a complete answer"},
        leaves_one=True,
        left_out="its environment is 840 MB, and it needs Chromium",
    ),
    Client(
        "rust_ollama",
        "ollama-rs",
        partial(find_version, "rust/Cargo.toml", r'^ollama-rs = .*"=([^"]+)"'),
        lambda: [build_rust()],
        """
        list show chat chat_stream chat_options tools tools_stream tools_roundtrip
        format_schema format_json think think_stream vision generate generate_stream embed
        pull pull_stream create_copy_delete load_and_unload missing_model
        missing_model_embed stream_abort stream_breaks_off
        """,
        leaves_one=True,
        left_out="a first build of its 150 crates takes minutes",
    ),
    Client(
        "rust_openai",
        "async-openai on /v1",
        partial(find_version, "rust/Cargo.toml", r'^async-openai = .*"=([^"]+)"'),
        lambda: [build_rust("openai")],
        """
        models chat chat_stream options tools_roundtrip tools_stream format_schema vision embed
        missing_model stream_abort stream_breaks_off
        """,
        leaves_one=True,
        left_out="a first build of its crates takes minutes",
    ),
    Client(
        "java_langchain4j",
        "langchain4j-ollama",
        partial(
            find_version, "java/pom.xml", r"<artifactId>langchain4j-ollama.*\n\s*<version>(.+)<"
        ),
        build_java,
        """
        list show ps chat chat_stream options tools_roundtrip tools_stream format_schema
        format_json think think_stream vision generate generate_stream embed missing_model
        missing_model_stream missing_model_embed stream_abort stream_breaks_off
        """,
        deviations={
            "stream_breaks_off": "langchain4j reports neither an error nor an end if a stream's"
            " last line is an error"
        },
        leaves_one=True,
        left_out="Maven fetches its plugins anew for it, and a JDK is not on every machine",
    ),
)


def chosen(*, include_all: bool) -> list[Client]:
    """Return the clients of the default set, or all."""
    return [client for client in CLIENTS if include_all or client.is_default]
