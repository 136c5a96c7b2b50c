"""What ended a graph, in one line, where it is something that the user can mend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from emofuse import errors
from emofuse.errors import DataError, EmofuseError

_OURS = re.compile(r"^emofuse\.[\w.]*?(\w+Error): (.+)$", re.MULTILINE)


@contextmanager
def reraise_worker_errors() -> Iterator[None]:
    """Turn what Ray raises for a failed graph into the error that a worker of ours raised, if one did.

    Raises:
        EmofuseError: what a worker raised; or `DataError`, where nothing moved on for too long.
        RayError: any other failure, as it came.
    """
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import RayError

    try:
        yield
    except ExecutionTimeoutError as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(f"nothing moved on for too long, so the run was stopped; start it again: {first}") from error
    except RayError as error:
        if ours := raised_by_worker(str(error)):
            raise ours from error
        raise


def raised_by_worker(text: str) -> EmofuseError | None:
    """The last error of ours that a worker's traceback tells of.

    Ray passes an error on as text: as the cause of a task's error, or only within that of a dead actor.
    """
    found = _OURS.findall(text)
    if not found:
        return None
    name, message = found[-1]
    kind = getattr(errors, name, DataError)
    return kind(message)
