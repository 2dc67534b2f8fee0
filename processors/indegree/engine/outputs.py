"""Is a task's output JSON that may be kept? Asked for each result, so it is quick where it can be.

Why: an output is stored as bytes and spliced into other tasks' arguments; what is not JSON must fail its own task, not
the next one. But most outputs are small, and the thorough check walks through every member.

How: plain scalars and short flat lists are known by a pattern. All else is parsed with the same rules as everywhere
(unique keys, finite numbers); the walk for depth and lone surrogates is done only where the bytes could hold either.

It must accept exactly what `json_values.loads` accepts, but for a byte order mark, which cannot be spliced.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from indegree.events import json_values

_SCALAR = rb'(?:-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?|"[ !#-\[\]-~]*"|true|false|null)'
_PLAIN: Final = re.compile(rb"(?:%s|\[\]|\{\}|\[%s(?:,%s){0,20}\])\Z" % (_SCALAR, _SCALAR, _SCALAR))
_PLAIN_BYTES: Final = 1_024


def problem(data: bytes, max_depth: int) -> str:
    """Why `data` is not a JSON value, or "". Empty data is null."""
    if not data or (len(data) <= _PLAIN_BYTES and _PLAIN.match(data)):
        return ""
    if data.startswith(b"\xef\xbb\xbf"):
        return "the result is not JSON: it begins with a byte order mark"
    try:
        if data.count(b"[") + data.count(b"{") <= max_depth and b"\\u" not in data:
            _QUICK.decode(data.decode("utf-8"))
        else:
            json_values.loads(data, max_depth=max_depth)
    except json_values.JsonValueError as error:
        return f"the result is not JSON: {error}"
    except UnicodeDecodeError as error:
        return f"the result is not JSON: it is not UTF-8 ({error.reason} at byte {error.start})"
    except ValueError as error:
        return f"the result is not JSON: {error}"
    return ""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _float(digits: str) -> None:
    if math.isinf(float(digits)):
        raise ValueError(f"the number {digits:.40} is out of range")


_QUICK: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_float)
