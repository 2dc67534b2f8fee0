"""The contract may grow, but nothing in it may change its number, type or meaning.

`v1.json` holds every message, field and enum value that was ever released. Add to it with
`python tests/contract/test_contract.py` after adding fields; never edit what stands there.
"""

import json
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from indegree.v1 import event_pb2, progress_pb2, task_pb2, trigger_pb2, value_pb2, workflow_pb2

RELEASED = Path(__file__).with_name("v1.json")
SCHEMAS = Path(__file__).parents[2] / "schemas" / "indegree" / "v1"
_TYPES = {value: name for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}


def today() -> dict[str, Any]:
    out: dict[str, Any] = {}

    def enum(descriptor: Any) -> None:
        out[descriptor.full_name] = {value.name: value.number for value in descriptor.values}

    def message(descriptor: Any) -> None:
        fields = {}
        for field in descriptor.fields:
            kind = _TYPES[field.type]
            if field.message_type is not None:
                kind += " " + field.message_type.full_name
            if field.enum_type is not None:
                kind += " " + field.enum_type.full_name
            fields[str(field.number)] = [field.name, kind, "repeated" if field.is_repeated else "single"]
        out[descriptor.full_name] = fields
        for inner in descriptor.nested_types:
            message(inner)
        for inner in descriptor.enum_types:
            enum(inner)

    for module in (value_pb2, trigger_pb2, task_pb2, event_pb2, progress_pb2, workflow_pb2):
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            message(descriptor)
    return out


def test_nothing_released_has_changed() -> None:
    released, now = json.loads(RELEASED.read_text()), today()
    for name, fields in released.items():
        assert name in now, f"{name} is gone"
        for key, value in fields.items():
            assert now[name].get(key) == value, f"{name} {key}: was {value}, is {now[name].get(key)}"


def test_released_file_is_complete() -> None:
    assert json.loads(RELEASED.read_text()) == today(), "new fields: run `python tests/contract/test_contract.py`"


def test_changed_number_or_type_is_found() -> None:
    released, now = json.loads(RELEASED.read_text()), today()
    now["indegree.v1.Frame"]["2"] = ["epoch", "TYPE_INT32", "single"]
    assert any(now[name].get(key) != value for name, fields in released.items() for key, value in fields.items())


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(today(), indent=1) + "\n")
