"""
Types that Python functions declare, read from their text.
"""

from __future__ import annotations

import re

from codegen.descriptions.spec import Specs
from codegen.descriptions.types import AnyType, ArrayType, ScalarType, StructType, Type


def declared_type(text: str, specs: Specs) -> Type:
    """
    Return the type behind a transform's returned annotation, as far as paths go into it.

    `internal.Speech` and `list[internal.Call]` are followed; anything else is opaque.
    """
    text = re.sub(r"\s*\|\s*(UnsetType|None)", "", text).strip()
    listed = re.fullmatch(r"list\[(.+)\]", text)
    if listed:
        return ArrayType(declared_type(listed[1], specs))
    named = re.fullmatch(r"(\w+)\.(\w+)", text)
    if named and named[2] in specs.components(named[1]):
        return StructType(named[1], named[2])
    scalars: dict[str, Type] = {
        "str": ScalarType("string"),
        "int": ScalarType("integer"),
        "float": ScalarType("number"),
        "bool": ScalarType("boolean"),
    }
    return scalars.get(text, AnyType())
