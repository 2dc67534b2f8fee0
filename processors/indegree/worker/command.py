"""A command: an argument list, or a text for the shell. Its exit code is its outcome, its output becomes the value.

`output: json` takes the file named by `$INDEGREE_OUTPUT` if the command wrote it, else the last line of standard output
that is not blank; `output: text` is standard output without its last newline; otherwise the value is null.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from indegree.events.json_values import JsonValueError, dumps, loads
from indegree.v1.task_pb2 import Result
from indegree.worker import outcome
from indegree.worker.attempt import Attempt
from indegree.worker.conversion import OutputError, too_large
from indegree.worker.failures import NotRetried
from indegree.worker.pipes import LastLine, TextOutput
from indegree.worker.secret_values import Masking

if TYPE_CHECKING:
    from indegree.worker.processes import Processes

SHELL = "/bin/sh"


async def run(processes: Processes, attempt: Attempt) -> Result:
    """Runs the attempt's command. Raises for what cannot be run at all; the caller makes a result of it."""
    task, worker, limit = attempt.task, processes.worker, processes.bounds.payload_bytes
    argv = [SHELL, "-c", task.command[0]] if task.shell else list(task.command)
    env = processes.environment(attempt)
    if any("\0" in part for part in argv) or any("\0" in name + value for name, value in env.items()):
        raise NotRetried("the command or its environment holds a NUL, which the operating system cannot pass on")
    text = TextOutput(limit) if task.output == "text" else None
    line = LastLine(limit) if task.output == "json" else None
    sink = text.write if text is not None else line.write if line is not None else None
    folder = tempfile.mkdtemp(prefix="indegree-") if line is not None else ""
    try:
        file = os.path.join(folder, "output.json")
        if folder:
            env["INDEGREE_OUTPUT"] = file
        ended = await processes.run(
            attempt, argv, env, stdin=task.input if attempt.stdin is None else attempt.stdin, on_output=sink
        )
        if ended is None:
            return outcome.ended(attempt, worker)
        if ended.code != 0:
            return processes.not_zero(attempt, ended.code, "the command")
        value = b""
        if text is not None:
            # Decoding may replace bytes by longer marks: the limit holds for what is sent.
            value = dumps(attempt.mask(text.text())) if text.size <= limit else b""
            if max(len(value), text.size) > limit:
                raise OutputError(too_large(max(len(value), text.size), limit, "standard output has "))
        elif line is not None:
            value = _json(file, line, limit, attempt.mask)
        return outcome.succeeded(attempt, worker, b"" if value == b"null" else value)
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _json(file: str, line: LastLine, limit: int, mask: Masking) -> bytes:
    """The value of `output: json`. Raises OutputError."""
    data = _written(file, limit)
    source = "the file $INDEGREE_OUTPUT"
    if data is None:
        data, size = line.line()
        source = "the last line of standard output"
        if size > limit:
            raise OutputError(too_large(size, limit, f"{source} has "))
        if not data:
            raise OutputError(
                "output: json, but the command wrote neither the file $INDEGREE_OUTPUT nor a line to standard output; "
                "print the value as the last line, or leave `output` out"
            )
    try:
        found = loads(data)
        value = dumps(mask.within(found) if mask else found)
    except JsonValueError as error:
        shown = mask(data.decode("utf-8", "replace"))[:80]  # in this order: a cut must not leave half a secret
        raise OutputError(f"output: json, but {source} is not JSON ({error}): {shown!r}") from None
    if len(value) > limit:
        raise OutputError(too_large(len(value), limit, f"{source} has "))
    return value


def _written(file: str, limit: int) -> bytes | None:
    """The content of the output file, None if the command did not write it. Raises OutputError."""
    try:
        # A pipe or a device in its place must not hold up the worker.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"the file $INDEGREE_OUTPUT cannot be read: {error}") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OutputError("the file $INDEGREE_OUTPUT is not a regular file")
        if about.st_size > limit:
            raise OutputError(too_large(about.st_size, limit, "the file $INDEGREE_OUTPUT has "))
        return Path(f"/dev/fd/{handle}").read_bytes()
    finally:
        os.close(handle)
