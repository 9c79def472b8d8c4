"""Errors that a person reads: one line that says what was wrong, where, and what to do.

Every front (command line, page, MCP, agent) turns these into words; anything else is a defect.
"""


class EinthovenError(Exception):
    """Something a person can mend. `str(error)` is the one line they see."""

    exit_code = 1


class UsageError(EinthovenError):
    """A wrong argument or an unknown tool."""

    exit_code = 2


class UnreadableFile(EinthovenError):
    """A file that cannot be read, or that promises what it does not hold."""

    exit_code = 3


class NeedsFields(UnreadableFile):
    """A file that does not say its sampling rate or unit; `fields` names what to ask for."""

    def __init__(self, message: str, fields: tuple[str, ...]):
        super().__init__(message)
        self.fields = fields  # of "fs_hz", "unit"


class MissingWeights(EinthovenError):
    """A model file that is not on this machine."""

    exit_code = 4
