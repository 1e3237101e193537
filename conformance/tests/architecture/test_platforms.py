"""What only some systems have, and what is coarse on some: where it may stand in the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]

ONLY_POSIX = {
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "resource",
    "syslog",
    "termios",
    "tty",
    "uvloop",
}
"""Modules that Windows does not have. They are imported where they are used, and guarded there."""

ONLY_POSIX_SIGNALS = {"SIGALRM", "SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "SIGUSR2"}
"""Names that `signal` does not have on Windows."""

COARSE = {"monotonic_ns"}
"""Windows' monotonic clock has steps of 15.6 ms, which many answers are faster than."""


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the Python modules below some folders."""
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text("utf-8"))


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported: not the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for outer in (*node.decorator_list, *node.args.defaults):
                yield from (outer, *ast.walk(outer))
        elif not isinstance(node, ast.Lambda):
            yield node
            yield from at_import(node)


def imported(node: ast.AST) -> set[str]:
    """Return the top-level packages that a node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").partition(".")[0]}
    return set()


def test_every_module_can_be_imported_on_windows() -> None:
    """A test that needs another system says so; a module that cannot be imported says nothing."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("gateway", "codegen", "conformance")
        for node in at_import(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and imported(node) & ONLY_POSIX
    ]
    assert [] == found


def test_no_signal_is_named_at_import_that_windows_lacks() -> None:
    """As a parameter of a test it would fail the whole module."""
    found = [
        f"{name}:{node.lineno} {node.attr}"
        for name, tree in modules("gateway", "codegen", "conformance")
        for node in at_import(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ONLY_POSIX_SIGNALS
        and isinstance(node.value, ast.Name)
        and node.value.id == "signal"
    ]
    assert [] == found


def test_the_loop_s_signal_handlers_are_not_used() -> None:
    """Windows' event loops do not have them (`gateway/server/signals.py`)."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("gateway", "conformance")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "add_signal_handler"
        if not name.startswith("conformance/tests/")
    ]
    assert [] == found


def test_durations_come_from_a_fine_clock() -> None:
    """`perf_counter_ns` is the same clock on Linux, and a fine one everywhere."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("gateway")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in COARSE and _is_time(node.value))
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and COARSE & _names(node))
    ]
    assert [] == found


def test_the_readers_above_see_what_they_look_for() -> None:
    """Each of them finds what it is for."""
    tree = ast.parse(
        "import resource\n"
        "class A:\n    from fcntl import flock\n"
        "def f(a=signal.SIGKILL):\n    import pty\n"
    )
    nodes = list(at_import(tree))
    assert {"resource", "fcntl"} == set().union(*(imported(node) for node in nodes)) & ONLY_POSIX
    assert "SIGKILL" in {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def _is_time(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "time"


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}
