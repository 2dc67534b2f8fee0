"""YAML 1.2 core schema to JSON values, with the line and column of everything.

Why: a workflow file is written by hand. YAML 1.1 readers turn `no` into false, 0755 into 493 and let the last of two
equal keys win; and an error without a line is half an error.

How: ruamel.yaml (pure Python) gives parse events; values are built here, without recursion, by the core schema's rules
(YAML 1.2.2 section 10.3.2). For each place the position is kept, and for unquoted scalars that are not text the source
text. What an older reader would read differently is a warning.

It must never make anything but JSON: tags of other types, NaN, cycles and keys that are not text are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from indegree.events.definition_model import DefinitionError, Problem
from indegree.events.json_values import MAX_DEPTH, member_path

MAX_NODES = 1_000_000
"""Scalars, lists and objects of one file, those behind aliases counted each time they are used."""


@dataclass(frozen=True, slots=True)
class Located(Problem):
    """A problem (or a note) with its place in a file; both count from 1, 0 is unknown."""

    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        # Called by name: super() without arguments does not work in slotted dataclasses on Python 3.11.
        text = Problem.__str__(self)
        return f"line {self.line}, column {self.column}: {text}" if self.line else text


@dataclass(slots=True)
class Document:
    """What was read. Paths are those of definitions (`tasks[3].retry.delay`).

    marks: path of each value -> (line, column); keys: path -> (line, column) of its key
    sources: path -> source text of an unquoted scalar that is not text
    """

    value: Any = None
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    warnings: list[Located] = field(default_factory=list)

    def locate(self, problem: Problem) -> Located:
        """The problem with its line and column: those of the nearest place that is known."""
        line, column = self._position(problem.path)
        message = problem.message
        lines = [str(found[0]) for found in map(self._position, problem.see) if found[0]]
        if lines:
            first = f"line {line}, first in line" if problem.path.endswith(".id") else "their lines:"
            message += f" ({first} {', '.join(lines)})"
        return Located(problem.path, message, problem.see, line, column)

    def _position(self, path: str) -> tuple[int, int]:
        while True:
            found = self.keys.get(path) or self.marks.get(path)
            if found is not None:
                return found
            if not path:
                return (0, 0)
            path = path[: max(path.rfind("."), path.rfind("["), 0)]


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_AMBIGUOUS = (
    (re.compile(r"(?i:yes|no|on|off)"), "is text here and true or false for YAML 1.1"),
    (re.compile(r"[-+]?0[0-9]+"), "is the number {value} here and octal for YAML 1.1"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "is text here and a number for YAML 1.1"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*(?:\.[0-9_]*)?"), "is text here and a number for YAML 1.1"),
    (
        re.compile(r"[-+]?(?:[0-9]+[eE][-+]?|[0-9]*\.[0-9]*[eE])[0-9]+"),
        "is the number {value} here and text for other readers",
    ),
    (re.compile(r"[-+]?[0-9]*\.[0-9]*0|[-+]?[0-9]+\."), "is the number {value} here, not the text as written"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "is text here and a date for YAML 1.1"),
    (re.compile(r"0o[0-7]+|0b[01_]+"), "is {value} here and something else for YAML 1.1"),
)


def resolve(text: str) -> Any:
    """The value of an unquoted scalar by the core schema. Raises ValueError for what is not JSON."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    first = text[0]
    if not (first.isdigit() or first in "+-."):
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > 4_000:
            raise ValueError("an integer of this length is not a number that others can read; put it in quotes")
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"{text[:40]} is out of the range of numbers")
        return number
    if _NOT_JSON.fullmatch(text):
        raise ValueError(f"{text} is not JSON; use null, or put it in quotes")
    return text


def ambiguity(text: str, value: Any) -> str | None:
    """What another reader of YAML would make of this unquoted scalar, or None."""
    first = text[:1]
    if not (first.isdigit() or first in "+-.yYnNoO"):
        return None
    for pattern, message in _AMBIGUOUS:
        if pattern.fullmatch(text):
            return message.format(value=value)
    return None


