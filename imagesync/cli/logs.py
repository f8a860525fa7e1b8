"""Logging for people and for programs: structured lines on standard error, each with the run's id."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from imagesync.cli.context import is_journal
from imagesync.plan.render import printable

_TRACEBACK = "exception"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Those of syslog, by level."""
_LONGEST, _LONGEST_TRACEBACK = 4000, 64_000
"""Characters of one value. Of more than that beginning and end are kept."""


def configure(level: str, *, json_lines: bool, run: str, on_line: Callable[[], None] | None = None) -> None:
    """Send what is logged at ``level`` or above to standard error, as text or as a JSON object a line.

    Every line says which ``run`` it is of, and ``on_line`` is called for it.
    """
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(run=run)
    stream = cast("TextIO", _StandardError())
    logging.basicConfig(handlers=[_of_libraries(stream, json_lines=json_lines)], level=logging.WARNING, force=True)
    # What images are downloaded, converted and confined by logs here; at other levels than this, only what is wrong.
    logging.getLogger("imagesync").setLevel(logging.DEBUG if level == "debug" else logging.NOTSET)
    # It reports formats that it merely tried; what matters is in our own verdicts.
    logging.getLogger("oslo_utils").setLevel(logging.ERROR)
    # It warns of each time that comes while a pass is still running, which is what happens to passes that take long.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*_told(on_line), *_processors(json_lines=json_lines)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _of_libraries(stream: TextIO, *, json_lines: bool) -> logging.Handler:
    """Return what writes the lines of libraries as ours are written."""
    receiver = logging.StreamHandler(stream)
    before = [structlog.stdlib.add_logger_name]
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_processors(json_lines=json_lines)]
    receiver.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last))
    return receiver


class _StandardError(io.TextIOBase):
    """Whatever ``sys.stderr`` is at the moment: while bars are drawn, it is what prints above them."""

    def write(self, text: str) -> int:
        """Write to it."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()


def _told(on_line: Callable[[], None] | None) -> Iterable[Processor]:
    if on_line is not None:

        def tell(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
            on_line()
            return event

        yield tell


def _processors(*, json_lines: bool) -> Iterable[Processor]:
    *before, renderer = _steps(json_lines=json_lines)
    yield from before
    yield _with_priority(renderer) if is_journal() else renderer


def _with_priority(render: Processor) -> Processor:
    """Let the journal know the level of a line (sd-daemon(3)), so that ``journalctl -p err`` finds it."""

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(event.get("level", ""), 6)
        return f"<{priority}>{render(logger, method, event)!s}"

    return rendered


def _steps(*, json_lines: bool) -> Iterable[Processor]:
    yield structlog.contextvars.merge_contextvars
    yield structlog.processors.add_log_level
    yield structlog.processors.TimeStamper(fmt="iso", utc=True)
    yield structlog.processors.format_exc_info
    yield _cut
    if json_lines:
        # Plain ASCII: programs read the same, and no mark in a title turns the lines of a terminal around.
        yield structlog.processors.JSONRenderer()
        return
    yield _safe
    yield structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


def _cut(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    """Shorten what is longer than anybody reads: a publisher's title may fill the disk of a log."""
    return {name: _shorter(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _shorter(name: str, text: str) -> str:
    most = _LONGEST_TRACEBACK if name == _TRACEBACK else _LONGEST
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... {len(text) - most} characters ... {text[-most // 2 :]}"


def _safe(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    """Neutralise what could steer a terminal."""
    return {name: _harmless(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _harmless(name: str, text: str) -> str:
    # A traceback keeps its lines.
    return "\n".join(map(printable, text.split("\n"))) if name == _TRACEBACK else printable(text)
