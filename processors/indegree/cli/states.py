"""How each state looks on a terminal: the one table of colours."""

from __future__ import annotations

STATE_STYLES = {
    "PENDING": "dim",
    "WAITING": "magenta",
    "QUEUED": "cyan",
    "RUNNING": "bold yellow",
    "PAUSED": "bold magenta",
    "RETRYING": "magenta",
    "SUCCESS": "green",
    "FAILED": "bold red",
    "REFUSED": "bold red",
    "SKIPPED": "dim cyan",
    "CANCELLED": "dim red",
}
