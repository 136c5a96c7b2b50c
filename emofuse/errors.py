"""What can go wrong for a user, in one small tree.

A job catches `EmofuseError`, prints its one line and exits with status 1; anything
else is a defect of ours and keeps its traceback.
"""


class EmofuseError(Exception):
    """Something the user can mend; the message says what was expected and what was found."""


class ConfigError(EmofuseError):
    """An option, or a combination of options, that cannot be served."""


class DataError(EmofuseError):
    """A manifest, table, label or image set that is not what it should be."""


class CheckpointError(EmofuseError):
    """Weights that are missing, of another network, or with another hash."""
