"""Secrets: named by a task, found by the worker, never on Kafka.

A task names its secrets; the worker looks for each NAME in its environment as `INDEGREE_SECRET_NAME`, then as a file
named by `INDEGREE_SECRET_NAME_FILE` (one final newline is dropped). User code gets them as `context.secrets["NAME"]`,
commands and isolated functions also as the environment variable NAME. Their values are masked in captured output, in
error texts, in what a task says of its progress, and in outputs of functions and commands. Masking is a net for
accidents: code that encodes a secret before it prints or returns it is not caught.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from indegree.events import json_values

MASK = "***"
_SHORTEST = 4  # masking shorter values would make output unreadable and protect nothing


class SecretMissing(Exception):
    """This worker has no value for a secret that a task names."""


def resolve(names: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of `names`. Raises SecretMissing, naming what to set."""
    env = os.environ if environ is None else environ
    found: dict[str, str] = {}
    for name in names:
        variable = f"INDEGREE_SECRET_{name}"
        value = env.get(variable)
        if value is None and (path := env.get(variable + "_FILE")):
            try:
                value = Path(path).read_text("utf-8").removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise SecretMissing(f"secret {name!r}: the file {path} cannot be read ({error})") from None
        if value is None:
            raise SecretMissing(
                f"secret {name!r} is not known to this worker: set {variable}, "
                f"or {variable}_FILE to the path of a file that holds it"
            )
        found[name] = value
    return found


class Masking:
    """Replaces secrets in text. Falsy when there is nothing to replace."""

    __slots__ = ("_values", "longest")

    def __init__(self, values: Iterable[str]) -> None:
        # Longest first: a secret that contains another one must not leave its rest behind.
        self._values = sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True)
        self.longest = len(self._values[0].encode("utf-8", "backslashreplace")) if self._values else 0

    def __bool__(self) -> bool:
        return bool(self._values)

    def __call__(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def within(self, value: Any) -> Any:
        """The same of each text in a JSON value, names of members included; a number that holds one becomes text."""
        match value:
            case str():
                return self(value)
            case list():
                return [self.within(member) for member in value]
            case dict():
                return {self(name): self.within(member) for name, member in value.items()}
            case int() | float() if (text := json_values.write(value).decode()) != (masked := self(text)):
                return masked
            case _:
                return value


NOTHING = Masking(())
