"""
Looking into the generated gateway while cases run: which rules were used, and one of them broken.

The modules of gateway/plans and gateway/calls are imported through here with a probe at every place
that a rule compiles into: each field given to a struct, each branch. A probe notes that it was
passed, and for one chosen field it can do what a wrong rule would do. Which cases must notice is
for `conformance.mutants`; nothing here knows a case.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

import msgspec
from msgspec import UNSET

PACKAGES = ("gateway.plans", "gateway.calls")
APIS = ("ollama", "openai", "lmstudio", "internal")
PLAIN = ("endpoints", "__init__")
"""Modules without rules."""

MEMBERS = "members"
"""The API of a site that gives values to members of what is passed on."""

Kind = Literal["drop", "wrong", "swap"]


@dataclass(frozen=True)
class Site:
    """
    One struct made in one function: `chat.ChatStream.end ollama:ChatResponse`.

    Or the members that one change of what is passed on gives values to: `v1_chat.request_model
    members`.
    """

    name: str
    module: str
    api: str
    line: int


@dataclass(frozen=True)
class Mutation:
    """One broken rule: what is done to a field of the struct made at a site."""

    site: str
    field: str
    kind: Kind
    partner: str = ""

    @property
    def name(self) -> str:
        """Return the name that lists call it by."""
        partner = f" {self.partner}" if self.partner else ""
        return f"{self.site}.{self.field} {self.kind}{partner}"


@dataclass
class Probes:
    """What there is to pass, what was passed since the last `forget`, and the broken rule."""

    sites: dict[str, Site] = field(default_factory=dict)
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, type] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    partners: dict[str, set[str]] = field(default_factory=dict)
    broken: Mutation | None = None

    def forget(self) -> set[str]:
        """Return the names of the fields and branches passed, and begin anew."""
        seen, self.seen = self.seen, set()
        return seen

    def make(self, site: str, kind: Callable[..., Any], /, **fields: Any) -> Any:
        """Make a struct in place of the generated code, by the broken rule if it is this one."""
        given = {name: value for name, value in fields.items() if value is not UNSET}
        for name in given:
            self.seen.add(f"{site}.{name}")
        if site not in self.kinds and isinstance(kind, type):
            self.kinds[site] = kind
        self._note_partners(site, given)
        broken = self.broken
        if broken is not None and broken.site == site and broken.field in given:
            fields = _break(broken, fields)
        return kind(**fields)

    def patch(self, site: str, values: dict[str, Any]) -> dict[str, Any]:
        """Note the members that a change gives values to, and give them back, one broken."""
        given = {name: value for name, value in values.items() if value is not UNSET}
        for name in given:
            self.seen.add(f"{site}.{name}")
        self._note_partners(site, given)
        broken = self.broken
        if broken is not None and broken.site == site and broken.field in given:
            return _break(broken, values)
        return values

    def branch(self, name: str) -> None:
        """Note that a branch was taken."""
        self.seen.add(name)

    def keep(self, site: str, value: Any) -> Any:
        """Note a value that a fold sets, and give it back: broken, if it is the one."""
        name = site.rpartition(".")[2]
        if value is UNSET:
            return value
        self.seen.add(site)
        broken = self.broken
        if broken is not None and f"{broken.site}.{broken.field}" == site:
            return _break(broken, {name: value}).get(name, UNSET)
        return value

    def _note_partners(self, site: str, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            for other, another in given.items():
                if other != name and type(value) is type(another) and value != another:
                    self.partners.setdefault(f"{site}.{name}", set()).add(other)


def _break(broken: Mutation, fields: dict[str, Any]) -> dict[str, Any]:
    name = broken.field
    match broken.kind:
        case "drop":
            return {key: value for key, value in fields.items() if key != name}
        case "wrong":
            return {**fields, name: _wrong_for(fields[name])}
        case "swap":
            other = broken.partner
            if type(fields.get(other)) is not type(fields[name]):
                return fields
            return {**fields, name: fields[other], other: fields[name]}


def _wrong_for(value: Any) -> Any:
    """
    Return a constant of another JSON type than a value's.

    >>> _wrong_for("text"), _wrong_for(3), _wrong_for(True)
    (7, 'wrong', 'wrong')
    """
    if isinstance(value, str):
        return 7
    if isinstance(value, msgspec.Raw):
        return 7 if bytes(value)[:1] == b'"' else "wrong"
    return "wrong"


def wire_name(kind: type, name: str) -> str:
    """Return what a struct's field is called in JSON."""
    names: dict[str, str] = dict(
        # msgspec's own attributes, which `type` does not show.
        zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)  # type: ignore[attr-defined]
    )
    return names[name]


def can_be_left_out(kind: type, name: str) -> bool:
    """Say whether a struct can be made without a field; else codegen refuses to drop its rule."""
    return any(one.name == name and not one.required for one in msgspec.structs.fields(kind))


