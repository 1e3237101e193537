"""Several hosts in the settings: tables, several addresses, and what wrong ones are told."""

from pathlib import Path

import msgspec
import pytest

from gateway.settings.hosts import hosts_of, serves
from gateway.settings.schema import Settings
from gateway.settings.sources import SettingsProblem, read
from gateway.settings.written import as_toml

TWO = """
[upstream]
token = "common"
connect_timeout_s = 1.5
[hosts.studio]
url = "http://studio.local:1234/v1"
[hosts.tower]
url = "10.0.0.7"
token = "own"
tier = 2
slots = 8
weight = 0.5
models = ["qwen/*", "!*embed*"]
"""


def file_of(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_host_takes_from_upstream_what_its_table_lacks(tmp_path: Path) -> None:
    """Tables stay in order; addresses are read as that of one host is."""
    settings = read({}, {}, file_of(tmp_path, TWO)).settings
    studio, tower = hosts_of(settings).values()

    assert ["studio", "tower"] == list(hosts_of(settings))
    assert ("http://studio.local:1234", "common", 1.5) == (
        studio.url,
        studio.token,
        studio.connect_timeout_s,
    )
    assert ("http://10.0.0.7:1234", "own", 1.5) == (
        tower.url,
        tower.token,
        tower.connect_timeout_s,
    )
    assert (1, 0, 1.0, ()) == (studio.tier, studio.slots, studio.weight, studio.models)
    assert (2, 8, 0.5, ("qwen/*", "!*embed*")) == (
        tower.tier,
        tower.slots,
        tower.weight,
        tower.models,
    )
    assert "http://studio.local:1234" == settings.upstream.url


def test_without_tables_there_is_one_host() -> None:
    """It is named by its address."""
    assert {"127.0.0.1:1234": "http://127.0.0.1:1234"} == {
        name: host.url for name, host in hosts_of(Settings()).items()
    }


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({"upstream.url": ("a.test", "b.test:99")}, {}),
        ({}, {"LMSTUDIO_URL": "a.test, b.test:99"}),
        ({}, {"OLGATE_UPSTREAM_URL": "a.test,b.test:99"}),
    ],
)
def test_several_addresses_are_several_hosts(
    flags: dict[str, object], environ: dict[str, str]
) -> None:
    """Each flag is one, and so is each part between commas of a variable."""
    settings = read(flags, environ, None).settings

    assert {"a.test:1234": "http://a.test:1234", "b.test:99": "http://b.test:99"} == {
        name: host.url for name, host in settings.hosts.items()
    }


def test_addresses_replace_the_hosts_of_the_file(tmp_path: Path) -> None:
    """The stronger source says which hosts there are, and the log says so."""
    loaded = read({"upstream.url": ("http://a.test:1",)}, {}, file_of(tmp_path, TWO))

    assert {} == loaded.settings.hosts
    assert "http://a.test:1" == loaded.settings.upstream.url
    assert ("--upstream replaces the hosts of the settings file",) == loaded.notes


def test_what_is_printed_is_read_back(tmp_path: Path) -> None:
    """But for tokens, which are not shown."""
    loaded = read({}, {}, file_of(tmp_path, TWO.replace('token = "own"', "")))
    shown = as_toml(loaded.settings, loaded.sources)
    assert "common" not in shown
    again = read({}, {"LM_API_TOKEN": "common"}, file_of(tmp_path, shown)).settings

    assert loaded.settings == again


def test_a_token_of_a_host_is_not_shown(tmp_path: Path) -> None:
    """Neither by `olgate config` nor by a representation in a log."""
    loaded = read({}, {}, file_of(tmp_path, TWO))

    assert "# token is set" in as_toml(loaded.settings, loaded.sources)
    assert "own" not in repr(loaded.settings.hosts["tower"])


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    """For one host, as for all."""
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    text = f'[hosts.a]\nurl = "a.test"\ntoken_file = {str(secret)!r}\n'

    assert "from-file" == read({}, {}, file_of(tmp_path, text)).settings.hosts["a"].token


def test_a_gap_between_tiers_is_told(tmp_path: Path) -> None:
    """It works, and is probably not what was meant."""
    loaded = read({}, {}, file_of(tmp_path, TWO.replace("tier = 2", "tier = 4")))

    (note,) = loaded.notes
    assert note.startswith("no host is in tier 2: the next ones are in tier 4")


URL = 'url = "a.test"'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'[upstream]\n{URL}\n[hosts.a]\nurl = "b.test"\n', "give it a table of its own"),
        ("[hosts.a]\ntier = 2\n", "the host has no address: write url ="),
        (f"[hosts.a]\n{URL}\nteir = 2\n", "did you mean tier?"),
        (f"[hosts.a]\n{URL}\ntier = 0\n", "expected a whole number of at least 1, got 0"),
        (f"[hosts.a]\n{URL}\nweight = 0\n", "expected a number above 0, got 0"),
        (f"[hosts.a]\n{URL}\nslots = -1\n", "expected a whole number of at least 0, got -1"),
        (f'[hosts.a]\n{URL}\nmodels = ["!*"]\n', "these patterns leave no model"),
        (f'[hosts.a]\n{URL}\nmodels = ["x", "!x"]\n', "these patterns leave no model"),
        (f'[hosts.a]\n{URL}\nmodels = ["!"]\n', "a pattern is empty"),
        (f'[hosts."a b"]\n{URL}\n', "a host's name has letters, digits"),
        ("[hosts]\nlist_wait_s = 1\n", "in [upstream] or [fleet]"),
        (f'[hosts.a]\n{URL}\ntoken = "t"\ntoken_file = "f"\n', "remove one of them"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """One sentence says what to write."""
    with pytest.raises(SettingsProblem) as caught:
        read({}, {}, file_of(tmp_path, text))

    assert says in str(caught.value)


def test_a_variable_cannot_name_hosts() -> None:
    """Only the file can."""
    with pytest.raises(SettingsProblem, match=r"only the settings file can have \[hosts\]"):
        read({}, {"OLGATE_HOSTS_A_URL": "x"}, None)


@pytest.mark.parametrize(
    ("patterns", "name", "is_used"),
    [
        ((), "any/model", True),
        (("qwen/*",), "Qwen/qwen3-8b", True),
        (("qwen/*",), "google/gemma", False),
        (("!*embed*",), "google/gemma", True),
        (("!*embed*",), "nomic-embed", False),
        (("qwen/*", "!*-32b"), "qwen/qwen3-32b", False),
    ],
)
def test_patterns_choose_models(patterns: tuple[str, ...], name: str, is_used: bool) -> None:
    """Letter case makes no difference; leaving out wins."""
    assert is_used is serves(patterns, name)


def test_settings_of_hosts_are_plain_values() -> None:
    """They are compared at a reload."""
    some = msgspec.convert({"hosts": {"a": {"url": "http://a"}}}, Settings)

    assert some == msgspec.convert({"hosts": {"a": {"url": "http://a"}}}, Settings)
