"""The other side of `isolated`: a process that runs one function and ends.

SIGTERM raises `Stopped` in the function's thread, so that `finally` blocks run; the worker kills what does not end.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from indegree.v1.task_pb2 import Result, Task
from indegree.worker import inheriting, outcome, spans
from indegree.worker.attempt import Attempt
from indegree.worker.bounds import Bounds
from indegree.worker.functions import plan
from indegree.worker.invocation import perform, perform_async
from indegree.worker.isolated import ANSWER
from indegree.worker.messages import send
from indegree.worker.secret_values import Masking


class Stopped(BaseException):
    """The worker ends this attempt: it was cancelled, or is over its time limit."""


class CannotLoad(Exception):
    """The function cannot be loaded in a process of its own."""


class _Telling(Attempt):
    """An attempt whose progress goes to the worker at once."""

    __slots__ = ("answer",)
    # The pipe to the worker.
    answer: int

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "progress" and value is not None:
            send(self.answer, b"P", json.dumps(list(value)).encode())


def load(name: str, defined: str, file: str) -> Callable[..., Any]:
    """The function, by the record's name or by where it says it was defined; from its file if its module cannot be
    imported by name (a script, a module outside of sys.path). Raises CannotLoad."""
    problem = ""
    for candidate in (name, defined):
        module_name, _, path = candidate.partition(":")
        if not path or "<" in path:
            problem = problem or f"{candidate} is defined inside another function; move it to its module's top level"
            continue
        try:
            target: Any = _module(module_name, file)
            for part in path.split("."):
                target = getattr(target, part)
            return target  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - importing runs user code
            problem = problem or f"{candidate}: {type(error).__name__}: {error}"
    raise CannotLoad(f"{name} cannot be loaded in a process of its own: {problem}")


def _module(name: str, file: str) -> Any:
    if name != "__main__":
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not file or (error.name is not None and not f"{name}.".startswith(f"{error.name}.")):
                raise  # it is there, and something that it needs is not
    # Under another name: its `if __name__ == "__main__"` part must not run again.
    spec = importlib.util.spec_from_file_location("__indegree_main__" if name == "__main__" else name, file)
    if spec is None or spec.loader is None:
        raise CannotLoad(f"there is no module {name} and no file to load it from")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Reads the request, runs the function, sends the result."""
    answer = int(os.environ.pop(ANSWER))
    os.set_inheritable(answer, False)  # what the function starts must not hold the pipe open
    request = json.loads(sys.stdin.buffer.readline())
    fetched = {name: sys.stdin.buffer.read(size) for name, size in request["fetched"].items()}
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.path[:] = request["path"]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    task = Task.FromString(bytes.fromhex(request["task"]))
    task.traceparent, task.tracestate = request["traceparent"], request["tracestate"]
    inheriting.install()
    spans.only_pass_on()
    bounds = Bounds(payload_bytes=request["payload_bytes"])
    attempt = _Telling(task, None)
    attempt.answer = answer
    attempt.fetched = fetched
    attempt.secrets = {name: os.environ.get(name, "") for name in request["secrets"]}
    attempt.mask = Masking(attempt.secrets.values())

    def terminate(number: int, frame: FrameType | None) -> None:
        attempt.cancelled = True
        raise Stopped

    signal.signal(signal.SIGTERM, terminate)
    worker = request["worker"]
    result: Result
    try:
        function = load(request["function"], request["defined"], request["file"])
        attempt.plan = plan(request["function"], function)
        if attempt.plan.is_async:
            result = asyncio.run(perform_async(attempt, worker, bounds))
        else:
            result = perform(attempt, worker, bounds)
    except Exception as error:  # noqa: BLE001 - told to the worker as this attempt's failure
        result = outcome.raised(attempt, worker, error, bounds)
        result.error.permanent = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    send(answer, b"R", result.SerializeToString())
    # Threads that the function left running must not keep the process: the attempt is over.
    os._exit(0)


if __name__ == "__main__":
    main()
