"""The terminal's own echo, which would write into a picture that is redrawn in place.

It must never leave the terminal changed: whoever takes the attributes restores them.
"""

from __future__ import annotations

import sys
import termios
from typing import Any


def without_echo_of_keys() -> list[Any] | None:
    """Ctrl-C would write ^C into the picture, which then moves by a line. Gives what is to be restored."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):  # no terminal
        return None
    changed = [*before]
    changed[3] &= ~termios.ECHOCTL
    termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)
    return before


def restore(before: list[Any]) -> None:
    """Puts the attributes back."""
    termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
