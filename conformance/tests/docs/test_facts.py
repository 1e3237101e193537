"""Citations and links lead somewhere, and the pages of facts keep their form."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[3]
FACTS = ROOT / "docs" / "facts"
OWN_ROOT = "conformance/tests/codegen/project"
"""The fixture project of the generator's tests: its files cite pages of its own."""
MISTAKEN = "conformance/tests/codegen/bad"
"""What stands there is wrong on purpose, citations too; the generator's own tests judge it."""
NOT_OURS = re.compile(r"\.(?!ci$|github$).*|.*_cache|__pycache__|node_modules|dist|build|target")
"""Folders that tools make, as far as their names tell; only looked at where git is missing."""

CITATION = re.compile(r"(?<![\w./-])(docs/\w[\w./-]*\.md)(?:#([\w-]+))?")
LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
ANCHOR = re.compile(r'<a id="([^"]*)"></a>')
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
FENCE = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n.*?^ *\2`*~*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
BASIS = re.compile(r"^Basis: .*\b(?:high|medium|low|open)\b", re.MULTILINE)

SIGN = "\N{SECTION SIGN}"
ELSEWHERE = re.compile(
    r"\b(?:(?:client|field|parity|wire|fact)[\s#/*]+(?:sheet|notes)|ollama[\s#/*]+sheet)\b"
    rf"(?:[\s#/*,]*{SIGN}[\d.]*)?"
    rf"|(?<!RFC \d{{4}} ){SIGN}|\bdesign of (?:loading|errors)\b|\(checks? \d|, checks? \d"
)
"""Documents that are not in the repository. A section sign stands behind an RFC's number alone."""


def list_files(root: Path, git: str | None) -> tuple[list[str], str]:
    """
    Return the repository's own files by their paths, and where the list comes from.

    `git` is the program, or None. Without it, or outside a work tree, it is every file below
    `root`, less the folders that tools make.
    """
    if git is not None:
        asked = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        told = subprocess.run(asked, cwd=root, capture_output=True, check=False)
        if told.returncode == 0 and told.stdout:
            names = told.stdout.decode().split("\0")
            return sorted({name for name in names if name and (root / name).is_file()}), "git"
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not NOT_OURS.fullmatch(name)]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(found), "a walk through the folder, as git tells nothing here"


def slugs(text: str) -> list[str]:
    """Return the anchors that GitHub gives the headings of a page, in order."""
    seen: Counter[str] = Counter()
    found = []
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", ANCHOR.sub("", heading)).lower()
        slug = re.sub(r"[^\w\- ]", "", plain.strip()).replace(" ", "-")
        found.append(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return all that a link to a page may end in: its own anchors, and those of its headings."""
    text = page.read_text(encoding="utf-8")
    return frozenset([*ANCHOR.findall(text), *slugs(text)])


def what_is_missing(base: Path, target: str, anchor: str | None) -> str | None:
    """Return what a target lacks that is meant from the folder `base`, None when it is there."""
    path = Path(os.path.normpath(base / target))
    if not path.exists():
        return "no such file"
    if anchor and path.suffix == ".md" and anchor not in anchors(path):
        return "no such anchor"
    return None


def complaints(name: str, text: str, root: Path = ROOT) -> Iterator[str]:
    """Yield what is wrong with a file's citations and links, as `file:line: target: reason`."""

    def told(place: int, what: str, reason: str) -> str:
        return f"{name}:{text.count(chr(10), 0, place) + 1}: {what}: {reason}"

    for found in ELSEWHERE.finditer(text):
        yield told(found.start(), found.group(), "cites a document that is not in the repository")
    if name.startswith(f"{MISTAKEN}/"):
        return
    base = root / OWN_ROOT if name.startswith(f"{OWN_ROOT}/") else root
    if name.endswith(".md"):
        prose = FENCE.sub(lambda fence: re.sub(r"[^\n]", " ", fence.group()), text)
        prose = CODE.sub(lambda code: " " * len(code.group()), prose)
        for found in LINK.finditer(prose):
            if not re.match(r"[a-z][a-z0-9+.-]*:", found[1]):
                path, _, anchor = found[1].partition("#")
                folder = (root / name).parent
                if reason := what_is_missing(folder, path or PurePosixPath(name).name, anchor):
                    yield told(found.start(), found[1], reason)
        text = LINK.sub(lambda link: re.sub(r"[^\n]", " ", link.group()), text)
    for found in CITATION.finditer(text):
        if reason := what_is_missing(base, found[1], found[2]):
            yield told(found.start(), found.group(), reason)


def test_citations_and_links_resolve(capsys: pytest.CaptureFixture[str]) -> None:
    """In every file of the repository; none cites a document that is not there."""
    names, source = list_files(ROOT, shutil.which("git"))
    if source != "git":
        with capsys.disabled():
            print(f"\ntest_facts: the files come from {source}")
    wrong: list[str] = []
    citations = 0
    for name in names:
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        citations += len(CITATION.findall(text))
        wrong += complaints(name, text)

    assert not wrong, "\n".join(wrong)
    assert citations > 400, f"only {citations} citations in {len(names)} files from {source}"


def test_the_files_are_found_without_git() -> None:
    """The walk finds at least what git lists, so nothing is passed over where git is missing."""
    walked, source = list_files(ROOT, None)
    assert "git tells nothing" in source
    assert {"docs/facts/README.md", "README.md"} <= set(walked)
    listed, _ = list_files(ROOT, shutil.which("git"))
    assert [] == sorted(set(listed) - set(walked))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("as said (docs" + "/facts/ollama.md#no-such-fact)", "no such anchor"),
        ("x-wire: odd (docs" + "/facts/no-such-page.md#sse)", "no such file"),
        ("# docs" + "/no-such-page.md", "no such file"),
        ("# docs" + "/facts/README.md#nobody-wrote-this", "no such anchor"),
        ("as said (wire" + f" sheet {SIGN}5)", "not in the repository"),
        (f"as said (ollama\n    # sheet {SIGN}1.6)", "not in the repository"),
        (f"follows: handbook {SIGN}2", "not in the repository"),
        ("(field " + "notes)", "not in the repository"),
        ("(client " + "notes, 3)", "not in the repository"),
        ("as told (check" + " 158)", "not in the repository"),
        ("the design of" + " loading", "not in the repository"),
    ],
)
def test_a_wrong_citation_is_found(text: str, reason: str) -> None:
    """The test above can fail, for each kind of mistake."""
    (told,) = complaints("gateway/somewhere.py", f"\n{text}\n")
    assert told.startswith("gateway/somewhere.py:2: ")
    assert reason in told


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[there](ollama.md#embed)", 0),
        ("[there](../traps.md)", 0),
        ("[a `code` word](../rules.md#verbs)", 0),
        ("[here](#how-sure)", 0),
        ("[elsewhere](https://example.org/nothing.md#none)", 0),
        ("`[code](nowhere.md)` and\n```\n[code](nowhere.md)\n```\n", 0),
        ("[there](ollama.md#nowhere)", 1),
        ("[there](nowhere.md)", 1),
        ("![there](nowhere.svg)", 1),
        ("[here](#nowhere) and [there](../nowhere/)", 2),
    ],
)
def test_a_wrong_link_is_found(text: str, wrong: int) -> None:
    """Relative links of a page: to files, folders, headings and anchors."""
    assert wrong == len(list(complaints("docs/facts/README.md", text)))


def test_headings_have_githubs_anchors() -> None:
    """Small letters, hyphens for blanks, no punctuation, and a number for the second of a name."""
    page = "# A `b` c: [d](e.md)!\n\n## Twice\n\n```\n# none\n```\n## Twice\n### /api/v0 & _more_\n"
    assert ["a-b-c-d", "twice", "twice-1", "apiv0--_more_"] == slugs(page)


