"""What the local stack raises.

Why: a caller (the CLI, the demo, a test fixture) must be able to tell "the stack could not be brought up, and here is
what to do" from a bug. Every message names the value, the rule that it breaks and the way out.
"""

from __future__ import annotations


class StackError(Exception):
    """The local stack could not do what was asked; the message says what to do."""


class JarError(StackError):
    """A jar of the broker could not be fetched, or is not the one that kafka.lock names."""


class PortInUse(StackError):
    """A port that was asked for by number is taken by another process."""


class NotReady(StackError):
    """A process ended, or did not answer in time; the message carries the last lines of its log."""
