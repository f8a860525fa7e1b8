"""URLs in a configuration: which schemes, and no secrets in them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, urlsplit


def check_source_url(value: str) -> str:
    """Return ``value`` if a list can be there.

    Raises:
        ValueError: no https, http or file URL, or one with a user or password in it.
    """
    parts = _split(value)
    if parts.scheme not in {"https", "http", "file"}:
        raise ValueError("is no URL of a list: write https://…, http://… or file:///…")
    _refuse_userinfo(parts, "token: {file: PATH}")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("is no file URL: write file:/// and an absolute path")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("names no host: write https://HOST/…")
    return value


def check_proxy_url(value: str) -> str:
    """Return ``value`` if a proxy can be there.

    Raises:
        ValueError: no http or https URL of a host, or one with a user or password in it.
    """
    parts = _split(value)
    _refuse_userinfo(parts, "user: NAME and password: {file: PATH}")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("is no URL of a proxy: write http://HOST:PORT")
    return value


def check_place(value: str) -> str:
    """Return ``value`` if it is the beginning of URLs of one host.

    Raises:
        ValueError: no http or https URL with a path, or one with a user, password, query or fragment in it.
    """
    parts = _split(value)
    _refuse_userinfo(parts, "none: a mirror is asked without")
    if parts.scheme not in {"https", "http"} or not parts.hostname or not parts.path or parts.query or parts.fragment:
        raise ValueError("is no beginning of URLs: write https://HOST/ and as much of the path as is the same")
    return value


def check_state_url(value: str, directory: Path | None) -> str:
    """Return ``value`` with an absolute path, if it is an SQLite file or a PostgreSQL database.

    Raises:
        ValueError: any other URL, or one with a password in it.
    """
    parts = _split(value)
    if parts.scheme == "sqlite":
        return _absolute_sqlite(value, directory)
    if parts.scheme not in {"postgresql+psycopg", "postgresql"}:
        raise ValueError("is no URL of a state: write sqlite:////PATH or postgresql+psycopg://USER@HOST/DATABASE")
    if parts.password is not None or "password=" in parts.query:
        raise ValueError("has a password in it: write state: {url: …, password: {file: PATH}}")
    return value


def _absolute_sqlite(value: str, directory: Path | None) -> str:
    # SQLAlchemy: three slashes and a relative path, or four slashes, the last of which is the path's own.
    path = value.removeprefix("sqlite:///")
    if path == value or not path or path.startswith(":memory:"):
        raise ValueError("names no file: write sqlite:////PATH")
    if path.startswith(("~", "/~")):
        raise ValueError("has a ~, which is not replaced here: write the whole path")
    if not path.startswith("/") and directory is None:
        raise ValueError("has a relative path: write sqlite:////PATH with an absolute one")
    return f"sqlite:///{(directory or Path('/')) / path}"


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    return parts


def _refuse_userinfo(parts: SplitResult, instead: str) -> None:
    if "@" in parts.netloc:
        raise ValueError(f"has a user or password in it, which would show up in logs: write {instead}")
