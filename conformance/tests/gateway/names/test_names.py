"""Names follow Ollama's grammar, and lead from LM Studio's keys and back."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.names.grammar import Name, parse
from gateway.names.keys import (
    IrreversibleName,
    canonical,
    key_of,
    split_instance,
    split_variant,
)
from gateway.names.suggestions import looks_suspicious, nearest

HOST = "registry.ollama.ai"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("llama3", (HOST, "library", "llama3", "latest")),
        ("llama3:8b", (HOST, "library", "llama3", "8b")),
        ("user/foo.1_2-x:Q4_K_M", (HOST, "user", "foo.1_2-x", "Q4_K_M")),
        ("hf.co/ns/model:Q4", ("hf.co", "ns", "model", "Q4")),
        ("localhost:5000/ns/model", ("localhost:5000", "ns", "model", "latest")),
        ("https://hf.co/ns/model", ("hf.co", "ns", "model", "latest")),
        ("https:///ns/model", (HOST, "ns", "model", "latest")),
        ("_x/_y:_z", (HOST, "_x", "_y", "_z")),
        ("h" * 350 + "/" + "/".join(["n" * 80] * 2), ("h" * 350, "n" * 80, "n" * 80, "latest")),
        ("m:" + "t" * 80, (HOST, "library", "m", "t" * 80)),
    ],
)
def test_legal_names_are_cut_into_their_parts(text: str, parts: tuple[str, ...]) -> None:
    """Parts are cut from the right, defaults fill the rest."""
    assert Name(*parts) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " foo",
        "a b",
        "foo:",
        ":foo",
        "/foo",
        "foo/",
        "a//b",
        "foo/:tag",
        "a/b/c/d",
        "https://model",
        "http://ns/model",
        "foo@q4_k_m",
        "foo@sha256:abc",
        "foo:cloud:local",
        "my.org/foo",
        "-foo",
        ".foo",
        "foo:-tag",
        "foo:.tag",
        "-ns/foo",
        ".host/ns/foo",
        "fóo",
        "foo\n",
        "m" * 81,
        "n" * 81 + "/m",
        "h" * 351 + "/n/m",
        "m:" + "t" * 81,
    ],
)
def test_illegal_names_are_none(text: str) -> None:
    """Empty parts, wrong first characters, foreign characters and over-long parts are illegal."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("llama3", "llama3:latest"),
        ("Registry.Ollama.AI/Library/llama3:8b", "llama3:8b"),
        ("registry.ollama.ai/user/foo", "user/foo:latest"),
        ("hf.co/library/foo", "hf.co/library/foo:latest"),
    ],
)
def test_the_display_form_leaves_defaults_out(text: str, display: str) -> None:
    """The tag is always shown; next to a foreign host the namespace is, too."""
    name = parse(text)
    assert name is not None
    assert display == name.display


def test_full_and_folded_forms_name_every_part() -> None:
    """The folded form is what lookups compare."""
    name = parse("User/Foo:7B")
    assert name is not None
    assert "registry.ollama.ai/User/Foo:7B" == name.full
    assert "registry.ollama.ai/user/foo:7b" == name.folded


@pytest.mark.parametrize(
    ("key", "variant", "name"),
    [
        ("qwen/qwen3-8b", None, "qwen/qwen3-8b:latest"),
        ("qwen/qwen3-8b", "q4_k_m", "qwen/qwen3-8b:q4_k_m"),
        ("qwen2.5-7b-instruct", None, "qwen2.5-7b-instruct:latest"),
        ("lmstudio-community/Foo-GGUF", None, "lmstudio-community/Foo-GGUF:latest"),
        (
            "text-embedding-nomic-embed-text-v1.5",
            None,
            "text-embedding-nomic-embed-text-v1.5:latest",
        ),
        ("deepseek-ai.deepseek-r1", "4bit", "deepseek-ai.deepseek-r1:4bit"),
        ("01.ai/yi", None, "01_x2e_ai/yi:latest"),
        ("foo@q4", None, "foo_x40_q4:latest"),
        ("foo:2", None, "foo_x3a_2:latest"),
        ("my model", None, "my_x20_model:latest"),
        ("foo", "latest", "foo:_x6c_atest"),
        ("foo", "cloud", "foo:_x63_loud"),
        ("foo", "7b-cloud", "foo:7b_x2d_cloud"),
        ("library/foo", None, "_x6c_ibrary/foo:latest"),
        ("registry.ollama.ai/library/x", None, "_x72_egistry.ollama.ai/library/x:latest"),
        ("a/b/c", None, "a/b/c:latest"),
        ("a/b/c/d", None, "a_x2f_b/c/d:latest"),
        ("/home/u/m.gguf", None, "_x2f_home/u/m.gguf:latest"),
        ("C:\\m\\x.gguf", None, "C_x3a5c_m_x5c_x.gguf:latest"),
        ("模型", None, "_xe6a8a1e59e8b_:latest"),
        ("", "", "_x_:_x_"),
    ],
)
def test_canonical_names_are_stable(key: str, variant: str | None, name: str) -> None:
    """Clients store these names: they must not change from one version to the next."""
    assert name == canonical(key, variant)
    assert (key, variant) == key_of(name)