def pages() -> list[Path]:
    """Return the pages of facts, without their index."""
    return sorted(page for page in FACTS.glob("*.md") if page.name != "README.md")


def mistakes_of(page: str) -> list[str]:
    """Return what is wrong with the form of a page of facts."""
    own = ANCHOR.findall(page)
    wrong = [f"{name}: twice" for name, count in Counter(own).items() if count > 1]
    wrong += [f"{name}: form" for name in own if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)]
    for start in re.split(r'^(?=<a id=")', page, flags=re.MULTILINE)[1:]:
        fact = re.split(r"^## ", start, maxsplit=1, flags=re.MULTILINE)[0]
        name = ANCHOR.match(fact)
        label = name[1] if name else fact.splitlines()[0]
        heading = re.match(r'<a id="[^"]+"></a>\n### (.+)\n\n', fact)
        if heading is None:
            wrong.append(f"{label}: no heading below the anchor")
        if not BASIS.search(fact):
            wrong.append(f"{label}: no basis, or one without a grade")
    # An anchor that a heading elsewhere on the page has too would lead to one of the two.
    for slug in slugs(re.sub(r'^<a id="[^"]+"></a>\n### .+$', "", page, flags=re.MULTILINE)):
        if slug in own:
            wrong.append(f"{slug}: twice")
    return wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_facts_keep_their_form(page: Path) -> None:
    """Each has an anchor of its own, a heading, and says where it comes from and how sure it is."""
    text = page.read_text(encoding="utf-8")
    assert [] == mistakes_of(text)
    assert text.count("\n### ") == len(ANCHOR.findall(text))
    assert f"]({page.name})" in (FACTS / "README.md").read_text(encoding="utf-8")


FACT = '<a id="one"></a>\n### One\n\nA thing.\n\nBasis: observed, Ollama 0.34.4; high.\n\n'


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        (FACT, []),
        (FACT + FACT, ["one: twice"]),
        ("## One\n\n" + FACT, ["one: twice"]),
        (FACT.replace("; high", ""), ["one: no basis, or one without a grade"]),
        (FACT.replace("Basis: ", ""), ["one: no basis, or one without a grade"]),
        (FACT.replace("### One\n", ""), ["one: no heading below the anchor"]),
        (FACT.replace('"one"', '"One Two"'), ["One Two: form"]),
    ],
)
def test_a_malformed_fact_is_found(page: str, wrong: list[str]) -> None:
    """The test above can fail, for each kind of mistake."""
    assert wrong == mistakes_of(page)
