"""The names of the tools that a request that is passed on offers."""

from __future__ import annotations

from msgspec import Raw, UnsetType

from ..wire.lenient import parse_lenient


def tool_names(tools: Raw | UnsetType) -> list[str]:
    """
    Return the names of raw tools; what is no tool has none.

    >>> tool_names(Raw(b'[{"type":"function","function":{"name":"f"}},1]'))
    ['f']
    """
    offered = None if isinstance(tools, UnsetType) else parse_lenient(bytes(tools))
    if not isinstance(offered, list):
        return []
    functions = [tool.get("function") for tool in offered if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return [name for name in names if isinstance(name, str) and name]
