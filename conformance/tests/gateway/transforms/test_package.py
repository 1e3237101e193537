"""Transforms are what the generator and the house style expect them to be."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from gateway import transforms
from gateway.names import fill_markers
from gateway.wire import duration

MODULES = [
    importlib.import_module(f"gateway.transforms.{found.name}")
    for found in pkgutil.iter_modules(transforms.__path__)
]
PUBLIC = {
    name: value
    for module in MODULES
    if not module.__name__.rpartition(".")[2].startswith("_")
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
}


@pytest.mark.parametrize(
    "module", [*MODULES, duration, fill_markers], ids=lambda module: module.__name__
)
def test_examples_are_true(module: ModuleType) -> None:
    """What a docstring shows is what happens."""
    result = doctest.testmod(module)

    assert 0 == result.failed


def test_every_public_function_is_exported_and_nothing_else() -> None:
    """The generator reads the modules, the generated code imports from the package."""
    assert sorted(PUBLIC) == sorted(transforms.__all__)
    assert {name: getattr(transforms, name) for name in PUBLIC} == PUBLIC


@pytest.mark.parametrize("transform", PUBLIC.values(), ids=PUBLIC.keys())
def test_every_transform_is_annotated_and_shows_an_example(transform: Callable[..., Any]) -> None:
    """The generator needs annotations as text, readers need to see a call."""
    node = ast.parse(inspect.getsource(transform)).body[0]

    assert isinstance(node, ast.FunctionDef)
    assert all(item.annotation is not None for item in node.args.args)
    assert node.returns is not None
    assert f"{transform.__name__}(" in (transform.__doc__ or "").partition(">>>")[2]
