"""
`python -m codegen.upstream_diff FILE [--api NAME] [--all]`: the command.

FILE is a vendor's OpenAPI 3 document in YAML or JSON, or a page in Markdown with tables and
examples of fields. Of answers those with a 2xx status are compared. Not compared: formats, bounds,
patterns, defaults, headers and descriptions.

Exit codes: 0 when nothing differs that is listed, 1 when something differs or a part could not be
read, 2 when FILE can't be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen.__main__ import ROOT
from codegen.descriptions.problem import GenerationFailed, render
from codegen.generator import Generator
from codegen.upstream_diff.apis import Apis, Change, shared
from codegen.upstream_diff.document import (
    Document,
    UnreadableDocument,
    own_document,
    read_document,
    read_text,
)
from codegen.upstream_diff.markdown import read_page
from codegen.upstream_diff.mentions import shared_with, unknown_names
from codegen.upstream_diff.operations import bases, check_openapi
from codegen.upstream_diff.report import Known, lines

APIS = ("ollama", "openai", "lmstudio")
PAGES = (".md", ".mdx", ".markdown")


def main(arguments: list[str] | None = None) -> int:
    """Print the differences; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="upstream-diff",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--api", choices=APIS, help="guessed from the operations when left out")
    parser.add_argument(
        "--all",
        action="store_true",
        help="also list where theirs allows less without saying anything new, such as no null",
    )
    options = parser.parse_args(arguments)
    try:
        generator = Generator(ROOT)
        generator.compile()
    except GenerationFailed as failure:
        print(render(failure.problems, ROOT), file=sys.stderr)
        return 2
    own = {api: own_document(generator.specs.documents[api], ROOT / "specs") for api in APIS}
    try:
        api, changes = _compared(options.file, options.api, own)
    except (OSError, UnreadableDocument) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        print(f"{options.file}: {text}", file=sys.stderr)
        return 2
    except RecursionError:
        print(f"{options.file}: its types are nested too deeply", file=sys.stderr)
        return 2
    shown = [change for change in changes if options.all or not change.difference.minor]
    unread = sum(change.difference.kind == "unread" for change in shown)
    counts = f"{len(shown) - unread} difference(s), {unread} part(s) not read"
    hidden = len(changes) - len(shown)
    counts += f", {hidden} that say nothing new (--all lists them)" if hidden else ""
    print(f"{options.file} against specs/{api}.yaml: {counts}")
    for line in lines(shown, Known(generator, api, own[api])):
        print(line)
    return 1 if shown else 0


def _compared(file: Path, stated: str | None, own: dict[str, Document]) -> tuple[str, list[Change]]:
    if file.suffix.lower() in PAGES:
        page = read_page(read_text(file))
        if not page.endpoints:
            raise UnreadableDocument("it names no endpoint, such as `POST /api/chat` in a heading")
        api = _nearest({name: shared_with(one, page) for name, one in own.items()}, stated)
        return api, unknown_names(own[api], page)
    theirs = read_document(file)
    check_openapi(theirs)
    found = {name: shared(one, theirs) for name, one in own.items()}
    api = _nearest({name: count for name, (count, _) in found.items()}, stated)
    base = found[api][1]
    if base != bases(theirs)[0]:
        print(f"its paths are taken as below `{base or '/'}`, which its servers do not say")
    return api, Apis(own[api], theirs, base).changes()


def _nearest(shared_by: dict[str, int], stated: str | None) -> str:
    api = stated or max(shared_by, key=lambda name: shared_by[name])
    if not stated and not shared_by[api]:
        names = ", ".join(f"specs/{name}.yaml" for name in shared_by)
        raise UnreadableDocument(f"it has no operation of {names}; --api compares it all the same")
    return api


if __name__ == "__main__":
    raise SystemExit(main())
