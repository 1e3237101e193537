"""Work in steps, done at once: to its end, counted, or in steps that are much smaller."""

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar
from unittest.mock import patch

from msgspec.json import Decoder

from gateway.wire import large, splitting
from gateway.wire.fitting import NO_RULES, GoRules
from gateway.wire.large import Sizes, read_in_steps
from gateway.wire.reading import IN_STEPS, read_body

T = TypeVar("T")

SIZES = Sizes(10**6, 10**6)


def counted(steps: Generator[None, None, T]) -> tuple[int, T]:
    """Return the number of steps of some work, and its value."""
    number = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return number, end.value
        number += 1


def done(steps: Generator[None, None, T]) -> T:
    """Return the value of some work."""
    return counted(steps)[1]


def in_small_steps(window: int, small: int, work: Callable[[], T]) -> T:
    """Do some work with other sizes of a step, in bytes."""
    with (
        patch.multiple(splitting, WINDOW=window, SMALL=small),
        patch.multiple(large, WINDOW=window, SMALL=small),
    ):
        return work()


def read_whole(
    body: bytes,
    kind: type[T],
    decoder: Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] | None = None,
) -> T:
    """Read a body of any size, as the engine does."""
    given: dict[str, Any] = {"rules": rules, "objects": objects or {}}
    found = read_body(body, kind, decoder, go_name, **given)
    if found is IN_STEPS:
        return done(read_in_steps(body, kind, go_name, sizes=SIZES, **given))
    return found


def read_in_small_steps(
    body: bytes,
    kind: type[T],
    _decoder: Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] | None = None,
) -> T:
    """Read a body as if it were a large one."""
    given: dict[str, Any] = {"rules": rules, "objects": objects or {}, "sizes": SIZES}
    return in_small_steps(16, 24, lambda: done(read_in_steps(body, kind, go_name, **given)))
