"""Errors that users of the SDK raise and catch.

Why: a task has to say "trying again is pointless", and whoever builds a workflow has to see what is wrong with it.

How: `Permanent` is raised inside tasks and recognised by its qualified name, so that it means the same in every worker.
`ConversionError` says where in a value the culprit is. `DefinitionError` comes from the definition itself.

It must never carry a user's object across the wire: errors travel as names and texts.
"""

from __future__ import annotations

from indegree.events.definition_model import DefinitionError, Problem
from indegree.events.definition_params import ParameterError
from indegree.events.json_values import JsonValueError

__all__ = ["ConversionError", "DefinitionError", "ParameterError", "Permanent", "Problem"]


class Permanent(Exception):
    """Raise it in a task when another attempt cannot help: the task fails at once, whatever its retry policy is."""


class ConversionError(JsonValueError):
    """A value cannot cross the edge: an output that is not JSON, or an argument that does not fit its annotation.

    `path` names the culprit inside the value (`$.rows[3].price`).
    """
