"""Where what nobody thought of ends, so that it keeps back one thing that is to be told, and not all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from imagesync.errors import DefectError, ImagesyncError


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Do what is below; ``what`` is what it is about.

    Raises:
        DefectError: in place of any error that is none of ours, which is its cause.
    """
    try:
        yield
    except ImagesyncError:
        raise
    except Exception as error:
        raise DefectError(what, f"unexpected {type(error).__name__}: {error}", "report it with the log") from error


def origin(error: str | ImagesyncError) -> BaseException | None:
    """Return what the log is to show of a defect beside its text: where it arose."""
    return error.__cause__ if isinstance(error, DefectError) else None
