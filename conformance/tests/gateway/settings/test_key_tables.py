"""The tables of access keys: read, refused, written, and edited in a file's text."""

from __future__ import annotations

import os
import re
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.settings.key_tables import CannotEdit, with_key, without_key
from gateway.settings.schema import Settings
from gateway.settings.sources import Loaded, SettingsProblem, read
from gateway.settings.written import as_toml

DIGEST = sha256(b"sesame").hexdigest()
OTHER = sha256(b"mellon").hexdigest()


def read_text(folder: Path, text: str, **variables: str) -> Loaded:
    """Read settings from a file with a text."""
    file = folder / "olgate.toml"
    file.write_text(text, "utf-8")
    return read({}, variables, file)


def test_a_key_is_read_with_all_that_it_may(tmp_path: Path) -> None:
    """Its secret is kept as a digest only."""
    secret = tmp_path / "alice"
    secret.write_text("sesame\n", "utf-8")
    secret.chmod(0o600)
    loaded = read_text(
        tmp_path,
        f"""
        [keys.alice]
        secret_file = '{secret}'
        models = ["qwen/*"]
        routes = ["/api/*"]
        max_running = 4
        requests_per_minute = 60
        tokens_per_minute = 10000
        weight = 1.5
        priority = 2
        admin = true
        [keys.bob-2]
        digest = "sha256:{OTHER.upper()}"
        """,
    )
    alice, bob = loaded.settings.keys["alice"], loaded.settings.keys["bob-2"]
    assert (DIGEST, OTHER) == (alice.digest, bob.digest)
    assert (("qwen/*",), ("/api/*",), 4, 60, 10000, 1.5, 2, True) == (
        alice.models,
        alice.routes,
        alice.max_running,
        alice.requests_per_minute,
        alice.tokens_per_minute,
        alice.weight,
        alice.priority,
        alice.admin,
    )
    assert () == loaded.notes
    assert "sesame" not in repr(loaded.settings)
    shown = as_toml(loaded.settings, loaded.sources)
    assert "sesame" not in shown
    assert DIGEST not in shown
    assert 4 == tomllib.loads(shown)["keys"]["alice"]["max_running"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_secret_that_others_can_read_is_told(tmp_path: Path, mode: int) -> None:
    """It is used all the same."""
    secret = tmp_path / "alice"
    secret.write_text("sesame", "utf-8")
    secret.chmod(mode)
    loaded = read_text(tmp_path, f"[keys.alice]\nsecret_file = '{secret}'\n")
    assert DIGEST == loaded.settings.keys["alice"].digest
    (note,) = loaded.notes
    assert "chmod 600" in note


WRONG = [
    ("[keys.alice]\n", "has no secret"),
    ("[keys.alice]\nadmin = true\n", "needs one secret"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nsecret_file = "x"\n', "not both"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nmodel = ["x"]\n', "did you mean models?"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nsecret = "sesame"\n', "unknown key keys.alice.secret"),
    ('[keys.alice]\ndigest = "sesame"\n', "64 hexadecimal digits"),
    ('[keys]\nalice = "sesame"\n', "must be a table"),
    ('keys = "sesame"\n', "must be a section"),
    (f'[keys."a b"]\ndigest = "{DIGEST}"\n', "begins with a letter"),
    (f'[keys.1]\ndigest = "{DIGEST}"\n', "begins with a letter"),
    (f'[keys."alice.x"]\ndigest = "{DIGEST}"\n', "begins with a letter"),
    (f'[keys.a]\ndigest = "{DIGEST}"\n[keys.b]\ndigest = "{DIGEST}"\n', "the same secret"),
    (f'[keys.a]\ndigest = "{DIGEST}"\n[listen]\nkeys = ["sesame"]\n', "the same secret"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nmax_running = -1\n', "at least 0"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\ntokens_per_minute = "many"\n', "whole number"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nmodels = [""]\n', "pattern is empty"),
    (f'[keys.alice]\ndigest = "{DIGEST}"\nroutes = ["!"]\n', "pattern is empty"),
    ('[keys.alice]\nsecret_file = "/nowhere/at/all"\n', "cannot be read"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_a_wrong_table_is_refused_and_quotes_no_secret(
    tmp_path: Path, text: str, says: str
) -> None:
    """The sentence names the place."""
    with pytest.raises(SettingsProblem) as problem:
        read_text(tmp_path, text)
    assert says in str(problem.value)
    assert "sesame" not in str(problem.value)


@pytest.mark.parametrize("content", ["", "  \n", "two\nlines", "a b", "é"])
def test_a_file_needs_one_secret(tmp_path: Path, content: str) -> None:
    """And is not quoted."""
    secret = tmp_path / "alice"
    secret.write_text(content, "utf-8")
    with pytest.raises(SettingsProblem, match="one line with a secret"):
        read_text(tmp_path, f"[keys.alice]\nsecret_file = '{secret}'\n")


def test_only_the_file_has_keys(tmp_path: Path) -> None:
    """A variable would stand in the lists of processes."""
    with pytest.raises(SettingsProblem, match=re.escape("only the settings file can have [keys]")):
        read_text(tmp_path, "", OLGATE_KEYS_ALICE="sesame")


FILE = """# a comment
[listen]
port = 1  # stays

[keys.alice]  # hers
digest = "x"
models = [
  "a",
]

[aliases]
"a" = "b"
"""


def test_a_key_is_added_and_removed_in_place() -> None:
    """Comments and all else stay as they are."""
    added = with_key(FILE, "bob", {"digest": "y", "max_running": 2, "models": ("a", "b")})
    assert added.startswith(FILE)
    expected = {"digest": "y", "max_running": 2, "models": ["a", "b"]}
    assert expected == tomllib.loads(added)["keys"]["bob"]
    assert f"{FILE}\n" == without_key(added, "bob")
    without = without_key(FILE, "alice")
    assert "[aliases]" in without
    assert "# stays" in without
    assert "keys" not in tomllib.loads(without)
    assert {"keys": {"a": {"digest": "z"}}} == tomllib.loads(with_key("", "a", {"digest": "z"}))


@pytest.mark.parametrize(
    "text",
    [
        "keys.alice.digest = 'x'\n",
        "[keys]\nalice = {digest = 'x'}\n",
        "[keys.alice]\ndigest = 'x'\n[keys.alice.more]\nx = 1\n",
    ],
)
def test_what_is_written_otherwise_is_left_to_its_author(text: str) -> None:
    """Nothing is changed then."""
    with pytest.raises(CannotEdit, match="by hand"):
        without_key(text, "alice")


def test_what_is_not_there_is_not_removed_and_what_is_there_not_added() -> None:
    """And a file that is not TOML is not touched."""
    with pytest.raises(CannotEdit, match="no key bob"):
        without_key(FILE, "bob")
    with pytest.raises(CannotEdit, match="already"):
        with_key(FILE, "alice", {"digest": "x"})
    with pytest.raises(CannotEdit, match="not TOML"):
        with_key("[", "alice", {"digest": "x"})


def test_no_keys_by_default() -> None:
    """Then nothing is asked of a client."""
    assert {} == Settings().keys