def test_a_long_path_is_cut_in_two_and_put_together_again() -> None:
    """A path of Windows outgrows a single part of a name."""
    key = "C:\\Users\\someone\\.cache\\lm-studio\\models\\publisher\\Some-Model-7B-GGUF\\model.gguf"
    name = canonical(key)
    assert "/_xj_/" in name
    assert parse(name) is not None
    assert (key, None) == key_of(name)


def test_a_key_beyond_all_bounds_gets_a_digest() -> None:
    """Where no name is long enough, names are legal and different, and not reversible."""
    names = {canonical("deep/" * 100 + end, end * 90) for end in "ab"}
    assert 2 == len(names)
    for name in names:
        assert parse(name) is not None
        with pytest.raises(IrreversibleName):
            key_of(name)


def test_names_that_clients_write_lead_to_keys() -> None:
    """Defaults may be left out or spelt out; escapes may come in any letter case."""
    assert ("foo", None) == key_of("foo")
    assert ("foo", None) == key_of("registry.ollama.ai/library/foo:LATEST")
    assert ("a.b/foo", "x") == key_of("a_X2E_b/foo:x")
    assert ("foo_xff_", None) == key_of("foo_xff_")
    assert ("foo_xj_", None) == key_of("foo_xj_")


def test_an_illegal_name_has_no_key() -> None:
    """The caller is to check first."""
    with pytest.raises(ValueError, match="a b"):
        key_of("a b")


# Pieces that meet every rule of the grammar and of the escapes, in any order.
pieces = st.sampled_from(
    [
        *["a", "B", "7", "_", "-", ".", "/", ":", "@", " ", "\\", "é", "\0", "x", "_x2e_", "_x"],
        *["_xj_", "_x_", "_X2E_", "_xh" + "0" * 40 + "_", "2e", "_x41", "library", "latest"],
        *["registry.ollama.ai", "LATEST", "cloud", "-cloud", "local", "https://"],
    ]
)
words = st.lists(pieces, max_size=6).map("".join)
free_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = words | free_texts | st.lists(words, max_size=5).map("/".join)
long_keys = st.lists(words, min_size=6, max_size=9).map("/".join)
variants = st.none() | st.lists(pieces, max_size=3).map("".join) | free_texts


def is_reversible(name: str) -> bool:
    """Whether a name holds its key rather than a digest."""
    try:
        key_of(name)
    except IrreversibleName:
        return False
    return True


@settings(deadline=None, max_examples=400)
@given(keys | long_keys, variants)
@example("_x41", "_x41-cloud")
@example("_xj_/foo", "_x_")
@example("a/_xj_/b", None)
@example("_xa@", None)
def test_a_name_leads_back_to_its_key(key: str, variant: str | None) -> None:
    """Every key has a legal name in display form that leads back to it."""
    name = canonical(key, variant)
    parsed = parse(name)
    assert parsed is not None
    assert name == parsed.display
    # Only what can't fit has a digest: escaped, a character takes at most eight.
    if is_reversible(name) or (len(key) <= 50 and len(variant or "") <= 9):
        assert (key, variant) == key_of(name)


@settings(deadline=None, max_examples=300)
@given(keys, variants, keys, variants)
def test_different_keys_have_different_names(
    key: str, variant: str | None, other_key: str, other_variant: str | None
) -> None:
    """Names that lookups take for one belong to keys that differ in letter case at most."""
    names = [parse(canonical(key, variant)), parse(canonical(other_key, other_variant))]
    if names[0] and names[1] and names[0].folded == names[1].folded:
        assert (key.lower(), variant is None) == (other_key.lower(), other_variant is None)
        assert (variant or "").lower() == (other_variant or "").lower()


