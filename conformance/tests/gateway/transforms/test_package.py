"""Transforms are what the generator and the house style expect them to be."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

from gateway import transforms

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
