"""Settings: which source wins, how each text is read, and what a wrong one is told."""

import math
from pathlib import Path

import pytest

from gateway.settings import location
from gateway.settings.schema import Settings, UpstreamSettings
from gateway.settings.sources import SettingsProblem, load, read
from gateway.settings.values import read_duration, read_ollama_host, read_upstream_url
from gateway.settings.written import describe

TOKEN = "lm-secret-token"


def value_of(path: str, settings: Settings) -> object:
    section, key = path.split(".")
    return getattr(getattr(settings, section), key)


def test_without_sources_every_value_is_its_default() -> None:
    """The documented defaults hold when nothing is given."""
    loaded = read({}, {}, None)

    assert Settings() == loaded.settings
    assert {"default"} == set(loaded.sources.values())
    assert () == loaded.notes


def test_each_source_is_stronger_than_the_one_after_it(tmp_path: Path) -> None:
    """Flags beat our variables, these beat Ollama's, these beat the file, it beats the default."""
    file = tmp_path / "config.toml"
    file.write_text("[listen]\nport = 4\n")
    flags = {"listen.port": "1"}
    ours = {"OLGATE_LISTEN_PORT": "2"}
    ollamas = {"OLLAMA_HOST": ":3"}

    assert 1 == load(flags, ours | ollamas, file).listen.port
    assert 2 == load({}, ours | ollamas, file).listen.port
    assert 3 == load({}, ollamas, file).listen.port
    assert 4 == load({}, {}, file).listen.port
    assert 11434 == load({}, {}, None).listen.port


def test_a_flag_that_is_not_given_leaves_the_rest_alone() -> None:
    """None among the flags is the same as no flag."""
    assert 2 == load({"listen.port": None}, {"OLGATE_LISTEN_PORT": "2"}, None).listen.port


