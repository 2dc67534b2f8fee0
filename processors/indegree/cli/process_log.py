"""The log of the two long-lived processes: one line for what happens once, and a count for what repeats.

Why: while Kafka is away its client reports each failed connection, a hundred a second, and nobody finds the line that
matters. Somebody who reads the log wants to know that it began, that it goes on, and that it is over.

How: a filter on the handler. Messages of the libraries below count as one kind a library, our own warnings as one
kind a message (whatever its values are). The first of a kind is written; for ten seconds more of it are only counted;
the next one then carries the count. What the service framework says about its own starts and stops is for debugging.

It must never drop the first of a kind, an exception of ours, or anything at the level debug.
"""

from __future__ import annotations

import logging
import sys
import time

WINDOW_S = 10.0
LIBRARIES = ("aiokafka", "faust", "mode", "asyncio", "aetcd", "grpc", "aiohttp")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# A client that is dropped while Kafka is away is collected unclosed: closing it would wait for Kafka.
_NO_NEWS = ("Unclosed AIOKafka", "Unclosed AIOKafkaConsumer", "Unclosed connection", "Unclosed client session")


class Repeats(logging.Filter):
    """Lets the first of each kind pass, and then one every ten seconds with the count of what was left out."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        super().__init__()
        self._window_s = window_s
        self._told: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        library = record.name.partition(".")[0]
        message = str(record.msg)
        if message.startswith("[^") and record.levelno <= logging.INFO:
            return False  # a service of mode: "[^--Engine]: Starting..."
        if library in LIBRARIES:
            if message.startswith(_NO_NEWS) or record.getMessage().startswith(_NO_NEWS):
                return False
            kind = (library, "")
        elif record.levelno < logging.WARNING or record.exc_info:
            return True
        else:
            kind = (record.name, message)
        now = time.monotonic()
        if now - self._told.get(kind, float("-inf")) < self._window_s:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        left_out = self._left_out.pop(kind, 0)
        self._told[kind] = now
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like it since the last line)"
            record.args = None
        return True


def set_up(level: str) -> None:
    """Log lines on stderr, from `level` (debug, info, warning, error) on."""
    logging.basicConfig(level=level.upper(), format=_FORMAT, stream=sys.stderr, force=True)
    if level == "debug":
        return
    for name in (*LIBRARIES, "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeats())
