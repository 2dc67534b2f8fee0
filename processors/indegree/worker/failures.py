"""Exceptions as data: the `Error` message of the contract.

Why: an error crosses the wire as names and text, and no class of the user is ever rebuilt from it. It has to be bounded
(a chain of 5,000 causes, a cycle of causes, a message of 2 MiB) and must never fail itself.

How: the chain of causes is walked with a set of what was seen; text is cleaned, masked and cut. Builtin types are named
plainly (`OSError`), all others by module and qualified name (`orders.errors.Stale`).
"""

from __future__ import annotations

import os
import traceback

from indegree.v1.value_pb2 import Error
from indegree.worker.bounds import Bounds
from indegree.worker.plain_text import carriable, cut_end, cut_middle, described
from indegree.worker.secret_values import NOTHING, Masking

_MAX_BASES = 20
_MAX_FRAMES = 50
_MAX_NAME = 300
_MAX_OWN_MESSAGE = 8_192
_HERE = os.path.dirname(__file__) + os.sep


class NotRetried(Exception):
    """A failure that is the same at each attempt: wrong arguments, an output that is not JSON, a result too large."""


def qualified(kind: type) -> str:
    """The name under which a type is recorded: `OSError`, `orders.errors.Stale`."""
    try:
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return carriable(str(name))[:_MAX_NAME]
    except Exception:  # noqa: BLE001 - a metaclass may do anything here
        return "unknown"


def failure(kind: str, message: str, *, permanent: bool = False, exit_code: int | None = None) -> Error:
    """An error of ours, with a word for its type (`timeout`, `exit_code`, `signal`, `rejected`, ...)."""
    text, cut = cut_end(message, _MAX_OWN_MESSAGE)
    error = Error(type=kind, message=text, permanent=permanent, cut=cut)
    if exit_code is not None:
        error.exit_code = exit_code
    return error


def error_of(raised: BaseException, bounds: Bounds, mask: Masking = NOTHING) -> Error:
    """The record of `raised` with its causes, nearest first. Never raises."""
    try:
        return _chain(raised, bounds, mask)
    except BaseException as error:  # noqa: BLE001 - recording a failure must not fail, whatever user code does in it
        return Error(
            type=qualified(type(raised)),
            message=f"(this error could not be described: {qualified(type(error))})",
            permanent=_is_permanent(type(raised)),
            cut=True,
        )


def _chain(raised: BaseException, bounds: Bounds, mask: Masking) -> Error:
    top = _one(raised, bounds, mask, bounds.traceback_bytes)
    seen = {id(raised)}
    current = _cause(raised)
    while current is not None:
        if id(current) in seen or len(top.causes) >= bounds.causes:
            top.cut = True
            break
        seen.add(id(current))
        # The nearest causes may be long; together they stay below a few times the traceback's bound.
        top.causes.append(_one(current, bounds, mask, bounds.traceback_bytes // (2 + len(top.causes))))
        current = _cause(current)
    return top


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _one(raised: BaseException, bounds: Bounds, mask: Masking, traceback_bytes: int) -> Error:
    kind = type(raised)
    message, cut = cut_end(mask(described(raised)), bounds.message_bytes)
    trace, trace_cut = cut_middle(mask(_traceback_text(raised)), traceback_bytes)
    error = Error(
        type=qualified(kind),
        bases=[qualified(base) for base in kind.__mro__[1 : 1 + _MAX_BASES] if base is not object],
        message=message,
        traceback=trace,
        cut=cut or trace_cut,
        permanent=_is_permanent(kind),
    )
    if isinstance(raised, SystemExit):
        code = raised.code
        error.exit_code = code if isinstance(code, int) and -(2**31) <= code < 2**31 else 0 if code is None else 1
    return error


def _is_permanent(kind: type) -> bool:
    """By name, so that a process that runs one function does not have to import the SDK for it."""
    return issubclass(kind, NotRetried) or any(
        base.__name__ == "Permanent" and base.__module__.partition(".")[0] == "indegree" for base in kind.__mro__
    )


def _traceback_text(raised: BaseException) -> str:
    """The frames of user code (ours at the top left out), without the causes: those are recorded apart."""
    where = raised.__traceback__
    while where is not None and where.tb_frame.f_code.co_filename.startswith(_HERE):
        where = where.tb_next
    if where is None and not isinstance(raised, BaseExceptionGroup):
        return ""
    try:
        if isinstance(raised, BaseExceptionGroup):  # its members are in the standard library's text only
            return "".join(traceback.format_exception(type(raised), raised, where, limit=-_MAX_FRAMES, chain=False))
        # The standard formatter would build the whole chain of causes first, however long.
        frames = traceback.StackSummary.extract(traceback.walk_tb(where), limit=-_MAX_FRAMES)
        notes = "".join(f"{described(note)}\n" for note in getattr(raised, "__notes__", ()))
        last = f"{qualified(type(raised))}: {described(raised)}\n{notes}"
        return "Traceback (most recent call last):\n" + "".join(frames.format()) + last
    except BaseException as error:  # noqa: BLE001 - formatting calls user code (__str__, __notes__, source loaders)
        return f"(the traceback could not be made: {type(error).__name__})"