@dataclass(slots=True)
class _Open:
    """A list or an object that is being read."""

    container: Any
    path: str
    anchor: str | None
    depth: int
    nodes_before: int
    key: str | None = None
    key_position: tuple[int, int] = (0, 0)
    deepest: int = 0


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    nodes: int
    depth: int


def read_yaml(text: str) -> Document:
    """Read one YAML document. Raises DefinitionError with line and column for everything that is wrong with it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reading = _Reading()
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            reading.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        if "found character '\\t'" in message:
            message += "; indent with spaces"
        at = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        reading.problems.append(Located("", f"not YAML: {message}", (), *at))
    except YAMLError as error:
        reading.problems.append(Located("", f"not YAML: {' '.join(str(error).split())[:300]}"))
    except RecursionError:
        reading.problems.append(Located("", f"nested deeper than {MAX_DEPTH} lists and objects"))
    if reading.problems:
        raise DefinitionError(list(reading.problems), "the file")
    return reading.document


class _Stop(DefinitionError):
    """Reading further makes no sense."""


class _Reading:
    """Builds a document from parse events."""

    def __init__(self) -> None:
        self.document = Document()
        self.problems: list[Problem] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Anchored | None] = {}
        self.nodes = 0
        self.documents = 0

    def take(self, event: Any) -> None:
        match type(event).__name__:
            case "DocumentStartEvent":
                self.documents += 1
                if self.documents > 1:
                    self.stop(event, "a second document (---); a workflow file has one")
            case "ScalarEvent":
                self.scalar(event)
            case "MappingStartEvent":
                self.open(event, {}, "map")
            case "SequenceStartEvent":
                self.open(event, [], "seq")
            case "MappingEndEvent" | "SequenceEndEvent":
                self.close()
            case "AliasEvent":
                self.alias(event)
            case _:
                pass

    def position(self, event: Any) -> tuple[int, int]:
        return event.start_mark.line + 1, event.start_mark.column + 1

    def problem(self, event: Any, message: str, path: str | None = None) -> None:
        where = path if path is not None else self.stack[-1].path if self.stack else ""
        self.problems.append(Located(where, message, (), *self.position(event)))

    def stop(self, event: Any, message: str) -> None:
        self.problem(event, message)
        raise _Stop(self.problems, "the file")

    def scalar(self, event: Any) -> None:
        text: str = event.value
        if self.stack and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is None:
            self.key(event, text)
            return
        plain = event.style is None or event.style == ""
        path = self.path()
        value = self.typed(event, text, plain, path)
        if plain and not isinstance(value, str):
            self.document.sources[path] = text
        if plain and event.tag in (None, "") and (unclear := ambiguity(text, value)) is not None:
            self.document.warnings.append(
                Located(path, f"{text} {unclear}; put it in quotes if it is text", (), *self.position(event))
            )
        self.put(event, value, 1, 0, event.anchor)

    def typed(self, event: Any, text: str, plain: bool, path: str) -> Any:
        tag = str(event.tag) if event.tag not in (None, "", "!") else ""
        tag = tag.replace("tag:yaml.org,2002:", "!!")
        try:
            if event.tag in (None, "") and plain:
                return resolve(text)
            if tag in ("", "!!str") or (not plain and event.tag in (None, "")):
                return text
            if tag in ("!!int", "!!float", "!!bool", "!!null"):
                value = resolve(text)
                fits = {"!!int": int, "!!float": int | float, "!!bool": bool, "!!null": type(None)}[tag]
                if isinstance(value, fits) and (tag == "!!bool" or not isinstance(value, bool)):
                    return float(value) if tag == "!!float" and value is not None else value
                self.problem(event, f"{text!r:.60} is not a value of the type {tag}", path)
                return None
        except ValueError as error:
            self.problem(event, str(error), path)
            return None
        self.problem(event, f"the tag {tag} is not of the core schema; leave it out", path)
        return None

    def key(self, event: Any, text: str) -> None:
        top = self.stack[-1]
        if (event.style is None or event.style == "") and not isinstance(self.key_value(text), str):
            self.problem(event, f"the key {text or 'null'} is not text; put it in quotes")
        if text == "<<" and not event.style:
            self.problem(event, "merge keys (<<) are not part of YAML 1.2; write the fields out, or use `defaults`")
        if text in top.container or text == "<<":
            first = self.document.keys.get(member_path(top.path, text), (0, 0))[0]
            if text in top.container:
                line = self.position(event)[0]
                self.problem(
                    event,
                    f"the key {text!r} stands twice in one object, in line {first} and line {line}: keep one of them",
                )
        top.key = text
        top.key_position = self.position(event)

    def key_value(self, text: str) -> Any:
        try:
            return resolve(text)
        except ValueError:
            return None

    def path(self) -> str:
        if not self.stack:
            return ""
        top = self.stack[-1]
        if isinstance(top.container, dict):
            return member_path(top.path, top.key or "")
        return f"{top.path}[{len(top.container)}]"

    def open(self, event: Any, container: Any, kind: str) -> None:
        if self.stack and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is None:
            self.stop(event, "a list or an object as a key; keys are text")
        tag = str(event.tag) if event.tag not in (None, "", "!") else ""
        if tag and tag.replace("tag:yaml.org,2002:", "!!") != f"!!{kind}":
            self.problem(event, f"the tag {tag} is not of the core schema; leave it out", self.path())
        if len(self.stack) >= MAX_DEPTH:
            self.stop(event, f"nested deeper than {MAX_DEPTH} lists and objects")
        path = self.path()
        if event.anchor:
            self.anchors[event.anchor] = None
        depth = len(self.stack) + 1
        opened = _Open(container, path, event.anchor, depth, self.nodes, deepest=depth)
        self.document.marks.setdefault(path, self.position(event))
        self.attach(container)
        self.count(event, 1)
        self.stack.append(opened)

    def close(self) -> None:
        closed = self.stack.pop()
        if closed.anchor:
            self.anchors[closed.anchor] = _Anchored(
                closed.container, self.nodes - closed.nodes_before, closed.deepest - closed.depth + 1
            )
        if self.stack:
            self.stack[-1].deepest = max(self.stack[-1].deepest, closed.deepest)

    def alias(self, event: Any) -> None:
        if self.stack and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is None:
            self.stop(event, "an alias as a key; keys are text")
        found = self.anchors.get(event.anchor)
        if found is None:
            inside = event.anchor in self.anchors
            self.stop(event, f"*{event.anchor} {'stands inside itself' if inside else 'has no anchor before it'}")
            return
        self.put(event, found.value, found.nodes, found.depth, None)

    def put(self, event: Any, value: Any, nodes: int, depth: int, anchor: str | None) -> None:
        if len(self.stack) + depth > MAX_DEPTH:
            self.stop(event, f"nested deeper than {MAX_DEPTH} lists and objects")
        self.document.marks.setdefault(self.path(), self.position(event))
        self.attach(value)
        self.count(event, nodes)
        if self.stack:
            self.stack[-1].deepest = max(self.stack[-1].deepest, len(self.stack) + depth)
        if anchor:
            self.anchors[anchor] = _Anchored(value, 1, 0)

    def attach(self, value: Any) -> None:
        if not self.stack:
            self.document.value = value
            return
        top = self.stack[-1]
        if isinstance(top.container, dict):
            assert top.key is not None
            self.document.keys.setdefault(member_path(top.path, top.key), top.key_position)
            top.container.setdefault(top.key, value)  # a repeated key is a problem already
            top.key = None
        else:
            top.container.append(value)

    def count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.stop(event, f"more than {MAX_NODES} values, those behind aliases counted each time")