EVERY_KEY = {
    "listen.host": ("::1", "::1"),
    "listen.port": ("0", 0),
    "listen.origins": ("https://a.test, https://*.b.test", ("https://a.test", "https://*.b.test")),
    "listen.proxies": ("127.0.0.1, 10.0.0.0/8", ("127.0.0.1/32", "10.0.0.0/8")),
    "listen.keys": ("one, two", ("one", "two")),
    "upstream.url": ("mac.local", "http://mac.local:1234"),
    "upstream.token": (TOKEN, TOKEN),
    "listen.tls_certificate": ("/tmp/cert.pem", "/tmp/cert.pem"),
    "listen.tls_key": ("/tmp/key.pem", "/tmp/key.pem"),
    "upstream.ca_file": ("/tmp/ca.pem", "/tmp/ca.pem"),
    "upstream.verify": ("false", False),
    "upstream.connect_timeout_s": ("1.5", 1.5),
    "upstream.first_byte_timeout_s": ("0", None),
    "upstream.silence_timeout_s": ("0", None),
    "upstream.max_connections": ("7", 7),
    "upstream.idle_connection_s": ("1", 1.0),
    "answers.thinking": ("merge", "merge"),
    "answers.defaults": ("ollama", "ollama"),
    "answers.show_num_ctx": ("loaded", "loaded"),
    "answers.stated_context": ("reachable", "reachable"),
    "answers.openai": ("ollama", "ollama"),
    "answers.one_shot": ("whole", "whole"),
    "answers.version": ("0.12.6", "0.12.6"),
    "answers.think_tags": ("keep", "keep"),
    "answers.early_headers_s": ("2.5", 2.5),
    "answers.sign_of_life_s": ("2.5", 2.5),
    "answers.wrong_model": ("warn", "warn"),
    "models.keep_alive": ("-1", "-1"),
    "models.context_length": ("8192", 8192),
    "models.context_cap": ("0", 0),
    "models.context_policy": ("exact", "exact"),
    "models.make_room": ("false", False),
    "models.evict_others": ("yes", True),
    "models.load_timeout_s": ("0", math.inf),
    "models.max_queue": ("0", 0),
    "models.max_loaded": ("2", 2),
    "models.grow_for_prompt": ("no", False),
    "models.unknown": ("nearest", "nearest"),
    "models.catalogue_ttl_s": ("0.5", 0.5),
    "models.insert_architectures": ("qwen2,starcoder2", ("qwen2", "starcoder2")),
    "placement.spread": ("queue", "queue"),
    "placement.retry_percent": ("50", 50),
    "placement.retry_least": ("1", 1),
    "queue.at": ("host", "host"),
    "queue.most": ("0", 0),
    "queue.longest_s": ("30", 30.0),
    "queue.order": ("arrival", "arrival"),
    "queue.batch_every": ("4", 4),
    "downloads.poll_interval_s": ("0.5", 0.5),
    "downloads.stall_timeout_s": ("0", None),
    "downloads.away_timeout_s": ("5", 5.0),
    "downloads.to": ("all", ("all",)),
    "fleet.list_wait_s": ("0.1", 0.1),
    "fleet.forget_s": ("60", 60.0),
    "store.path": ("/tmp/a.db", "/tmp/a.db"),
    "store.url": ("redis://cache:6379/0", "redis://cache:6379/0"),
    "store.prefix": ("team-a", "team-a"),
    "store.lease_s": ("30", 30.0),
    "store.timeout_s": ("0.5", 0.5),
    "limits.body_bytes": ("1024", 1024),
    "limits.bodies_total": ("4096", 4096),
    "limits.bodies_wait_s": ("0", 0.0),
    "limits.text_bytes": ("512", 512),
    "limits.json_bytes": ("256", 256),
    "limits.header_bytes": ("2048", 2048),
    "limits.headers": ("9", 9),
    "limits.header_s": ("0", 0.0),
    "limits.body_s": ("2.5", 2.5),
    "limits.write_s": ("7.5", 7.5),
    "limits.json_depth": ("9", 9),
    "limits.messages": ("8", 8),
    "limits.images": ("7", 7),
    "limits.tool_calls": ("7", 7),
    "limits.list_s": ("0.5", 0.5),
    "limits.health_s": ("0.5", 0.5),
    "limits.drain_s": ("0", 0.0),
    "routes.health": ("off", False),
    "routes.open_health": ("no", False),
    "routes.metrics": ("false", False),
    "routes.reload": ("false", False),
    "routes.lmstudio": ("0", False),
    "log.level": ("error", "error"),
    "log.format": ("json", "json"),
    "log.bodies": ("true", True),
    "routes.console": ("false", False),
    "fleet.session_s": ("60", 60.0),
    "inspect.requests": ("20", 20),
    "inspect.body_bytes": ("4096", 4096),
}


OF_FILES = {"listen.keys_file", "store.url_file", "upstream.token_file"}
"""Keys that name a file, which has to be there."""

OF_TABLES = {"listen.more"}
"""Keys whose value is tables, which no variable can have."""


def test_the_table_of_keys_is_whole() -> None:
    """A key added to the settings has to be added to the table above; a file has its own tests."""
    assert set(describe(Settings())) == {*EVERY_KEY, *OF_FILES, *OF_TABLES}


def test_keys_are_read_from_a_file_of_their_own(tmp_path: Path) -> None:
    """One a line, beside those that are stated; empty lines and comments are none."""
    file = tmp_path / "keys"
    file.write_text("# of the office\nthree\n\n  four  \n")
    environ = {"OLGATE_LISTEN_KEYS": "one,two", "OLGATE_LISTEN_KEYS_FILE": str(file)}

    assert ("one", "two", "three", "four") == load({}, environ, None).listen.keys


