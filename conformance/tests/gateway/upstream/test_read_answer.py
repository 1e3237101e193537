"""What read_answer makes of a body under a status of a success: an answer, or an error."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.calls import host
from gateway.faults import UpstreamFailure
from gateway.plans.embed import DECODE_EMBEDDINGS_RESPONSE
from gateway.runtime.outcome import FetchCall
from gateway.types import openai
from gateway.upstream import answers

CALL: FetchCall[openai.EmbeddingsResponse, msgspec.Struct] = FetchCall(
    method="POST",
    path="/v1/embeddings",
    body=None,
    decoder=DECODE_EMBEDDINGS_RESPONSE,
    translate=lambda response: response,
)
ITEM = b'{"embedding":[1.0],"index":0}'


@pytest.mark.parametrize(
    "error", [b"", b',"error":null', b',"error":""', b',"error":false', b',"errors":["x"]']
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_success_is_decoded(error: bytes, mark: bytes) -> None:
    """Whatever it has in place of an error, and with a byte order mark."""
    answer = answers.read_answer(CALL, [mark + b'{"data":[%b]%b}' % (ITEM, error)])

    assert isinstance(answer, openai.EmbeddingsResponse)
    assert [b"[1.0]"] == [bytes(each.embedding) for each in answer.data]


@pytest.mark.parametrize(
    ("body", "fault", "words"),
    [
        (b'{"error":"no model"}', "upstream_error_200", "no model"),
        (b'{"data":[],"error":{"message":"gone"}}', "upstream_error_200", "gone"),
        (b'{"error":{"message":"gone"},"data":[%b]}' % ITEM, "upstream_error_200", "gone"),
        (b'{"err\\u006fr":"no model","data":[]}', "upstream_error_200", "no model"),
        (b'{"error":"Unexpected endpoint or method."}', "unknown_endpoint", "Unexpected"),
        (b"", "empty", "empty body"),
        (b" \r\n", "empty", "empty body"),
        (b"<html><title>502</title>", "not_json", "HTML"),
        (b'{"data":[', "not_json", "broken JSON"),
        (b"[]", "not_json", "can't be read"),
    ],
)
def test_what_is_no_success_is_told(body: bytes, fault: str, words: str) -> None:
    """In the same words as before a body is decoded."""
    with pytest.raises(UpstreamFailure, match=words) as caught:
        answers.read_answer(CALL, [body])

    assert fault == caught.value.fault


def test_a_success_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the error is no second decode (4 MB for 256 vectors)."""

    def decode_again(_body: bytes) -> bytes:
        raise AssertionError("decoded again")

    monkeypatch.setattr(answers, "check_json", decode_again)

    assert 1 == len(answers.read_answer(CALL, [b'{"data":[%b]}' % ITEM]).data)


def test_an_answer_with_an_error_of_its_own_is_decoded() -> None:
    """A description may have a field of this name; LM Studio's error is found in it, too."""

    class Status(msgspec.Struct):
        error: str | None = None
        done: bool = False

    call: FetchCall[Status, Status] = FetchCall(
        method="GET",
        path="/x",
        body=None,
        decoder=msgspec.json.Decoder(Status),
        translate=lambda status: status,
    )

    assert answers.read_answer(call, [b'{"error":null,"done":true}']).done
    with pytest.raises(UpstreamFailure, match="no disk"):
        answers.read_answer(call, [b'{"error":"no disk"}'])


def test_the_gateways_own_calls_are_read_by_it() -> None:
    """Their types are not changed by the field that is added for the error."""
    call = host.list_v1()

    assert [] == answers.read_answer(call, [b'{"models":[]}']).models
    assert "error" not in call.decoder.type.__struct_fields__


def test_vectors_are_not_decoded_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder would look at each of their bytes, and hold up everything else meanwhile."""
    seen: list[bytes] = []
    real = answers._decoder_with_error

    def watched(kind: type[msgspec.Struct]) -> Callable[[bytes], Any]:
        def decode(data: bytes) -> Any:
            seen.append(data)
            return real(kind)(data)

        return decode

    monkeypatch.setattr(answers, "_decoder_with_error", watched)
    vector = b"[%b]" % b",".join([b"0.25"] * 768)
    items = b",".join(b'{"embedding":%b,"index":%d}' % (vector, n) for n in range(9))
    answer = answers.read_answer(CALL, [b'{"data":[%b]}' % items])

    assert [vector] * 9 == [bytes(each.embedding) for each in answer.data]
    assert 1 == len(seen)
    assert 300 > len(seen[0])


def test_vectors_in_an_unusual_place_are_those_that_were_sent() -> None:
    """A second decode finds them."""
    long = b"[%b0]" % (b"0.5," * 10_000)
    data = rb'{"data":[{"embeddin\u0067":[0],"index":0},{"embedding":%b,"index":1}]}' % long

    answer = answers.read_answer(CALL, [data])

    assert [b"[0]", long] == [bytes(each.embedding) for each in answer.data]


def test_a_text_with_a_bracket_in_another_list_of_that_name_hides_no_vector() -> None:
    """What is left without the lists can't be decoded then, and the answer is, as it came."""
    long = b"[%b0]" % (b"0.5," * 10_000)
    data = b'{"data":[{"embedding":%b,"more":{"embedding":["a]b"]}}]}' % long

    answer = answers.read_answer(CALL, [data])

    assert [long] == [bytes(each.embedding) for each in answer.data]
