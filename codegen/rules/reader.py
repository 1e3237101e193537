"""
Mapping files read: YAML with positions becomes the classes of the rule language.

Reading checks the form only (known keys, forms, keys that exclude or need each other), as the
classes declare it; whether paths and types fit the specs is decided where rules are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from codegen.descriptions.problem import Findings, did_you_mean
from codegen.descriptions.source import Key, Mapping, Scalar, Value, load
from codegen.rules.checks import check_file
from codegen.rules.construct import Construct, construct_of
from codegen.rules.forms import Form
from codegen.rules.groups import Groups
from codegen.rules.model import INCLUDE, MappingFile
from codegen.rules.sharing import share_streams

T = TypeVar("T")


def read_mappings(folder: Path, root: Path, findings: Findings) -> list[MappingFile]:
    """Read every mapping file of a folder, in the order of their names."""
    documents = {
        path.relative_to(root).as_posix(): load(path, root, findings)
        for path in sorted(folder.glob("*.yaml"))
    }
    return mappings_of(documents, findings)


def mappings_of(documents: dict[str, Mapping], findings: Findings) -> list[MappingFile]:
    """Return the mapping files that documents hold, which are known by the files' names."""
    groups = Groups(documents, findings)
    files = [Reader(findings, groups, file).file(document) for file, document in documents.items()]
    groups.finish()
    for file in files:
        check_file(file, findings)
    return share_streams(files, findings)


class Reader:
    """Reads constructs; what has the wrong form is reported and left out."""

    def __init__(self, findings: Findings, groups: Groups, file: str) -> None:
        self.findings = findings
        self._groups = groups
        self._file = file

    def file(self, node: Mapping) -> MappingFile:
        """Return what the file holds; one that is no YAML has been reported already."""
        is_told = any(problem.position.file == self._file for problem in self.findings.problems)
        if not node.entries and is_told:
            self.findings = Findings()
        return self.construct(MappingFile, node, Key(self._file, node.position))

    def construct(self, made: type[T], node: Mapping, key: Key) -> T:
        """Return a construct, having checked its keys."""
        declared = construct_of(made)
        if declared.includes is not None and INCLUDE in node:
            # What a change in a group includes is named where the group stands.
            file = node.position.file
            node = self._groups.fill(node, file, declared.entries, declared.includes)
        self._check_keys(declared, node)
        self._check_together(declared, node)
        for needs in declared.needs:
            if not any(name in node for name in needs.keys) and not (
                needs.unless_misspelt and any(name not in declared.entries for name in node.entries)
            ):
                place = key.position if needs.at_key else node.position
                self.findings.add(needs.check, place, needs.words.format(name=key.text))
        return made(**dict(declared.attributes(node, key, self)))

    def value(self, form: Form[T], value: Value, key: Key, label: str) -> T | None:
        """
        Return what a form reads of a value.

        A value of another form is reported, and what the form has instead is returned.
        """
        if form.takes(value):
            return form.read(value, key, self)
        # A value that is left out has no position but its key's.
        left_out = isinstance(value, Scalar) and value.value is None
        self.findings.add(
            "bad-value",
            key.position if left_out else value.position,
            f"{label} must be {' or '.join(form.called)}",
        )
        return form.instead(value)

    def _check_keys(self, declared: Construct, node: Mapping) -> None:
        for key, _ in node.items():
            if key.text not in declared.entries:
                self.findings.add(
                    "unknown-key",
                    key.position,
                    f"`{key.text}` is not a key of a {declared.title}",
                    hint=did_you_mean(key.text, declared.entries),
                )
        for name, entry in declared.entries.items():
            if entry.required and name not in node:
                self.findings.add(
                    "unknown-key", node.position, f"this {declared.title} lacks `{name}`"
                )

    def _check_together(self, declared: Construct, node: Mapping) -> None:
        for group in declared.exclusive:
            present = [name for name in group if name in node]
            if len(present) > 1:
                self.findings.add(
                    "unknown-key",
                    node.key(present[1]).position,
                    f"`{present[1]}` excludes `{present[0]}`: one field has one way to its value",
                )
        for name, partners in declared.companions.items():
            if name in node and not any(partner in node for partner in partners):
                words = f"`{name}` means nothing here without {_either(partners)}"
                self.findings.add(
                    "unknown-key", node.key(name).position, declared.lonely.get(name, words)
                )


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)
