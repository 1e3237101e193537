"""Small valid instances of JSON schemas, for tool arguments and structured answers.

Knows the part of JSON Schema that tools and response formats use; what it does not know
(conditions, negation, patterns) it skips.
"""

from collections.abc import Sequence
from typing import Any

DEPTH = 24
"""How deep an instance may nest before the shortest way out is taken."""

FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "ipv4": "192.0.2.1",
}


class Filler:
    """Fills schemas; `words` are used for strings, in turn, where nothing narrower is asked."""

    def __init__(self, root: Any, words: Sequence[str] = ()) -> None:
        self.root = root
        self.words = list(words) or ["sample"]
        self.used = 0

    def fill(self, schema: Any = None, depth: int = 0) -> Any:
        """Return an instance of the schema (of the root, when none is given)."""
        schema = self.root if schema is None and depth == 0 else schema
        if not isinstance(schema, dict):
            return {} if depth == 0 else "sample"
        schema = self.resolve(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for union in ("anyOf", "oneOf"):
            if isinstance(schema.get(union), list) and schema[union]:
                return None if depth > DEPTH else self.fill_choice(schema, union, depth)
        return self.fill_kind(self.kind_of(schema, depth), schema, depth)

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow references and merge `allOf` until neither is left."""
        for _ in range(DEPTH):
            reference, parts = schema.get("$ref"), schema.get("allOf")
            if isinstance(reference, str):
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = merge(self.look_up(reference), rest)
            elif isinstance(parts, list):
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    rest = merge(rest, self.resolve(part) if isinstance(part, dict) else {})
                schema = rest
            else:
                break
        return schema

    def look_up(self, reference: str) -> dict[str, Any]:
        """Return what a reference within the root points at, or a schema that allows anything."""
        found: Any = self.root
        if not reference.startswith("#"):
            return {}
        for part in reference[1:].strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if name:
                found = found.get(name, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}

    def fill_choice(self, schema: dict[str, Any], union: str, depth: int) -> Any:
        """Fill the first choice that is not null; deep down, a null or plain one is taken first."""
        rest = {key: value for key, value in schema.items() if key != union}
        resolved = [self.resolve(choice) for choice in schema[union] if isinstance(choice, dict)]
        plain = [c for c in resolved if c.get("type") != "null"] or resolved
        if depth > 4:
            plain = sorted(resolved, key=weight)
        return self.fill(merge(rest, plain[0]), depth + 1) if plain else None

    def kind_of(self, schema: dict[str, Any], depth: int) -> str:
        """Return the JSON type to fill: the stated one, the first of several, or an implied one."""
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = [k for k in kind if k != "null"]
            if depth > 4 and "null" in kind and any(k in ("object", "array") for k in kinds):
                return "null"
            kind = kinds[0] if kinds else "null"
        if isinstance(kind, str):
            return kind
        if "properties" in schema or "required" in schema or depth == 0:
            return "object"
        return "array" if "items" in schema or "prefixItems" in schema else "string"

    def fill_kind(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        """Fill a schema of one known type."""
        match kind:
            case "object":
                return self.fill_object(schema, depth)
            case "array":
                return self.fill_array(schema, depth)
            case "integer":
                return int(fit_number(schema, whole=True))
            case "number":
                return fit_number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
        return self.fill_string(schema)

    def fill_object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """Fill the required properties, or the first one at the top when none is required."""
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in schema.get("required") or [] if isinstance(name, str)]
        if not required and depth == 0:
            required = list(properties)[:1]
        wanted = [name for name in properties if name in required]
        wanted += [name for name in required if name not in properties]
        short = int(schema.get("minProperties") or 0) - len(wanted)
        wanted += [name for name in properties if name not in wanted][: max(0, short)]
        short = int(schema.get("minProperties") or 0) - len(wanted)
        wanted += [f"extra_{n}" for n in range(max(0, short))]
        if depth > DEPTH:
            return {}
        extra = schema.get("additionalProperties")
        extra = extra if isinstance(extra, dict) else {"type": "string"}
        return {name: self.fill(properties.get(name, extra), depth + 1) for name in wanted}

    def fill_array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        """Fill the least number of items, or one where that is allowed and not too deep."""
        least = int(schema.get("minItems") or 0)
        most = schema.get("maxItems")
        prefix = schema.get("prefixItems")
        prefix = prefix if isinstance(prefix, list) else []
        count = max(least, 1 if depth < 3 else 0)
        if isinstance(most, int):
            count = min(count, most)
        if depth > DEPTH:
            return []
        kinds = [prefix[n] if n < len(prefix) else schema.get("items", {}) for n in range(count)]
        kinds = [kind if isinstance(kind, dict) else {"type": "string"} for kind in kinds]
        items = [self.fill(kind, depth + 1) for kind in kinds]
        return make_distinct(items, kinds) if schema.get("uniqueItems") is True else items

    def fill_string(self, schema: dict[str, Any]) -> str:
        """Fill a string with the next word, within its length."""
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        text = self.words[self.used % len(self.words)]
        self.used += 1
        least, most = schema.get("minLength"), schema.get("maxLength")
        if isinstance(least, int) and len(text) < least:
            text += "x" * (least - len(text))
        return text[:most] if isinstance(most, int) else text


def merge(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Merge two schemas that hold together: properties and required names add up."""
    merged = {**left, **right}
    if isinstance(left.get("properties"), dict) and isinstance(right.get("properties"), dict):
        merged["properties"] = {**left["properties"], **right["properties"]}
    if isinstance(left.get("required"), list) and isinstance(right.get("required"), list):
        merged["required"] = [*left["required"], *right["required"]]
    return merged


def weight(schema: dict[str, Any]) -> int:
    """Return how much a schema may nest: nulls and scalars first, references last."""
    kind = schema.get("type")
    if kind == "null" or "const" in schema or "enum" in schema:
        return 0
    return {"object": 3, "array": 2}.get(str(kind), 1) if "anyOf" not in schema else 4


def fit_number(schema: dict[str, Any], whole: bool) -> float:
    """Return a small number within a schema's limits."""
    step = schema.get("multipleOf")
    step = step if isinstance(step, int | float) and step > 0 else 1 if whole else None
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = low if isinstance(low, int | float) and not isinstance(low, bool) else None
    high = high if isinstance(high, int | float) and not isinstance(high, bool) else None
    if isinstance(above, int | float) and not isinstance(above, bool):
        gap = (below - above) / 2 if isinstance(below, int | float) and not whole else step or 0.5
        low = max(low if low is not None else above + gap, above + gap)
    if isinstance(below, int | float) and not isinstance(below, bool):
        gap = step or 0.5
        high = min(high if high is not None else below - gap, below - gap)
    value: float = 1 if whole else 1.5
    if low is not None and value < low:
        value = low
    if high is not None and value > high:
        value = high if low is None else max(low, high)
    if step is not None and (whole or value % step):
        value = round(value / step) * step
        value += step if low is not None and value < low else 0
        value -= step if high is not None and value > high else 0
    return value


def make_distinct(items: list[Any], kinds: list[dict[str, Any]]) -> list[Any]:
    """Make equal items of a list differ, where their kind allows it."""
    distinct: list[Any] = []
    for item, kind in zip(items, kinds, strict=True):
        choices = kind.get("enum")
        variations = [vary(item, n) for n in range(len(items))]
        candidates = choices if isinstance(choices, list) else variations
        distinct.append(next((c for c in candidates if c not in distinct), item))
    return distinct


def vary(item: Any, n: int) -> Any:
    """Return the n-th variation of a scalar; other values stay as they are."""
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return item
    if isinstance(item, str):
        return f"{item}{n or ''}"
    return item + n


def fill_schema(schema: Any, words: Sequence[str] = ()) -> Any:
    """Return a small valid instance of a schema; see `Filler` for the limits."""
    return Filler(schema, words).fill()
