"""
Conversion of pictures that LM Studio refuses into PNG.

Pillow does the work. It is an optional dependency: it is imported when the first such picture
comes, and works in a thread of its own, one picture at a time.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Final

from ..faults import Refusal
from ..transforms._media import refused_format, without_line_ends

MAX_PIXELS: Final = 50_000_000
"""Largest picture that is decoded. At 4 bytes a pixel that is 200 MB of memory for its time."""

_TAKEN: Final = "LM Studio takes PNG and JPEG"
_MISSING: Final = (
    "{taken}, and this picture is {name}: send PNG or JPEG, or install what converts it here "
    "(python3 -m pip install 'olgate[images]')"
)


async def as_png(pictures: Sequence[str]) -> dict[str, str]:
    """
    Return PNG for each picture, both in base64, by the text as it was sent.

    Raises Refusal (400) for a picture that is broken or too large, and where no decoder is
    installed; the text names the formats that work and the package.
    """
    loop, made = asyncio.get_running_loop(), {}
    for sent in dict.fromkeys(pictures):
        made[sent] = await loop.run_in_executor(_worker(), _converted, sent)
    return made


@cache
def _worker() -> ThreadPoolExecutor:
    # One thread bounds the memory of all conversions together.
    return ThreadPoolExecutor(1, thread_name_prefix="pictures")


def _converted(sent: str) -> str:
    name = refused_format(sent)
    try:
        from PIL import Image
    except ImportError:
        raise Refusal(400, _MISSING.format(taken=_TAKEN, name=name)) from None
    if name == "HEIC":
        _add_heic(name)
    packed = io.BytesIO()
    try:
        data = base64.b64decode(without_line_ends(sent))
        with Image.open(io.BytesIO(data), formats=_formats(name)) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Refusal(
                    400,
                    f"this {name} picture has {width} by {height} pixels, more than the "
                    f"{MAX_PIXELS} that are converted here: send PNG or JPEG",
                )
            mode = "RGBA" if picture.has_transparency_data else "RGB"
            picture.convert(mode).save(packed, "PNG", compress_level=1)
    except KeyError:
        # Pillow was built without the decoder.
        raise Refusal(400, _MISSING.format(taken=_TAKEN, name=name)) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise Refusal(
            400, f"this {name} picture cannot be read ({type(problem).__name__}): {_TAKEN}"
        ) from None
    return base64.b64encode(packed.getvalue()).decode("ascii")


def _formats(name: str) -> list[str]:
    return ["HEIF"] if name == "HEIC" else [name.upper()]


def _add_heic(name: str) -> None:
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise Refusal(400, _MISSING.format(taken=_TAKEN, name=name)) from None