@pytest.mark.parametrize(
    ("content", "says"),
    [("# none\n", "at least one"), ("a b\n", "without spaces"), (None, "cannot be read")],
)
def test_a_file_without_usable_keys_is_refused(
    content: str | None, says: str, tmp_path: Path
) -> None:
    """It must not leave the gateway open; what stands in it is not said."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsProblem, match=says) as caught:
        load({}, {"OLGATE_LISTEN_KEYS_FILE": str(file)}, None)

    assert "a b" not in str(caught.value)
    assert "OLGATE_LISTEN_KEYS_FILE" in str(caught.value)


@pytest.mark.parametrize("path", EVERY_KEY)
def test_every_key_is_a_variable(path: str) -> None:
    """OLGATE_SECTION_KEY sets `section.key`, and it alone."""
    text, expected = EVERY_KEY[path]
    settings = load({}, {f"OLGATE_{path.replace('.', '_').upper()}": text}, None)
    changed = {each for each in EVERY_KEY if value_of(each, settings) != value_of(each, Settings())}

    assert expected == value_of(path, settings)
    assert {path} == changed


@pytest.mark.parametrize("path", EVERY_KEY)
def test_every_key_is_read_from_the_file(path: str, tmp_path: Path) -> None:
    """The file takes TOML's own types, and gives the same as the variable."""
    text, expected = EVERY_KEY[path]
    written = text
    if isinstance(expected, str):
        written = f'"{text}"'
    elif isinstance(expected, tuple):
        written = str([part.strip() for part in text.split(",")])
    elif isinstance(expected, bool):
        written = str(expected).lower()
    file = tmp_path / "config.toml"
    section, key = path.split(".")
    file.write_text(f"[{section}]\n{key} = {written}\n")

    assert expected == value_of(path, load({}, {}, file))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "127.0.0.1", 11434),
        ("1.2.3.4", "1.2.3.4", 11434),
        ("example.com", "example.com", 11434),
        (":1234", "", 1234),
        ("0.0.0.0", "0.0.0.0", 11434),
        ("[::]", "::", 11434),
        ("::1", "::1", 11434),
        ("[::1]:1337", "::1", 1337),
        ("http://1.2.3.4", "1.2.3.4", 80),
        ("https://1.2.3.4", "1.2.3.4", 443),
        ("http://1.2.3.4:4321", "1.2.3.4", 4321),
        ("https://example.com/ollama", "example.com", 443),
        (":66000", "", 11434),
        (":-1", "", 11434),
        (":abc", "", 11434),
        (":0", "", 0),
        ("ollama.com", "ollama.com", 443),
        (' "1.2.3.4:5" ', "1.2.3.4", 5),
        ("'1.2.3.4:5'", "1.2.3.4", 5),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(text: str, host: str, port: int) -> None:
    """The table of docs/facts/ollama.md#ollama-host."""
    listen = load({}, {"OLLAMA_HOST": text}, None).listen

    assert (host, port) == (listen.host, listen.port)


def test_reading_ollama_host_never_fails() -> None:
    """What makes no sense as an address is a host name to Ollama; binding it will say the rest."""
    assert ("a:b:c", 11434) == read_ollama_host("a:b:c")
    assert ("127.0.0.1", 80) == read_ollama_host("http://")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:1234", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/v1", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/v1/", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/v1/models", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/v1/chat/completions", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/api/v1/models/load/", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/api/v0/models/a/b", "http://127.0.0.1:1234"),
        ("http://127.0.0.1:1234/lmstudio-greeting", "http://127.0.0.1:1234"),
        ("http://host/v1/tenant", "http://host/v1/tenant"),
        ("http://127.0.0.1:1234/api/v1", "http://127.0.0.1:1234"),
        ("http://host/lm/v1", "http://host/lm"),
        ("http://host/v1beta", "http://host/v1beta"),
        ("https://lm.example.com", "https://lm.example.com"),
        ("localhost", "http://localhost:1234"),
        ("mac.local:5000", "http://mac.local:5000"),
        ("10.0.0.2", "http://10.0.0.2:1234"),
        ("[::1]:1234", "http://[::1]:1234"),
        (" HTTP://Host:1/ ", "http://host:1"),
    ],
)
def test_an_upstream_address_is_normalised(text: str, url: str) -> None:
    """Whatever of LM Studio's address people have at hand becomes one form, and stays it."""
    assert url == read_upstream_url(text)
    assert url == read_upstream_url(url)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("100ms", 0.1),
        ("-1m", None),
        ("+2s", 2.0),
        ("0", 0.0),
        ("90", 90.0),
        ("-1", None),
    ],
)
def test_durations_are_gos_or_whole_seconds(text: str, seconds: float | None) -> None:
    """Go's durations and bare whole seconds; a negative one is for ever."""
    assert seconds == pytest.approx(read_duration(text))


