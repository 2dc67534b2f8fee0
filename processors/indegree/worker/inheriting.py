"""Threads that user code starts run in a copy of the context of whoever started them.

Why: the current span, and whose output is captured, are context variables, and Python's threads begin with an empty
context (until 3.14, where it is a choice). Without this a span that user code makes in a thread of its own would begin
a trace of its own, and what it prints would be nobody's.

How: `Thread.start` and `ThreadPoolExecutor.submit` are wrapped while a worker lives. Only inside of a task's code they
do anything: the worker's own threads are left alone. What a library starts by other means (`_thread`, C) is not
reached.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from indegree.worker.current import CURRENT

_guard = threading.Lock()
_installed = 0
_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit


def install() -> None:
    """Begins to hand contexts on. Counted: each call needs one `uninstall`."""
    global _installed, _start, _submit
    with _guard:
        _installed += 1
        if _installed == 1:
            _start, _submit = threading.Thread.start, ThreadPoolExecutor.submit
            threading.Thread.start = _started  # type: ignore[method-assign]
            ThreadPoolExecutor.submit = _submitted  # type: ignore[method-assign, assignment]


def uninstall() -> None:
    """Ends what `install` began, unless somebody else has wrapped the same since."""
    global _installed
    with _guard:
        _installed -= 1
        if not _installed:
            if threading.Thread.start is _started:
                threading.Thread.start = _start  # type: ignore[method-assign]
            if ThreadPoolExecutor.submit is _submitted:
                ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]


def _started(self: threading.Thread) -> None:
    if CURRENT.get() is not None:
        self.run = functools.partial(contextvars.copy_context().run, self.run)  # type: ignore[method-assign]
    _start(self)


def _submitted(self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    if CURRENT.get() is not None:
        function = functools.partial(contextvars.copy_context().run, function)
    return _submit(self, function, *args, **kwargs)
