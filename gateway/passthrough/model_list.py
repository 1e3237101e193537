"""
`GET /v1/models` with the models that clients made: LM Studio's list, and theirs behind it.

While there are none this module has nothing to say, and the list passes through as bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.catalogue.catalogue import Catalogue
from gateway.faults import UpstreamFailure
from gateway.types import internal
from gateway.upstream.client import Upstream
from gateway.upstream.stated_errors import describe_body

LIST = "/v1/models"


class _List(msgspec.Struct):
    data: list[msgspec.Raw]
    object: str = "list"


async def merged(path: str, catalogue: Catalogue, upstream: Upstream) -> bytes | None:
    """
    Return the answer to a look at models that differs from LM Studio's own, None when none does.

    Raises UpstreamFailure.
    """
    if not catalogue.keeps_names:
        return None
    if path.startswith(LIST + "/"):
        asked = await catalogue.find(path.removeprefix(LIST + "/"))
        made = await catalogue.made()
        return msgspec.json.encode(_entry(asked)) if asked in made else None
    if path != LIST:
        return None
    body = await upstream.fetch("GET", LIST)
    try:
        listed = msgspec.json.decode(body, type=_List)
    except msgspec.DecodeError as error:
        raise UpstreamFailure(
            f"its list of models is {describe_body(body)}", fault="not_json"
        ) from error
    entries: list[Any] = [_entry(row) for row in await catalogue.made()]
    taken = {entry["id"] for entry in entries}
    data = [raw for raw in listed.data if _id_of(raw) not in taken]
    return msgspec.json.encode({"object": listed.object, "data": [*data, *entries]})


def _entry(row: internal.CatalogueRow | None) -> dict[str, str]:
    assert row is not None
    return {"id": row.name, "object": "model", "owned_by": "organization_owner"}


def _id_of(raw: msgspec.Raw) -> object:
    value = msgspec.json.decode(raw)
    return value.get("id") if isinstance(value, dict) else None