@pytest.mark.parametrize("text", ["", "m", "5x", "5 m", "1.5", "1_000", "-", "5m-1s", "1e3s"])
def test_other_texts_are_no_duration(text: str) -> None:
    """What Go refuses is refused."""
    with pytest.raises(ValueError, match="duration"):
        read_duration(text)


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        (
            "OLLAMA_ORIGINS",
            "https://a.test,app://*",
            "listen.origins",
            ("https://a.test", "app://*"),
        ),
        ("OLLAMA_KEEP_ALIVE", "-1", "models.keep_alive", "-1"),
        ("OLLAMA_CONTEXT_LENGTH", "8192", "models.context_length", 8192),
        ("OLLAMA_CONTEXT_LENGTH", "0", "models.context_length", None),
        ("OLLAMA_LOAD_TIMEOUT", "10m", "models.load_timeout_s", 600.0),
        ("OLLAMA_LOAD_TIMEOUT", "-1", "models.load_timeout_s", math.inf),
        ("OLLAMA_MAX_QUEUE", "3", "models.max_queue", 3),
        ("OLLAMA_MAX_QUEUE", "3", "queue.most", 3),
        ("OLLAMA_MAX_LOADED_MODELS", "3", "models.max_loaded", 3),
        ("OLLAMA_DEBUG", "1", "log.level", "debug"),
        ("OLLAMA_DEBUG", "2", "log.level", "debug"),
        ("OLLAMA_DEBUG", "please", "log.level", "debug"),
        ("OLLAMA_DEBUG", "F", "log.level", "info"),
        ("LMSTUDIO_URL", "10.0.0.2", "upstream.url", "http://10.0.0.2:1234"),
        ("LM_API_TOKEN", f" '{TOKEN}' ", "upstream.token", TOKEN),
    ],
)
def test_borrowed_variables_mean_what_they_mean_there(
    variable: str, text: str, path: str, expected: object
) -> None:
    """Ollama's and LM Studio's variables set the setting that answers to them."""
    loaded = read({}, {variable: text}, None)

    assert expected == value_of(path, loaded.settings)
    assert () == loaded.notes


