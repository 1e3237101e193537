"""
Content encodings, unpacked piece by piece and within limits.
"""

import gzip
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from gateway.wire import encodings
from gateway.wire.encodings import NotPacked, TooLong, UnknownEncoding, Unpacker, unpack

TEXT = b"".join(b"the tide table of day %d. " % day for day in range(20_000))


def raw_deflate(body: bytes) -> bytes:
    """Return deflated bytes without zlib's header, as some clients send them."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip members": (
        "gzip",
        gzip.compress(TEXT[:7]) + gzip.compress(b"") + gzip.compress(TEXT[7:]),
    ),
    "gzip padding": ("gzip", gzip.compress(TEXT) + bytes(200_000)),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
    "zstd": ("zstd", zstd.compress(TEXT)),
    "zstd frames": ("zstd", zstd.compress(TEXT[:7]) + zstd.compress(TEXT[7:])),
}


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_any_cut_gives_the_same(encoding: str, packed: bytes, step: int) -> None:
    """A piece may end anywhere: in a header, between two members, in the padding."""
    unpacker = Unpacker(encoding)
    pieces = (packed[at : at + step] for at in range(0, len(packed), step))
    assert TEXT == b"".join(unpacker.feed(piece, len(TEXT)) for piece in pieces)
    assert unpacker.is_whole


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED.keys())
def test_a_limit_holds(encoding: str, packed: bytes) -> None:
    """To the byte, and for all members together."""
    assert TEXT == unpack(packed, encoding, len(TEXT))
    with pytest.raises(TooLong):
        unpack(packed, encoding, len(TEXT) - 1)


NAMES: dict[Callable[..., bytes], str] = {
    gzip.compress: "gzip",
    zlib.compress: "deflate",
    zstd.compress: "zstd",
}


@pytest.mark.parametrize("pack", NAMES)
def test_a_bomb_is_not_unpacked(pack: Callable[[bytes], bytes]) -> None:
    """A thousand times its size is never made."""
    packed = pack(bytes(50_000_000))
    name = NAMES[pack]
    with pytest.raises(TooLong):
        unpack(packed, name, 1_000_000)


def test_a_wide_window_is_refused() -> None:
    """A frame of a few bytes may not ask for more memory than an encoding's window has."""
    wide: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = zstd.ZstdCompressor(options=wide)
    packed = packer.compress(bytes(1000)) + packer.flush()
    with pytest.raises(NotPacked):
        unpack(packed, "zstd", 10_000)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_many_empty_members_are_refused(pack: Callable[[bytes], bytes]) -> None:
    """Each costs a decompressor and gives nothing, so no limit of size stops them."""
    name = NAMES[pack]
    assert b"" == unpack(pack(b"") * 1000, name, 1)
    with pytest.raises(NotPacked):
        unpack(pack(b"") * 1001, name, 1)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", b""),
        ("gzip", gzip.compress(TEXT)[:-1]),
        ("gzip", gzip.compress(TEXT) + b"x"),
        ("gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
        ("deflate", b"x"),
        ("deflate", zlib.compress(TEXT) + b"x"),
        ("deflate", raw_deflate(TEXT)[:-1]),
        ("zstd", b"{}"),
        ("zstd", zstd.compress(TEXT)[:-1]),
        ("zstd", zstd.compress(TEXT) + b"x"),
    ],
)
def test_what_is_not_packed_as_stated(encoding: str, packed: bytes) -> None:
    """Cut, followed by something, or broken."""
    with pytest.raises(NotPacked):
        unpack(packed, encoding, len(TEXT))


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress", "gzip;q=1"])
def test_an_encoding_that_is_not_read(encoding: str) -> None:
    """Two of them would multiply what one allows."""
    with pytest.raises(UnknownEncoding):
        unpack(b"x", encoding, 10)


def test_a_python_without_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which encodings are left."""
    assert "gzip, deflate, zstd" == encodings.readable()
    monkeypatch.setattr(encodings, "_zstd", lambda: None)
    assert "gzip, deflate" == encodings.readable()
    with pytest.raises(UnknownEncoding):
        unpack(zstd.compress(b"x"), "zstd", 10)