# -- putting them in -------------------------------------------------------------------------------


class _Placer(ast.NodeTransformer):
    """Puts probes into the functions of one generated module."""

    def __init__(self, module: str, path: str, probes: Probes) -> None:
        self._module = module
        self._file = "/".join(Path(path).parts[-3:])
        self._probes = probes
        self._where: list[str] = [module]
        self._names: dict[str, int] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._where.append(node.name)
        node.body = [self.visit(part) for part in node.body]
        name = self._unique(".".join(self._where))
        docstring = ast.get_docstring(node) is not None
        node.body.insert(1 if docstring else 0, self._mark(name, node.lineno))
        self._where.pop()
        return node

    def _inside(self, node: ast.ClassDef) -> ast.AST:
        self._where.append(node.name)
        node.body = [self.visit(part) for part in node.body]
        self._where.pop()
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        test = ast.unparse(node.test)
        node.test = self.visit(node.test)
        name = self._unique(f"{'.'.join(self._where)} if {test}")
        node.body = [self._mark(name, node.lineno), *(self.visit(part) for part in node.body)]
        if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            node.orelse = [self.visit(node.orelse[0])]
        elif node.orelse:
            name = self._unique(f"{'.'.join(self._where)} unless {test}")
            line = node.orelse[0].lineno
            node.orelse = [self._mark(name, line), *(self.visit(part) for part in node.orelse)]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and self._where[-1] == "result":
            place = ast.unparse(target)
            self._add_site(".".join(self._where), "fold", node.lineno)
            leaf = place.removeprefix("last.").replace(".", "_")
            name = f"{'.'.join(self._where)}.{leaf}"
            self._probes.fields[name] = (".".join(self._where), leaf)
            node.value = _call("keep", [ast.Constant(name), node.value], [])
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        names = [
            key.value
            for key in (node.value.keys if isinstance(node.value, ast.Dict) else ())
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
        if names and node.value is not None:
            # Only what is changed of a request or answer that is passed on is a dictionary.
            site = self._unique(f"{'.'.join(self._where)} {MEMBERS}")
            self._add_site(site, MEMBERS, node.lineno)
            for name in names:
                self._probes.fields[f"{site}.{name}"] = (site, name)
            node.value = _call("patch", [ast.Constant(site), node.value], [])
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        made = node.func
        if not (
            isinstance(made, ast.Attribute)
            and isinstance(made.value, ast.Name)
            and made.value.id in APIS
            and node.keywords
            and not node.args
        ):
            return node
        site = self._unique(f"{'.'.join(self._where)} {made.value.id}:{made.attr}")
        self._add_site(site, made.value.id, node.lineno)
        for keyword in node.keywords:
            assert keyword.arg is not None
            self._probes.fields[f"{site}.{keyword.arg}"] = (site, keyword.arg)
        return _call("make", [ast.Constant(site), made], node.keywords)

    def _add_site(self, name: str, api: str, line: int) -> None:
        self._probes.sites[name] = Site(name, self._module, api, line)

    def _mark(self, name: str, line: int) -> ast.stmt:
        self._probes.branches[name] = f"{self._file}:{line}"
        return ast.Expr(_call("branch", [ast.Constant(name)], []))

    def _unique(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name} #{count}"


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
    function = ast.Attribute(ast.Name("__probes__", ast.Load()), name, ast.Load())
    return ast.Call(function, arguments, keywords)


def compile_with_probes(source: str | bytes, path: str, module: str, probes: Probes) -> CodeType:
    """Compile a generated module's text; it must find the probes as `__probes__` when it runs."""
    tree = _Placer(module, path, probes).visit(ast.parse(source, path))
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _ProbingLoader(SourceFileLoader):
    """Compiles a generated module with probes in it, and keeps nothing of that on disk."""

    probes: Probes

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        module = fullname.rpartition(".")[2]
        return compile_with_probes(self.get_data(path), path, module, self.probes)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__probes__"] = self.probes
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package not in PACKAGES or name in PLAIN:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        loader = _ProbingLoader(fullname, spec.origin)
        loader.probes = self._probes
        spec.loader = loader
        assert isinstance(spec.loader, Loader)
        return spec


def place_probes() -> Probes:
    """
    Have the generated modules imported with probes from now on, for the rest of the process.

    Raises RuntimeError when one of them has been imported already: it would be without.
    """
    early = [
        name
        for name in sys.modules
        if name.rpartition(".")[0] in PACKAGES and name.rpartition(".")[2] not in PLAIN
    ]
    if early:
        raise RuntimeError(f"imported before the probes were placed: {', '.join(early)}")
    probes = Probes()
    sys.meta_path.insert(0, _Finder(probes))
    return probes