@pytest.mark.parametrize(
    "variable",
    ["OLLAMA_KEEP_ALIVE", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_LOAD_TIMEOUT", "OLLAMA_MAX_QUEUE"],
)
def test_what_ollama_passes_over_is_passed_over_with_a_note(variable: str) -> None:
    """A bad text leaves the default, and somebody hears of it."""
    loaded = read({}, {variable: "soon"}, None)

    assert Settings() == loaded.settings
    assert 1 == len(loaded.notes)
    assert loaded.notes[0].startswith(f"{variable}: expected ")


def test_the_key_for_ollama_com_changes_nothing() -> None:
    """OLLAMA_API_KEY belongs to clients."""
    assert Settings() == load({}, {"OLLAMA_API_KEY": "abc"}, None)


def test_what_container_platforms_set_is_no_unknown_variable() -> None:
    """A service named olgate gets variables that look like ours and are none."""
    environ = {
        "OLGATE_SERVICE_HOST": "10.0.0.1",
        "OLGATE_PORT": "tcp://10.0.0.1:11434",
        "OLGATE_PORT_11434_TCP": "tcp://10.0.0.1:11434",
    }

    assert Settings() == load({}, environ, None)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"OLGATE_ANSWERS_THINKIN": "merge"},
            "unknown variable OLGATE_ANSWERS_THINKIN; did you mean OLGATE_ANSWERS_THINKING?",
        ),
        ({"OLGATE_PORT": "1"}, "unknown variable OLGATE_PORT; did you mean OLGATE_LISTEN_PORT?"),
        ({"OLGATE_ZZZ": "1"}, "unknown variable OLGATE_ZZZ"),
        (
            {"OLGATE_ANSWERS_THINKING": "on"},
            "OLGATE_ANSWERS_THINKING: expected one of field, merge, drop, got 'on'",
        ),
        (
            {"OLGATE_LISTEN_PORT": "65536"},
            "OLGATE_LISTEN_PORT: expected a whole number from 0 to 65535, got '65536'",
        ),
        (
            {"OLGATE_LISTEN_PORT": "1.5"},
            "OLGATE_LISTEN_PORT: expected a whole number from 0 to 65535, got '1.5'",
        ),
        (
            {"OLGATE_UPSTREAM_CONNECT_TIMEOUT_S": "-1"},
            "OLGATE_UPSTREAM_CONNECT_TIMEOUT_S: expected a number of seconds from 0 (no limit), "
            "got '-1'",
        ),
        (
            {"OLGATE_UPSTREAM_IDLE_CONNECTION_S": "-1"},
            "OLGATE_UPSTREAM_IDLE_CONNECTION_S: expected a number of seconds of at least 0, "
            "got '-1'",
        ),
        (
            {"OLGATE_UPSTREAM_SILENCE_TIMEOUT_S": "never"},
            "OLGATE_UPSTREAM_SILENCE_TIMEOUT_S: expected a number of seconds from 0 (no limit), "
            "got 'never'",
        ),
        (
            {"OLGATE_ROUTES_HEALTH": "maybe"},
            "OLGATE_ROUTES_HEALTH: expected true or false, got 'maybe'",
        ),
        (
            {"OLGATE_LISTEN_HOST": "127.0.0.1:80"},
            "OLGATE_LISTEN_HOST: expected a host name or address alone "
            "(the port is a separate setting), got '127.0.0.1:80'",
        ),
        (
            {"OLGATE_ANSWERS_VERSION": "v0.1"},
            "OLGATE_ANSWERS_VERSION: expected a version of dotted whole numbers, such as 0.34.4, "
            "got 'v0.1'",
        ),
        (
            {"LMSTUDIO_URL": "ws://localhost:1234"},
            "LMSTUDIO_URL: expected LM Studio's address, such as http://127.0.0.1:1234 "
            "(http or https), got 'ws://localhost:1234'",
        ),
        (
            {"OLLAMA_ORIGINS": "example.com"},
            "OLLAMA_ORIGINS: expected origins such as https://example.com or "
            "https://*.example.com, at most one * in each; 'example.com' is none, "
            "got 'example.com'",
        ),
        (
            {"OLGATE_LISTEN_PROXIES": "balancer"},
            "OLGATE_LISTEN_PROXIES: expected addresses and networks such as 127.0.0.1 and "
            "10.0.0.0/8; 'balancer' does not appear to be an IPv4 or IPv6 network, got 'balancer'",
        ),
    ],
)
def test_a_wrong_variable_gets_one_sentence(environ: dict[str, str], sentence: str) -> None:
    """The sentence names the place, what was expected, and the nearest thing there is."""
    with pytest.raises(SettingsProblem) as problem:
        load({}, environ, None)

    assert sentence == str(problem.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[answer]\n", "{file}: unknown section [answer]; did you mean answers?"),
        ("[listen]\nprot = 1\n", "{file}: unknown key listen.prot; did you mean listen.port?"),
        ("port = 1\n", "{file}: unknown section [port]"),
        ("listen = 1\n", "{file}: listen must be a section: write [listen] above its keys"),
        (
            "[listen]\nport = true\n",
            "{file}: listen.port: expected a whole number from 0 to 65535, got True",
        ),
        (
            "[listen]\norigins = [1]\n",
            "{file}: listen.origins: expected a list of texts, got [1]",
        ),
        ("[aliases]\nmine = 1\n", "{file}: aliases.mine: expected text, got 1"),
        ('[pull]\n"a b" = "x/y"\n', "{file}: pull.a b: the key is not a model's name"),
    ],
)
def test_a_wrong_file_gets_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    """The sentence names the file and the key."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(SettingsProblem) as problem:
        load({}, {}, file)

    assert sentence.format(file=file) == str(problem.value)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"OLGATE_CONFIG_FILE": "a"},
            "unknown variable OLGATE_CONFIG_FILE; did you mean OLGATE_CONFIG?",
        ),
        (
            {"OLGATE_ALIASES": "a=b"},
            "unknown variable OLGATE_ALIASES: only the settings file can have [aliases]",
        ),
        (
            {"OLGATE_MODELS_LOAD_TIMEOUT_S": "5m"},
            "OLGATE_MODELS_LOAD_TIMEOUT_S: expected a number of seconds from 0 (no limit), "
            "got '5m'; for 5m write 300",
        ),
        (
            {"OLGATE_LISTEN_KEYS": ","},
            "OLGATE_LISTEN_KEYS: expected at least one key that is not empty, or none at all",
        ),
        (
            {"OLGATE_STORE_PATH": "/tmp/\udcff"},
            "OLGATE_STORE_PATH: expected text in UTF-8, got '/tmp/\\udcff'",
        ),
    ],
)
def test_likely_mistakes_are_told_with_the_next_step(
    environ: dict[str, str], sentence: str
) -> None:
    """What looks right and is not gets a sentence that says what to write."""
    with pytest.raises(SettingsProblem) as problem:
        load({}, environ, None)

    assert sentence == str(problem.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[listen]\nkeys = [""]\n', "at least one key that is not empty"),
        ('[listen]\nkeys_file = ""\n', "expected the path of a file, got ''"),
        ('[aliases]\n"GPT-4" = "a"\n"gpt-4" = "b"\n', "gpt-4: this name and 'GPT-4' are the same"),
        ('[pull]\n"a" = "x"\n"a:latest" = "y"\n', "a:latest: this name and 'a' are the same"),
        ('[aliases]\n"gpt-4" = ""\n', "gpt-4: the value is empty"),
        ("[models]\nkeep_alive = 5.5\n", "expected text, got 5.5"),
        ("[upstream]\nsilence_timeout_s = '1h30m'\n", "for 1h30m write 5400"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(
    text: str, says: str, tmp_path: Path
) -> None:
    """A key that is none, an alias that hides another, and a duration where seconds are meant."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(SettingsProblem) as problem:
        load({}, {}, file)

    assert says in str(problem.value)


