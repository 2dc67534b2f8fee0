"""A definition as a YAML file: the normal form, made to be read and gone on with.

Why: `indegree workflow fmt`, `to_yaml` and `show` print workflows for people.

How: a writer for JSON values only: short lists and objects on one line, text without quotes where every YAML reader
takes it for text, scripts of several lines as literal blocks, everything else as double-quoted JSON text (which YAML
includes).

It must never write a text that reads back differently: reading what it wrote gives an equal definition.
"""

from __future__ import annotations

import json
import re
from typing import Any

from indegree.events.definition import Definition
from indegree.events.json_values import number_text
from indegree.sdk.file_yaml import ambiguity, resolve

_WIDTH = 110
_PLAIN = re.compile(r"(?:\./|[A-Za-z0-9_/])(?:[A-Za-z0-9_./@%+=-]|:(?=[A-Za-z])| (?=[A-Za-z0-9_./]))*", re.ASCII)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def normal_yaml(definition: Definition) -> str:
    """The normal form of a definition as YAML 1.2."""
    return to_yaml(definition.normal())


def to_yaml(value: dict[str, Any]) -> str:
    """An object as a YAML document in block style."""
    lines: list[str] = []
    for key, member in value.items():
        _member(lines, _scalar(key) + ":", member, "")
    return "\n".join(lines) + "\n"


def _member(lines: list[str], head: str, value: Any, indent: str) -> None:
    """`head value` on one line where it fits, else below it."""
    inner = indent + "  "
    if isinstance(value, str) and _is_block(value):
        chomp = "" if value.endswith("\n") else "-"
        lines.append(f"{indent}{head} |{chomp}")
        lines.extend(inner + line if line else "" for line in value.removesuffix("\n").split("\n"))
        return
    flow = _flow(value)
    short = len(indent) + len(head) + len(flow) + 1 <= _WIDTH
    if not isinstance(value, dict | list) or not value or (short and _is_simple(value, 2)):
        lines.append(f"{indent}{head} {flow}")
        return
    lines.append(f"{indent}{head}")
    if isinstance(value, dict):
        for key, member in value.items():
            _member(lines, _scalar(key) + ":", member, inner)
    else:
        for member in value:
            _element(lines, member, inner)


def _element(lines: list[str], value: Any, indent: str) -> None:
    flow = _flow(value)
    if not isinstance(value, dict | list) or not value or (len(indent) + len(flow) <= _WIDTH and _is_simple(value, 3)):
        lines.append(f"{indent}- {flow}")
    elif isinstance(value, dict):
        start = len(lines)
        for key, member in value.items():
            _member(lines, _scalar(key) + ":", member, indent + "  ")
        lines[start] = f"{indent}- {lines[start].lstrip(' ')}"
    else:
        lines.append(f"{indent}-")
        for member in value:
            _element(lines, member, indent + "  ")


def _is_simple(value: Any, levels: int) -> bool:
    """Few enough levels for one line, and no text of several lines in it."""
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_simple(member, levels - 1) for member in members)
    return not (isinstance(value, str) and "\n" in value)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _number(value: float) -> str:
    """A float so that every reader takes it for a number: whole ones in digits, exponents with a point and a sign."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    mantissa, e, exponent = number_text(value).partition("e")
    if not e:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"


def _scalar(text: str) -> str:
    if len(text) < 1_000 and _PLAIN.fullmatch(text) and resolve(text) == text and ambiguity(text, text) is None:
        return text
    if ('"' in text or "\\" in text) and "'" not in text and not _UNPRINTABLE.search(text):
        return f"'{text}'"
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _is_block(text: str) -> bool:
    """A text that a literal block keeps as it is: several lines, no odd white space, no control characters."""
    body = text.removesuffix("\n")
    if "\n" not in body or _UNPRINTABLE.search(body.replace("\n", "")) or "\t" in body:
        return False
    lines = body.split("\n")
    if not lines[0] or lines[0][0].isspace() or not lines[-1].strip():
        return False
    return all(line == line.rstrip() for line in lines)
