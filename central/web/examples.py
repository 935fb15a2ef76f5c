"""Pure: an example for everything that the API takes and answers, made from its schemas in the laboratory's words.

What a schema itself gives as an example comes first; then what a field of that name holds (`WORDS`), where the schema
allows it; then the plainest value that it allows. A test validates every one against its schema.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_UUID: Final = "01981f5e-6f00-7abc-8def-0123456789ab"
_SHA256: Final = "9c1185a5c5e9fc54612808977ee8f548b2258d31a1b0f2b3d4c5e6f708192a3b"
_DEPTH: Final = 12

WORDS: Final[Mapping[str, Any]] = {
    "submission": "S-1001", "test": "NDV", "plate_number": "1", "barcode": "S-1001|NDV|1", "row": "A", "well": "A1",
    "serum": "SER-17", "sample_id": "SER-17", "control": "NDV-positive", "control_lot": "L-23", "site_id": "main",
    "site": "main", "device_id": "bench-1", "device_name": "Bench 1", "key_id": "0123456789ab", "profile": "hi-96",
    "profile_version": 1, "model": "hi-wells-v1", "titre": "1:64", "result": "1:64", "endpoint": 6, "reported": 6,
    "call": "button", "farm": "Hillside", "flock": "H-4", "species": "chicken", "age_days": 42, "vaccine": "La Sota",
    "antigen": "NDV La Sota", "antigen_lot": "AG-7", "hau": 4, "customer": "Hillside Poultry", "location": "Fridge 2",
    "note": "Sera were thawed once.", "reason": "A second look at the photograph.", "title": "LabWare", "name": "anna",
    "password": "a long sentence of your own", "email": "anna@laboratory.example", "code": "123456",
    "dialect": "titres", "path": "/var/lib/wellread/deliveries/labware", "scopes": ["results:read"],
    "url": "https://lims.laboratory.example/results", "next": None, "file_name": "S-1001_NDV_r1.csv",
    "kind": "run.approved", "request_id": "3f9c1a2b4d5e6f70", "agent": "0.1.0", "media_type": "text/csv",
    "plate_format": 96, "confidence": 0.98, "key": f"wr_0123456789ab_{'A' * 43}",
}  # fmt: skip
_PLAIN: Final = (
    "main", "S-1001", "A", "A1", _UUID, _SHA256, "0123456789ab", f"2026-03-02T08:30:00+00:00_{_UUID}", "bench-1", "run",
    "1", "x" * 12, "x" * 43, "x" * 64,
)  # fmt: skip
_FORMATS: Final = {
    "date-time": "2026-03-02T08:30:00Z",
    "date": "2026-03-02",
    "uuid": _UUID,
    "uri": "https://lims.example/",
}
_BODIES: Final = {
    "text/csv": "submission,test,plate,row,titre\r\nS-1001,NDV,1,A,1:64\r\n",
    "application/jsonl": '{"number": 1, "action": "run.approve"}\n',
    "text/plain": "ok\n",
    "image/*": "(bytes)",
    "text/event-stream": 'id: 7\nevent: run.approved\ndata: {"number": 7}\n\n',
}


def with_examples(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same document with an example of each parameter, body and answer."""
    schemas = document["components"]["schemas"]
    paths = {
        path: {method: _operation(found, schemas) for method, found in item.items()}
        for path, item in document["paths"].items()
    }
    return dict(document) | {"paths": paths}


def _operation(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(operation)
    found["responses"] = {code: _content(answer, schemas) for code, answer in operation["responses"].items()}
    if "requestBody" in operation:
        found["requestBody"] = _content(operation["requestBody"], schemas)
    if operation.get("parameters"):
        found["parameters"] = [
            each | {"example": example(each["schema"], schemas, each["name"])} for each in operation["parameters"]
        ]
    return found


def _content(holder: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    if not holder.get("content"):
        return dict(holder)
    content = {
        kind: media | {"example": _of_kind(kind, media.get("schema", {}), schemas)}
        for kind, media in holder["content"].items()
    }
    return dict(holder) | {"content": content}


def _of_kind(kind: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    if kind.endswith("json"):
        return example(schema, schemas, "")
    return _BODIES.get(kind.split(";", maxsplit=1)[0], "(bytes)")


def example(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int = 0) -> Any:  # noqa: PLR0911
    """A value that a schema allows; `name` is the field's."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas, name, depth + 1)
    for said in ("examples", "enum"):
        if schema.get(said):
            found = schema[said]
            return next(iter(found.values()))["value"] if isinstance(found, dict) else found[0]
    if "const" in schema:
        return schema["const"]
    if schema.get("oneOf") or schema.get("anyOf"):
        return _one_of(schema, schemas, name, depth)
    match schema.get("type"):
        case "object":
            return _object(schema, schemas, depth)
        case "array" if schema.get("prefixItems"):
            return [example(each, schemas, name, depth + 1) for each in schema["prefixItems"]]
        case "array":
            few = max(1, schema.get("minItems", 0)) if depth < _DEPTH else schema.get("minItems", 0)
            return [example(schema.get("items") or {}, schemas, name, depth + 1)] * few
        case "integer" | "number":
            return _number(schema, name)
        case "boolean":
            return False
        case "string":
            return _text(schema, name)
        case _:
            return None


def _one_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    """Nothing where a field of that name is empty as a rule; else the first of the kinds that is something."""
    several = schema.get("oneOf") or schema["anyOf"]
    beside = {said: value for said, value in schema.items() if said not in ("oneOf", "anyOf")}
    kinds = [dict(each) | beside for each in several if each.get("type") != "null"]
    if len(kinds) < len(several) and (depth >= _DEPTH or (name in WORDS and WORDS[name] is None)):
        return None
    return example(kinds[0], schemas, name, depth + 1)


def _object(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> dict[str, Any]:
    wanted = schema.get("required", ()) if depth >= _DEPTH else schema.get("properties", {})
    found = {name: example(schema["properties"][name], schemas, name, depth + 1) for name in wanted}
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping) and others and not found:
        names = schema.get("propertyNames", {})
        found[_text(names, "row") if names else "1"] = example(others, schemas, "", depth + 1)
    return found


def _number(schema: Mapping[str, Any], name: str) -> float:
    """In its bounds."""
    lowest, highest = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
    wanted = WORDS.get(name)
    usual = wanted if isinstance(wanted, int | float) and (schema["type"] == "number" or isinstance(wanted, int)) else 1
    return float(found) if isinstance(found := min(max(usual, lowest), highest), float) else int(found)


def _text(schema: Mapping[str, Any], name: str) -> str:
    """What stands in a field of that name, or whatever its pattern and length allow."""
    wanted = [_FORMATS[schema["format"]]] if schema.get("format") in _FORMATS else []
    wanted += [WORDS[name]] if isinstance(WORDS.get(name), str) else []
    wanted += [_UUID] if name == "id" or name.endswith("_id") else []
    wanted += [_SHA256] if name.endswith("sha256") else []
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 10**9)
    pattern = re.compile(schema.get("pattern", ""))
    for value in (*wanted, *_PLAIN):
        if shortest <= len(value) <= longest and pattern.search(value):
            return str(value)
    raise ValueError(f"no example of {name!r}: {dict(schema)} (expected one in central.web.examples)")
