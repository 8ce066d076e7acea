"""The errors a user can meet: each message is one sentence with the rule, the value given and what to do instead.

`CflowsError` derives from `ValueError`, so that a library user who catches `ValueError` catches these too. The command
line and the dashboard print the message alone; a traceback is for bugs.
"""

from __future__ import annotations


class CflowsError(ValueError):
    """Base of every error whose message is written for the user: one sentence, with the remedy."""


class ConfigError(CflowsError):
    """A configuration that names something unknown, out of its bounds, or contradictory."""


class DataError(CflowsError):
    """Data that is missing, damaged, out of range, or not finite."""


class ModelError(CflowsError):
    """A model or objective that cannot be built, or that does not fit its data."""


class StoreError(CflowsError):
    """A stored run that cannot be created, written, opened or resumed."""


class EngineError(CflowsError):
    """A worker or cluster that cannot be reached, or that was lost while it computed."""
