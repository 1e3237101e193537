"""
The page as HTML, by templates that escape whatever a client or a host has sent.

This is the only module that imports jinja2, and it is imported for the first request of the page.
"""

from __future__ import annotations

import time
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .records import Explained, Snapshot

FILES = Path(__file__).parent / "files"
SECTIONS = Snapshot.__struct_fields__
"""The sections of the page: each has a template of its own, and is sent when it has changed."""

_UNITS = ("B", "KB", "MB", "GB", "TB")


def size_text(count: float) -> str:
    """
    Return a number of bytes as people read it.

    >>> size_text(0), size_text(4_700_000_000)
    ('', '4.7 GB')
    """
    if not count:
        return ""
    place = 0
    while count >= 1000 and place < len(_UNITS) - 1:
        count /= 1000
        place += 1
    return f"{count:.3g} {_UNITS[place]}"


def clock_text(epoch_s: float) -> str:
    """Return a time of day in the gateway's own zone."""
    return time.strftime("%H:%M:%S", time.localtime(epoch_s))


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["size"] = size_text
    made.filters["clock"] = clock_text
    return made


_TEMPLATES = _environment()


def render_section(name: str, value: object) -> str:
    """Return a section of the page."""
    return _TEMPLATES.get_template(f"{name}.html").render(it=value)


def render_page(snapshot: Snapshot, *, has_session: bool, token: str) -> bytes:
    """Return the whole page with its sections as they are now; `token` is for its forms."""
    sections = {name: getattr(snapshot, name) for name in SECTIONS}
    text = _TEMPLATES.get_template("page.html").render(
        sections=sections, has_session=has_session, token=token, now=time.time()
    )
    return text.encode("utf-8", "replace")


def render_explained(explained: Explained, *, notes: tuple[str, ...], **form: str) -> bytes:
    """Return the page with an explanation; `form` is what was asked for, and the token."""
    template = _TEMPLATES.get_template("explained.html")
    return template.render(it=explained, notes=notes, **form).encode("utf-8", "replace")


def render_notice(title: str, text: str, *, has_form: bool) -> bytes:
    """Return a page that says why nothing is shown; with `has_form` it asks for a key."""
    template = _TEMPLATES.get_template("notice.html")
    return template.render(title=title, text=text, has_form=has_form).encode("utf-8", "replace")
