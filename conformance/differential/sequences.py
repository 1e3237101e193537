"""
Requests that belong together: what one does is seen by the next.

A model is created, shown, copied, asked and deleted; a model is loaded, seen in `ps` and unloaded.
"""

from __future__ import annotations

import json
import random
from typing import Any

from conformance.differential import document as doc
from conformance.differential.requests import SCHEMA, Drawn, draw_script
from conformance.differential.values import ALL, CHAT, MODELS, TEXTS, TOOLS

PARAMETERS: tuple[tuple[str, Any], ...] = (
    ("temperature", 0.5),
    ("temperature", 1),
    ("temperature", 1e-7),
    ("top_k", 40),
    ("top_p", 1.0),
    ("num_ctx", 4096),
    ("num_predict", 7),
    ("seed", 3),
    ("stop", ["a", "b"]),
    ("stop", []),
    ("stop", None),
    ("repeat_penalty", 1000000.0),
    ("num_keep", 1e6),
    ("penalize_newline", True),
    ("unknown", {"b": None}),
)


def post(path: str, body: dict[str, Any], method: str = "POST") -> Drawn:
    """Return a request with a JSON body."""
    return Drawn(f"{method} {path}", method, path, doc.of(body))


def get(path: str) -> Drawn:
    """Return a request without a body."""
    return Drawn(f"GET {path}", "GET", path)


def draw_sequence(dice: random.Random) -> list[Drawn]:
    """Draw one sequence; it leaves nothing behind where all of it succeeds."""
    return dice.choice([made_model, made_model, made_model, letter_case, loads])(dice)


def made_model(dice: random.Random) -> list[Drawn]:
    """Create a model, look at it, copy it, ask both, delete both."""
    name = dice.choice(["made", "x/made", "made:tag", "Made"])
    base = dice.choice([CHAT, TOOLS, f"{CHAT}:latest"])
    wish: dict[str, Any] = {"model": name, "from": base}
    if dice.random() < 0.6:
        wish["system"] = dice.choice(["Be brief", *TEXTS[:12]])
    if dice.random() < 0.6:
        wish["parameters"] = dict(dice.sample(PARAMETERS, dice.randrange(4)))
    if dice.random() < 0.4:
        roles = ["user", "assistant", "system", "User"]
        count = dice.randrange(3)
        wish["messages"] = [{"role": dice.choice(roles), "content": f"m{n}"} for n in range(count)]
    if dice.random() < 0.3:
        wish["license"] = dice.choice(["MIT", ["MIT", "Apache"], "", []])
    if dice.random() < 0.2:
        wish["info"] = dice.choice([{"context_length": 2048}, {"a": "b"}, {}, {"vision": True}])
    if dice.random() < 0.3:
        wish["stream"] = dice.choice([True, False])
    copy = dice.choice(["copied", "copied:tag", "y/copied"])
    script = {"say": draw_script(dice, calls=False, thinks=False)["say"]}
    # Blanks around thinking are cut, so only what doesn't think is told what to say.
    text = "Hi" if base == TOOLS else f"@@{json.dumps(script)}"
    chat: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": text}]}
    if dice.random() < 0.5:
        chat["stream"] = False
    return [
        post("/api/create", wish),
        post("/api/show", {"model": name}),
        get("/api/tags"),
        post("/api/copy", {"source": name, "destination": copy}),
        post("/api/show", {"model": copy}),
        post("/api/chat", chat),
        post("/api/generate", {"model": copy, "prompt": text, "stream": False}),
        post("/api/delete", {"model": name}, "DELETE"),
        post("/api/show", {"model": name}),
        post("/api/delete", {"model": copy}, "DELETE"),
        get("/api/tags"),
    ]


def letter_case(dice: random.Random) -> list[Drawn]:
    """Create or copy over a name in other letters, and look at what it is called then."""
    again = dice.choice(
        [
            post("/api/copy", {"source": CHAT, "destination": "MADE"}),
            post("/api/create", {"model": "MADE", "from": CHAT, "system": "again"}),
        ]
    )
    return [
        post("/api/create", {"model": "made", "from": CHAT, "system": "first"}),
        again,
        get("/api/tags"),
        post("/api/show", {"model": "made"}),
        post("/api/show", {"model": "MADE"}),
        post("/api/delete", {"model": dice.choice(["made", "MADE", "Made"])}, "DELETE"),
        get("/api/tags"),
    ]


def loads(dice: random.Random) -> list[Drawn]:
    """Unload all, load a model for a while, see it, and unload it."""
    model = dice.choice([CHAT, TOOLS, MODELS[2]])
    alive = dice.choice(["5m", 60, -1, "1h", None, "0.5h"])
    load: dict[str, Any] = {"model": model, "keep_alive": alive}
    if dice.random() < 0.3:
        load["stream"] = dice.choice([True, False])
    path = dice.choice(["/api/chat", "/api/generate"])
    unload = [post("/api/generate", {"model": name, "keep_alive": 0}) for name in ALL]
    ask: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    asked = dice.choice([[], [post("/api/chat", {**ask, "stream": False, "format": SCHEMA})]])
    return [*unload, post(path, load), *asked, get("/api/ps"), *unload, get("/api/ps")]
