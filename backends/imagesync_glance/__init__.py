"""The OpenStack Glance target."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from imagesync.backend import Backend, Context

__all__ = ["open_backend"]


def open_backend(settings: Mapping[str, object], context: Context) -> AbstractContextManager[Backend]:
    """Return a Glance target that is opened by entering it.

    Raises:
        ConfigError: with every problem of the settings.
    """
    from imagesync_glance.backend import open_backend as open_glance

    return open_glance(settings, context)
