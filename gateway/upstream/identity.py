"""
What answers at the upstream's address: LM Studio, another server, or this gateway itself.

One place recognises it, for the start, for `/health`, for `olgate doctor` and for errors, and one
place has the sentence for each. An identity is of one host; nothing here keeps one.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from ..faults import UpstreamFailure
from ..settings.host_keys import UPSTREAM_KEYS, HostKeys
from ..wire import hops
from ..wire.lenient import parse_lenient
from .client import Probe, Upstream
from .stated_errors import describe_body

PROBE_S = 3.0
"""Seconds that all probes of one host may take together."""

GREETING = "/lmstudio-greeting"
"""The path at which LM Studio says that it is LM Studio."""


class Kind(StrEnum):
    """The kinds of servers that are told apart; the values stand in `/health`."""

    LMSTUDIO = "lmstudio"
    OLGATE = "olgate"
    OLLAMA = "ollama"
    LLAMA_CPP = "llama.cpp"
    OPENAI = "openai"
    ITSELF = "itself"
    LOOP = "loop"
    WRONG_PATH = "wrong path"
    PAGE = "page"
    UNKNOWN = "unknown"


class Identity(NamedTuple):
    """
    What answers at `url`. `detail` describes a page or an unknown answer, or is empty.

    `root` is the address without a path, for an LM Studio that is not below the path. `keys` are
    the names of the host's settings.
    """

    kind: Kind
    url: str
    detail: str = ""
    root: str = ""
    keys: HostKeys = UPSTREAM_KEYS

    @property
    def is_usable(self) -> bool:
        """Whether the gateway can serve from it, even if it is not LM Studio."""
        return self.kind in _USABLE

    @property
    def name(self) -> str:
        """The server in words, for tables and log lines."""
        return _NAMES[self.kind]

    @property
    def sentence(self) -> str:
        """One sentence that says what is there and, unless it is LM Studio, what to do."""
        address = self.keys.address
        return _SENTENCES[self.kind].format(
            url=self.url,
            detail=self.detail,
            root=self.root,
            address=address,
            advice=f"set {address} to the address of LM Studio's server",
        )


_USABLE = (Kind.LMSTUDIO, Kind.OLGATE, Kind.OLLAMA, Kind.LLAMA_CPP, Kind.OPENAI)
_NAMES = {
    Kind.LMSTUDIO: "LM Studio",
    Kind.OLGATE: "another olgate",
    Kind.OLLAMA: "Ollama",
    Kind.LLAMA_CPP: "llama.cpp",
    Kind.OPENAI: "a server with the OpenAI API",
    Kind.ITSELF: "this gateway itself",
    Kind.LOOP: "another olgate that leads back here",
    Kind.WRONG_PATH: "LM Studio, below another path",
    Kind.PAGE: "a web page",
    Kind.UNKNOWN: "something else",
}
_SENTENCES = {
    Kind.LMSTUDIO: "LM Studio answers at {url}",
    Kind.OLGATE: (
        "another olgate answers at {url}, not LM Studio; it works, but {advice} to save the detour"
    ),
    Kind.OLLAMA: (
        "an Ollama answers at {url}, not LM Studio; clients can use it without olgate, or {advice}"
    ),
    Kind.LLAMA_CPP: (
        "llama.cpp answers at {url}, not LM Studio; its models are served, but olgate cannot load, "
        "unload or download models there"
    ),
    Kind.OPENAI: (
        "a server with the OpenAI API answers at {url}, not LM Studio; its models are served, but "
        "olgate cannot load, unload or download models there"
    ),
    Kind.ITSELF: "this gateway itself answers at {url}, not LM Studio; {advice}",
    Kind.LOOP: (
        "another olgate answers at {url}, and it leads back to this one; {advice}, there or here"
    ),
    Kind.WRONG_PATH: (
        "LM Studio answers at {root}, but not below the path of {url}; set {address} to {root}"
    ),
    Kind.PAGE: "a web server answers at {url} with {detail}, not LM Studio; {advice}",
    Kind.UNKNOWN: (
        "what answers at {url} is not LM Studio: it has no list of models ({detail}); {advice}"
    ),
}


async def identify(upstream: Upstream) -> Identity | None:
    """
    Ask the host what it is, within `PROBE_S`; None if it does not answer or leads elsewhere.

    No probe loads or changes anything.
    """
    try:
        async with asyncio.timeout(PROBE_S):
            return await _identify(upstream)
    except (UpstreamFailure, TimeoutError):
        return None


async def explain(upstream: Upstream, failure: UpstreamFailure) -> UpstreamFailure:
    """
    Return the failure of a list of models, or another one which says that the server is wrong.

    Only a failure that LM Studio itself would not cause is looked into, so that a host that is away
    or slow is not asked once more.
    """
    is_odd = failure.fault in _ODD or failure.status in _ODD_STATUSES
    # Two gateways that lead to each other may both be silent.
    if failure.is_stated and not is_odd and not upstream.name.callers:
        return failure
    found = await identify(upstream)
    if found is None or found.is_usable:
        return failure
    return UpstreamFailure(found.sentence, fault="wrong_server")


_ODD = ("bad_http", "not_json", "not_sse", "empty", "unknown_endpoint")
_LOOP_DETECTED = 508
_NO_ROUTE = 404
_ODD_STATUSES = (404, 405, 501, _LOOP_DETECTED)
"""Statuses with which LM Studio never answers a request for its models."""


async def _identify(upstream: Upstream) -> Identity | None:
    told = partial(Identity, url=upstream.url, keys=upstream.keys)
    greeting = await upstream.probe(GREETING)
    via = hops.names_in(greeting.headers)
    if upstream.name in via:
        return told(Kind.ITSELF)
    if via:
        # Two gateways whose lists wait for each other answer no probe of a list.
        is_loop = upstream.name.callers.intersection(via) or await _leads_back(upstream)
        return told(Kind.LOOP if is_loop else Kind.OLGATE)
    if _greets(greeting):
        return told(Kind.LMSTUDIO)
    if 300 <= greeting.status < 400:
        return None
    front = await upstream.probe("/")
    if front.body.strip() == b"Ollama is running":
        return told(Kind.OLLAMA)
    listed = await upstream.probe("/v1/models")
    if (owner := _owner(listed)) is not None:
        is_llama = b"llama.cpp" in _server(listed) or owner == "llamacpp"
        return told(Kind.LLAMA_CPP if is_llama else Kind.OPENAI)
    if _states_error(listed) and listed.status in (401, 403):
        return told(Kind.OPENAI)
    if upstream.path and _greets(await upstream.probe(GREETING, from_root=True)):
        return told(Kind.WRONG_PATH, root=upstream.root)
    page = next((one for one in (front, listed, greeting) if _is_page(one)), None)
    if page is not None:
        return told(Kind.PAGE, detail=describe_body(page.body))
    # Its text is not quoted, because the sentence is logged.
    return told(Kind.UNKNOWN, detail=f"GET /v1/models is answered with status {listed.status}")


async def _leads_back(upstream: Upstream) -> bool:
    """
    Return whether another gateway passes a request on until it comes back here.

    A list that it makes itself would not tell: it asks for that under its own name alone, and may
    wait for this gateway meanwhile. A gateway without LM Studio's routes has only that one.
    """
    for path in ("/api/v1/models", "/v1/models"):
        listed = await upstream.probe(path)
        if listed.status != _NO_ROUTE:
            return listed.status == _LOOP_DETECTED
    return False


def _json(probe: Probe) -> Any:
    return parse_lenient(probe.body)


def _greets(probe: Probe) -> bool:
    found = _json(probe)
    return isinstance(found, dict) and found.get("lmstudio") is True


def _owner(probe: Probe) -> str | None:
    """Return whom a list of models names as owner, "" if nobody; None if it is not a list."""
    found = _json(probe)
    if probe.status != 200 or not isinstance(found, dict):
        return None
    models = found.get("data")
    if not isinstance(models, list):
        return None
    owners = [str(one.get("owned_by") or "") for one in models if isinstance(one, dict)]
    return owners[0] if owners else ""


def _server(probe: Probe) -> bytes:
    return dict(probe.headers).get(b"server", b"")


def _states_error(probe: Probe) -> bool:
    found = _json(probe)
    return isinstance(found, dict) and "error" in found


def _is_page(probe: Probe) -> bool:
    return probe.body.lstrip().startswith(b"<")
