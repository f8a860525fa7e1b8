"""Glance, on an SQLite that stands concurrent requests."""

import sqlite_serial  # noqa: F401 - must come before the service
from glance.wsgi.api import application

__all__ = ["application"]