def test_a_number_as_keep_alive_means_seconds(tmp_path: Path) -> None:
    """As in Ollama's own setting."""
    file = tmp_path / "config.toml"
    file.write_text("[models]\nkeep_alive = 90\n")

    assert "90" == load({}, {}, file).models.keep_alive


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Windows' editors write one; a file in UTF-16 is told what to do."""
    file = tmp_path / "config.toml"
    file.write_text("[listen]\nport = 5\n", "utf-8-sig")
    wide = tmp_path / "wide.toml"
    wide.write_text("[listen]\nport = 5\n", "utf-16")

    assert 5 == load({}, {}, file).listen.port
    with pytest.raises(SettingsProblem, match=r"wide\.toml is in UTF-16: save it as UTF-8"):
        load({}, {}, wide)


def test_the_token_is_read_from_a_file_of_its_own(tmp_path: Path) -> None:
    """The stronger of the two sources counts, and two values of one source are refused."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    file = tmp_path / "config.toml"
    file.write_text(f"[upstream]\ntoken_file = '{token}'\n")
    both = {"OLGATE_UPSTREAM_TOKEN": "a", "OLGATE_UPSTREAM_TOKEN_FILE": str(token)}

    assert TOKEN == load({}, {}, file).upstream.token
    assert "other" == load({}, {"LM_API_TOKEN": "other"}, file).upstream.token
    ours = {"OLGATE_UPSTREAM_TOKEN_FILE": str(token)}
    assert TOKEN == load({}, {"LM_API_TOKEN": "other"} | ours, None).upstream.token
    with pytest.raises(SettingsProblem, match="OLGATE_UPSTREAM_TOKEN gives the token as well"):
        load({}, both, None)


@pytest.mark.parametrize(
    ("content", "says"), [("", "one token of"), ("a b\n", "one token of"), (None, "cannot be read")]
)
def test_a_file_without_a_token_is_refused(content: str | None, says: str, tmp_path: Path) -> None:
    """What stands in it is not said."""
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsProblem, match=says) as caught:
        load({}, {"OLGATE_UPSTREAM_TOKEN_FILE": str(file)}, None)

    assert "a b" not in str(caught.value)


def test_the_file_is_the_flags_then_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's file counts only if no other is named."""
    platforms = tmp_path / "config.toml"
    monkeypatch.setattr(location, "platform_file", lambda: platforms)
    environ = {"OLGATE_CONFIG": "/b"}

    assert Path("/a") == location.find_file(Path("/a"), environ)
    assert Path("/b") == location.find_file(None, environ)
    assert None is location.find_file(None, {"OLGATE_CONFIG": " "})
    platforms.touch()
    assert platforms == location.find_file(None, {})
    assert Settings() == load({}, environ, None)


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    """A file that was asked for must be there, and be TOML."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[listen\n")
    with pytest.raises(SettingsProblem, match=r"none\.toml cannot be read: No such file"):
        load({}, {}, tmp_path / "none.toml")
    with pytest.raises(SettingsProblem, match=r"broken\.toml is not TOML: .*line 1"):
        load({}, {}, broken)


def test_a_secret_shows_nowhere() -> None:
    """Neither a representation nor a description nor a complaint tells a token or a password."""
    settings = load({}, {"LM_API_TOKEN": TOKEN}, None)
    with pytest.raises(SettingsProblem) as bad_token:
        load({}, {"LM_API_TOKEN": f"{TOKEN} {TOKEN}"}, None)
    with pytest.raises(SettingsProblem) as bad_url:
        load({}, {"LMSTUDIO_URL": f"http://me:{TOKEN}@host"}, None)

    assert TOKEN == settings.upstream.token
    shown = [repr(settings), str(describe(settings)), str(bad_token.value), str(bad_url.value)]
    assert [] == [text for text in shown if TOKEN in text]
    assert "set" == describe(settings)["upstream.token"]
    assert "not set" == describe(Settings())["upstream.token"]
    assert "token=not set" in repr(UpstreamSettings())


def test_a_shared_store_is_read_from_a_file_of_its_own(tmp_path: Path) -> None:
    """Its URL may have a password in it."""
    file = tmp_path / "url"
    file.write_text("rediss://:secret@cache:6380/2\n")
    assert (
        "rediss://:secret@cache:6380/2"
        == load({}, {"OLGATE_STORE_URL_FILE": str(file)}, None).store.url
    )


def test_one_store_is_chosen(tmp_path: Path) -> None:
    """The stronger source counts, and two of one source are refused."""
    file = tmp_path / "config.toml"
    file.write_text("[store]\npath = '/tmp/a.db'\n")
    url = {"OLGATE_STORE_URL": "redis://cache"}
    assert (None, "redis://cache") == (
        (store := load({}, url, file).store).path,
        store.url,
    )
    with pytest.raises(SettingsProblem, match="OLGATE_STORE_PATH names a store as well"):
        load({}, url | {"OLGATE_STORE_PATH": "/tmp/a.db"}, None)


@pytest.mark.parametrize("text", ["cache:6379", "http://cache", "redis://", "Redis:cache"])
def test_a_shared_store_has_one_of_some_schemes(text: str) -> None:
    """The sentence names them, and not the value, which may have a password in it."""
    with pytest.raises(SettingsProblem, match="redis://, rediss://, unix://") as raised:
        load({}, {"OLGATE_STORE_URL": text}, None)
    assert "got" not in str(raised.value)
