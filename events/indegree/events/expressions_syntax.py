"""The grammar of expressions: from text to a small tree and back.

Why: expressions decide what runs, and they stand in files that anybody may write. So the language is tiny, has its own
parser, and a text that is not an expression says where it stops being one.

How: a tokenizer of one regular expression, then a parser by precedence:

    expression  = and_list ("or" and_list)*
    and_list    = negation ("and" negation)*
    negation    = "not" negation | comparison
    comparison  = operand [("==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in") operand]
    operand     = literal | ("len" "(" expression ")" | "(" expression ")" | path) access*
    access      = "." NAME | "[" expression "]"
    path        = NAME access*                             # NAME: params, trigger, run, tasks, item, ... or a task's id

Chains (`a or b or c`, `x.y.z`) are kept flat, and nesting is bounded, so nothing that walks the tree can recurse far.
`unparse` is the inverse of `parse`: parse(unparse(tree)) == tree.

It must never evaluate anything, and no text from a value ever comes here: values are operands.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TypeAlias

MAX_LENGTH = 4_096
"""Characters in one expression. The longest condition that we saw in public workflow files has about 400."""

MAX_NESTING = 32
"""Parentheses, `not`, `len` and index brackets inside each other."""

ROOTS = frozenset({"params", "trigger", "run", "tasks", "item", "index", "value", "key", "headers"})
KEYWORDS = frozenset({"and", "or", "not", "in", "len", "true", "false", "null"})
RESERVED = ROOTS | KEYWORDS | {"context"}
"""Names that no task and no parameter may have (INTERFACES section 2)."""


class ExpressionError(ValueError):
    """A text is not an expression. `position` counts characters from 0; `text` is the whole expression."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        start = max(0, position - 30)
        shown = text[start : start + 60].replace("\n", " ")
        super().__init__(
            f"{problem} (at character {position + 1} of {'...' if start else ''}{shown}"
            f"{'...' if start + 60 < len(text) else ''})"
        )
        self.problem = problem
        self.text = text
        self.position = position


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON scalar."""

    value: bool | int | float | str | None

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and true are three literals, although Python calls them equal.
        return isinstance(other, Literal) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Path:
    """A root or a task's id, and what is read below it: `check.files[0]` is Path("check", (Literal("files"), ...))."""

    name: str
    steps: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Members of something that is not a name: `(a or b).files`."""

    of: Node
    steps: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Length:
    of: Node


@dataclass(frozen=True, slots=True)
class Not:
    of: Node


@dataclass(frozen=True, slots=True)
class And:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """`operator` is one of == != < <= > >= in, or `not in`."""

    operator: str
    left: Node
    right: Node


Node: TypeAlias = Literal | Path | Access | Length | Not | And | Or | Compare

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9A-Za-z_.]))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<op>==|!=|<=|>=|[<>()\[\].])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_FOREIGN = {
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`",
    "=": "write `==` to compare",
    "+": "expressions do not compute; do it in a task",
    "-": 'expressions do not compute; do it in a task (and a task id with `-` is written tasks["the-id"].output)',
    "*": "expressions do not compute; do it in a task",
    "/": "expressions do not compute; do it in a task",
    "%": "expressions do not compute; do it in a task",
    "|": "there are no filters; do it in a task",
    ",": "there are no lists of values",
    "{": "an expression field needs no ${{ }} inside, and there are no literal objects",
    "$": "an expression reads names without `$`",
    '"': 'this text is not closed with "',
    "'": "this text is not closed with '",
}

Token: TypeAlias = tuple[str, str, int]  # kind, text, position


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters, this one {len(text)}", text, 0)
    parser = _Parser(text)
    node = parser.disjunction(0)
    kind, found, position = parser.token
    if kind != "end":
        hint = ""
        if found in _COMPARISONS or found in ("in", "not"):
            hint = "; comparisons are not chained: write `a < b and b < c`"
        elif kind == "name":
            hint = "; two values need `and`, `or` or a comparison between them"
        raise ExpressionError(f"{found!r} is not expected here{hint}", text, position)
    return node


def parse_until_braces(text: str, start: int) -> tuple[Node, str, int]:
    """The expression of a `${{ }}` whose text begins at `start`: its tree, its text, and the place after the `}}`."""
    position = start
    while True:  # find the end first, so that a `}}` inside a text literal does not count
        if text.startswith("}}", position):
            break
        match = _TOKEN.match(text, position)
        if match is not None and match.lastgroup != "end" and match.end() > position:
            position = match.end()
        elif position < len(text) and text[position] not in "\"'":
            position += 1
        else:
            raise ExpressionError("this ${{ is not closed with }}", text, start - 3)
    inner = text[start:position].strip()
    return parse(inner), inner, position + 2


class _Parser:
    __slots__ = ("next_position", "text", "token")

    def __init__(self, text: str) -> None:
        self.text = text
        self.next_position = 0
        self.token: Token = ("end", "", 0)
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.next_position)
        if match is None:
            rest = self.text[self.next_position :]
            position = self.next_position + len(rest) - len(rest.lstrip(" \t\r\n"))
            raise self.not_a_token(position)
        kind = match.lastgroup
        assert kind is not None
        self.token = (kind, match[kind], match.start(kind))
        self.next_position = match.end()

    def not_a_token(self, position: int) -> ExpressionError:
        for length in (2, 1):
            found = self.text[position : position + length]
            if found in _FOREIGN:
                return ExpressionError(f"{found!r} is not part of the language: {_FOREIGN[found]}", self.text, position)
        found = self.text[position]
        if found.isdigit() or (found == "." and self.text[position + 1 : position + 2].isdigit()):
            return ExpressionError("this is not a JSON number", self.text, position)
        return ExpressionError(f"{found!r} is not part of the language", self.text, position)

    def error(self, problem: str) -> ExpressionError:
        return ExpressionError(problem, self.text, self.token[2])

    def at(self, *texts: str) -> bool:
        return self.token[0] in ("op", "name") and self.token[1] in texts

    def deeper(self, depth: int) -> int:
        if depth >= MAX_NESTING:
            raise self.error(f"nested deeper than {MAX_NESTING}")
        return depth + 1

    def disjunction(self, depth: int) -> Node:
        items = [self.conjunction(depth)]
        while self.at("or"):
            self.advance()
            items.append(self.conjunction(depth))
        return items[0] if len(items) == 1 else Or(tuple(items))

    def conjunction(self, depth: int) -> Node:
        items = [self.negation(depth)]
        while self.at("and"):
            self.advance()
            items.append(self.negation(depth))
        return items[0] if len(items) == 1 else And(tuple(items))

    def negation(self, depth: int) -> Node:
        if self.at("not"):
            depth = self.deeper(depth)
            self.advance()
            return Not(self.negation(depth))
        left = self.operand(depth)
        operator = self.token[1]
        if (self.token[0] == "op" and operator in _COMPARISONS) or self.at("in"):
            self.advance()
        elif self.at("not"):
            self.advance()
            if not self.at("in"):
                raise self.error("after a value, `not` is only possible in `not in`")
            self.advance()
            operator = "not in"
        else:
            return left
        return Compare(operator, left, self.operand(depth))

    def operand(self, depth: int) -> Node:
        kind, found, _ = self.token
        node: Node
        if kind == "number":
            node = Literal(self.number(found))
            self.advance()
            return node
        if kind == "text":
            node = Literal(self.literal_text(found))
            self.advance()
            return node
        if self.at("("):
            depth = self.deeper(depth)
            self.advance()
            node = self.disjunction(depth)
            self.close(")")
            steps = self.accesses(depth)
            if not steps:
                return node
            if isinstance(node, Path):
                return Path(node.name, node.steps + steps)
            if isinstance(node, Access):
                return Access(node.of, node.steps + steps)
            return Access(node, steps)
        if kind != "name":
            what = "the expression ends here, where a value is" if kind == "end" else f"{found!r} is not"
            raise self.error(f"{what} expected: a value is a name, a text, a number, true, false, null or len(...)")
        if found in ("true", "false", "null"):
            self.advance()
            return Literal({"true": True, "false": False, "null": None}[found])
        if found == "len":
            depth = self.deeper(depth)
            self.advance()
            if not self.at("("):
                raise self.error("`len` needs parentheses: len(x)")
            self.advance()
            of = self.disjunction(depth)
            self.close(")")
            return Length(of)
        if found in KEYWORDS:
            raise self.error(f"{found!r} stands where a value is expected")
        position = self.token[2]
        self.advance()
        if self.at("("):
            raise ExpressionError(f"{found!r} is called, and `len` is the only function there is", self.text, position)
        return Path(found, self.accesses(depth))

    def accesses(self, depth: int) -> tuple[Node, ...]:
        steps: list[Node] = []
        while True:
            if self.at("."):
                self.advance()
                kind, found, _ = self.token
                if kind != "name":
                    raise self.error('after a dot comes a name; any other member is written ["the name"]')
                self.advance()
                steps.append(Literal(found))
            elif self.at("["):
                inner = self.deeper(depth)
                self.advance()
                steps.append(self.disjunction(inner))
                self.close("]")
            else:
                return tuple(steps)

    def close(self, bracket: str) -> None:
        if not self.at(bracket):
            raise self.error(f"{bracket!r} is missing")
        self.advance()

    def number(self, found: str) -> int | float:
        if not set(found) & set(".eE"):
            return int(found) if len(found) <= 4_000 else self.too_long()
        number = float(found)
        if math.isinf(number):
            raise self.error("this number is out of range")
        return number

    def too_long(self) -> int:
        raise self.error("this number has too many digits")

    def literal_text(self, found: str) -> str:
        start = self.token[2]

        def escaped(match: re.Match[str]) -> str:
            code = match[1]
            if code[0] == "u" and len(code) == 5:
                return chr(int(code[1:], 16))
            if code in _ESCAPED:
                return _ESCAPED[code]
            raise ExpressionError(
                f"\\{code} is no escape; there are \\n \\t \\r \\b \\f \\\\ \\/ \\\" \\' and \\uXXXX",
                self.text,
                start + 1 + match.start(),
            )

        text = _ESCAPE.sub(escaped, found[1:-1])
        if not text.isascii():
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins \ud83d\ude00
            if "\ufffd" in text and "\ufffd" not in found and "\\ufffd" not in found.lower():
                raise ExpressionError("this text holds half of a surrogate pair", self.text, start)
        return text


def unparse(node: Node) -> str:
    """The canonical text of a tree: one space around operators, texts in double quotes, only needed parentheses."""
    match node:
        case Literal(value=value):
            return json.dumps(value, ensure_ascii=False)
        case Path(name=name, steps=steps):
            return name + _unparse_steps(steps)
        case Access(of=of, steps=steps):
            return f"({unparse(of)}){_unparse_steps(steps)}"
        case Length(of=of):
            return f"len({unparse(of)})"
        case Not(of=of):
            return f"not {_inside(of, And, Or)}"
        case And(items=items):
            return " and ".join(_inside(item, And, Or) for item in items)
        case Or(items=items):
            return " or ".join(_inside(item, Or) for item in items)
        case Compare(operator=operator, left=left, right=right):
            inner = (And, Or, Not, Compare)
            return f"{_inside(left, *inner)} {operator} {_inside(right, *inner)}"


def _inside(node: Node, *weaker: type) -> str:
    return f"({unparse(node)})" if isinstance(node, weaker) else unparse(node)


def _unparse_steps(steps: tuple[Node, ...]) -> str:
    parts = []
    for step in steps:
        if isinstance(step, Literal) and isinstance(step.value, str) and _NAME.fullmatch(step.value):
            parts.append("." + step.value)
        else:
            parts.append(f"[{unparse(step)}]")
    return "".join(parts)
