"""
How a request tells what it needs of a host; the generated tables have one record for each route.
"""

from __future__ import annotations

from dataclasses import dataclass

Way = tuple[str, ...]
"""Names of members, each in the one before; a list on the way stands for each of its items."""


@dataclass(frozen=True, slots=True)
class Needs:
    """
    The members of a request by what they tell; all of it comes from marks of the descriptions.

    `model` are those that may name the model, of which the first one there does. `begins` are those
    that a prompt begins with, in order. A list of them ends its beginning with the first item in
    which the first name of `until` has the second as its value.

    `filled` are ways, each with the capability that is needed where something is there. `words` are
    for raw members: the capability that is needed where, somewhere in the member, a key of that
    name has one of the words as its value. `context` is the way to the number of tokens that a
    request asks for.
    """

    model: tuple[str, ...] = ()
    begins: tuple[str, ...] = ()
    until: tuple[str, str] | None = None
    filled: tuple[tuple[str, Way], ...] = ()
    words: tuple[tuple[str, str, str, tuple[str, ...]], ...] = ()
    context: Way = ()