@settings(deadline=None, max_examples=200)
@given(st.text("aA_xX2eEjJ.@/", max_size=8), st.text("aA_xX2eEjJ.@/", max_size=8))
@example("_X2E_a", ".a")
def test_escapes_are_no_other_keys_letters(key: str, other: str) -> None:
    """A key that looks like another one's escaped form gets a name of its own."""
    if key.lower() != other.lower():
        names = [parse(canonical(text)) for text in (key, other)]
        assert names[0]
        assert names[1]
        assert names[0].folded != names[1].folded


@settings(deadline=None, max_examples=200)
@given(words | free_texts)
def test_any_text_is_a_name_or_none(text: str) -> None:
    """Whatever clients send is legal, with a stable display form and a key, or None."""
    parsed = parse(text)
    if parsed is not None:
        again = parse(parsed.display)
        assert again is not None
        assert (parsed.display, parsed.folded) == (again.display, again.folded)
        assert not is_reversible(text) or key_of(text) == key_of(parsed.full)


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("foo@q4_k_m", ("foo", "q4_k_m")),
        ("qwen/foo@4bit", ("qwen/foo", "4bit")),
        ("foo", ("foo", None)),
        ("@q4", ("@q4", None)),
        ("foo@", ("foo@", None)),
        ("a@b@c", ("a@b", "c")),
        ("me@home/model", ("me@home/model", None)),
    ],
)
def test_variants_are_cut_off_keys(key: str, parts: tuple[str, str | None]) -> None:
    """The last @ names a variant, unless it is part of a path."""
    assert parts == split_variant(key)


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("qwen/foo:2", ("qwen/foo", 2)),
        ("foo@q4:13", ("foo@q4", 13)),
        ("foo", ("foo", None)),
        ("foo:1", ("foo:1", None)),
        ("foo:02", ("foo:02", None)),
        ("foo:7b", ("foo:7b", None)),
        ("foo:20240101", ("foo:20240101", None)),
        (":2", (":2", None)),
    ],
)
def test_instances_are_cut_off_ids(identifier: str, parts: tuple[str, int | None]) -> None:
    """LM Studio counts instances from the second on."""
    assert parts == split_instance(identifier)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("deepseek-r1:2", "'deepseek-r1'"),
        ("C:/Users/someone", "path"),
        ("/home/someone/model", "path"),
        ("home/someone/model", "path"),
        ("models\\foo", "path"),
        ("publisher/model.GGUF", "file"),
    ],
)
def test_suspicious_names_get_a_sentence(name: str, word: str) -> None:
    """The sentence names what is odd about the name."""
    sentence = looks_suspicious(name)
    assert sentence is not None
    assert name in sentence.replace("\\\\", "\\")
    assert word in sentence


@pytest.mark.parametrize("name", ["llama3", "deepseek-r1:7b", "qwen/qwen3-8b", "hf.co/a/b:Q4_K_M"])
def test_ordinary_names_are_not_suspicious(name: str) -> None:
    """No noise in the log for what clients usually send."""
    assert looks_suspicious(name) is None


KNOWN = [
    "qwen/qwen3-8b:latest",
    "google/gemma-3-1b:latest",
    "text-embedding-nomic-embed-text-v1.5:latest",
    "deepseek-r1:latest",
]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("QWEN/QWEN3-8B:LATEST", "qwen/qwen3-8b:latest"),
        ("qwen3", "qwen/qwen3-8b:latest"),
        ("gemma3:1b", "google/gemma-3-1b:latest"),
        ("nomic-embed-text", "text-embedding-nomic-embed-text-v1.5:latest"),
        ("DeepSeek-R1:7b", "deepseek-r1:latest"),
    ],
)
def test_the_nearest_name_comes_first(name: str, best: str) -> None:
    """Publishers, tags and letter case do not hide a likeness."""
    assert best == nearest(name, KNOWN)[0]


@pytest.mark.parametrize("name", ["", "  ", "zzz", "q" * 100_000])
def test_nothing_near_is_an_empty_list(name: str) -> None:
    """No guess is better than a far one, and nobody makes us compare a book."""
    assert [] == nearest(name, KNOWN)


def test_no_more_names_than_asked_for() -> None:
    """The order is by likeness, then by name."""
    known = ["model-c", "model-b", "model-a", "mode"]
    assert ["model-a", "model-b"] == nearest("model-x", known, 2)
    assert [] == nearest("model-x", [])
