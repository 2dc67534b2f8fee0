"""Mistakes in what a command was given to work on, where the message is the whole help.

Why: click adds "try --help" to each usage error; that is right for a wrong option and useless for a file that is not
there or a workflow that cannot run.

It must never be used for a mistake in the options themselves.
"""

from __future__ import annotations

import click


class BadTarget(click.UsageError):
    """The file, module or workflow is at fault, not the way the command was called. Exit code 2."""
