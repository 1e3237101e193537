"""Pictures that LM Studio refuses: their conversion to PNG, and what cannot be converted."""

import base64
import io
import sys

import pytest
from PIL import Image

from gateway.engine import pictures
from gateway.engine.pictures import as_png
from gateway.faults import Refusal

pytestmark = pytest.mark.asyncio(loop_scope="session")

EMPTY_HEIC = base64.b64encode(b"\0\0\0\x18ftypheic" + b"\0" * 12).decode()


def packed(kind: str, mode: str = "RGB", size: tuple[int, int] = (3, 2)) -> str:
    """Return a picture of one colour in base64."""
    data = io.BytesIO()
    Image.new(mode, size, 200).save(data, kind)
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
async def test_a_picture_becomes_png(kind: str, mode: str) -> None:
    """Of the same size, and see-through where it was."""
    sent = packed(kind, mode)

    made = await as_png([sent, sent])

    assert [sent] == [*made]
    with Image.open(io.BytesIO(base64.b64decode(made[sent]))) as found:
        assert ("PNG", (3, 2)) == (found.format, found.size)
        assert ("RGBA" if mode == "RGBA" else "RGB") == found.mode


async def test_line_ends_in_base64_do_not_count() -> None:
    """Ollama skips them (ollama.md#images)."""
    sent = packed("WEBP")
    parted = "\n".join([sent[:20], sent[20:]])

    assert (await as_png([sent]))[sent] == (await as_png([parted]))[parted]


@pytest.mark.parametrize("sent", [packed("WEBP")[:40], packed("AVIF")[:60], EMPTY_HEIC])
async def test_a_broken_picture_is_refused(sent: str) -> None:
    """With the formats that work."""
    with pytest.raises(Refusal, match="PNG and JPEG") as refused:
        await as_png([sent])

    assert 400 == refused.value.status


async def test_a_picture_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size stands in its head."""
    monkeypatch.setattr(pictures, "MAX_PIXELS", 5)

    with pytest.raises(Refusal, match="3 by 2 pixels"):
        await as_png([packed("WEBP")])


@pytest.mark.parametrize(("module", "sent"), [("PIL", packed("WEBP")), ("pillow_heif", EMPTY_HEIC)])
async def test_a_missing_decoder_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, sent: str
) -> None:
    """With the way to install it."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(Refusal, match=r"olgate\[images\]"):
        await as_png([sent])
