"""What `olgate config` prints is read back as the same settings, whatever they are."""

import math
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.settings.hints import NO_LIMIT, accepts
from gateway.settings.paths import HINTS, SECTIONS
from gateway.settings.schema import SECRETS, PortSettings, Settings
from gateway.settings.sources import SettingsProblem, read
from gateway.settings.written import as_comment, as_toml, as_value

FILES = {path for path in HINTS if path.endswith("_file")}
"""Settings that name a file, which has to be there: they are stated as they are, anyway."""

ODD_TEXTS = st.one_of(
    st.sampled_from(["a", "é ü", 'quo"te', "back\\slash", "tab\t", "line\nbreak", "del\x7f", "#"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
NAMES = st.sampled_from(["gpt-4", "a/b:c", "x.y", "gpt-4o:mini", "host.example/a/b:q4"])
TEXTS: dict[str, st.SearchStrategy[Any]] = {
    "listen.host": st.sampled_from(["", "::", "0.0.0.0", "mac.local"]),
    "listen.origins": st.just(("https://a.test", "app://*")),
    "listen.proxies": st.just(("10.0.0.0/8", "::1/128")),
    "listen.more": st.sampled_from(
        [(), (PortSettings(port=1, key="a"), PortSettings(port=0, key="b", host="::1", tls=False))]
    ),
    "upstream.url": st.sampled_from(["http://h:1", "https://h/x", "http://[::1]:1234"]),
    "answers.version": st.sampled_from(["0.12", "1.2.3.4"]),
    "models.keep_alive": st.sampled_from(["0", "-1", "1h30m", "90"]),
    "models.unknown": st.one_of(st.sampled_from(["refuse", "nearest"]), ODD_TEXTS),
    "models.insert_architectures": st.lists(ODD_TEXTS, max_size=3).map(tuple),
    "downloads.to": st.sampled_from([("best",), ("all",), ("studio", "tower")]),
    "listen.tls_certificate": st.one_of(st.none(), st.just("/tmp/a.pem")),
    "listen.tls_key": st.one_of(st.none(), st.just("/tmp/a.pem")),
    "store.prefix": st.sampled_from(["team-a", "a.b_c"]),
    "store.path": st.one_of(st.none(), st.sampled_from(["/tmp/a.db", '/tmp/odd \x7f\n"name'])),
}


def values_of(path: str) -> st.SearchStrategy[Any]:
    """Return values that a setting can have."""
    hint = HINTS[path]
    if path in TEXTS:
        return TEXTS[path]
    if accepts(hint, bool):
        return st.booleans()
    literals = [each for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
    if literals:
        return st.sampled_from(get_args(literals[0]))
    some: st.SearchStrategy[Any] = st.sampled_from([1, 7, 60])
    if not accepts(hint, int):
        some = st.sampled_from([1.0, 0.25, 1.5, 59.875])
    if path in NO_LIMIT:
        return st.one_of(st.just(NO_LIMIT[path]), some)
    return some


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    """Draw settings; secrets are not set, since nothing shows them."""
    sections: dict[str, Any] = {
        name: kind(
            **{
                key: draw(values_of(f"{name}.{key}"), label=f"{name}.{key}")
                for key in kind.__struct_fields__
                if f"{name}.{key}" not in SECRETS | FILES and draw(st.booleans())
            }
        )
        for name, kind in SECTIONS.items()
    }
    maps = st.dictionaries(NAMES, ODD_TEXTS, max_size=2)
    return Settings(**sections, aliases=draw(maps), pull=draw(maps))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some=any_settings(), source=ODD_TEXTS)
@example(some=Settings(), source="default")
def test_what_is_printed_is_read_back(some: Settings, source: str, tmp_path: Path) -> None:
    """No limit, a store in memory and odd characters included, wherever a value comes from."""
    file = tmp_path / "config.toml"
    sources = dict.fromkeys(HINTS, source)
    sources |= {
        f"{each}.{key}": source for each in ("aliases", "pull") for key in getattr(some, each)
    }
    file.write_bytes(as_toml(some, sources).encode())

    assert some == read({}, {}, file).settings


@pytest.mark.parametrize("path", sorted(NO_LIMIT))
@pytest.mark.parametrize("text", ["0", "inf"])
def test_no_limit_has_two_spellings(path: str, text: str, tmp_path: Path) -> None:
    """Infinity is what a file can say as well, where 0 is no limit in seconds."""
    section, _, key = path.partition(".")
    file = tmp_path / "config.toml"
    file.write_text(f"[{section}]\n{key} = {text}\n")
    if accepts(HINTS[path], int) and text == "inf":
        with pytest.raises(SettingsProblem):
            read({}, {}, file)
        return
    found = read({}, {}, file).settings

    assert NO_LIMIT[path] == getattr(getattr(found, section), key)


@given(ODD_TEXTS)
def test_a_text_is_written_as_toml_reads_it(text: str) -> None:
    """As a value, and after a value as a comment."""
    assert {"a": text, "b": 1} == tomllib.loads(f"a = {as_value(text)}{as_comment(text)}\nb = 1")


def test_infinity_is_the_only_odd_number() -> None:
    """Whole numbers of seconds are written as such."""
    assert ["inf", "60", "0.5"] == [as_value(each) for each in (math.inf, 60.0, 0.5)]
    assert 60.0 == msgspec.convert(60, float)
