"""What Prometheus reads. Labels are names of the configuration and words of ours: no stranger adds to them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from imagesync import __version__
from imagesync.config.schema import Config
from imagesync.daemon.web.window import Glances
from imagesync.images.entries import allocated
from imagesync.model import Verdict
from imagesync.run.history import RunDigest
from imagesync.run.notice import Matter
from imagesync.run.record import is_put_off
from imagesync.run.situation import ListStanding, Situation, TargetStanding
from imagesync.run.wiring import open_configured_state

_without_times: Callable[[], None] = disable_created_metrics
_without_times()

STATES = ("published", "missing", "failed", "held", "retired", "revoked", "tampered", "paused")
_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0)
_LATE = frozenset({"missing", "failed"})


class Metrics:
    """The registry, and what is counted since the daemon began."""

    def __init__(self, glances: Glances) -> None:
        """Count from now on; everything else is read from the state when it is asked for."""
        self.registry = CollectorRegistry()
        self._glances = glances
        self._lock = Lock()
        self._seen: set[str] = set()
        self._durations = Histogram(
            "imagesync_pass_duration_seconds",
            "How long passes took",
            ["list"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._bytes = Counter("imagesync_bytes", "Bytes of images moved", ["direction"], registry=self.registry)
        self._failures = Counter(
            "imagesync_failures", "What failed, by the reason that the runbook has", ["what", "reason"],
            registry=self.registry,
        )  # fmt: skip
        self._passes = Counter("imagesync_passes", "Passes by exit code", ["exit"], registry=self.registry)
        self.registry.register(_State(glances))
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """Return the metrics in the text format.

        Raises:
            ImagesyncError: the state cannot be read.
        """
        now = self._glances.situation()
        with self._lock:
            for run in reversed(now.runs):
                if run.id not in self._seen and self._is_over(run):
                    self._count(run)
            self._seen &= {run.id for run in now.runs}
        return generate_latest(self.registry)

    def _is_over(self, run: RunDigest) -> bool:
        """Return whether a run has ended, and began after the daemon, as far as that is known."""
        past = self._glances.window.past()
        if run.finished is None or past is None:
            return run.finished is not None and run.finished >= self._glances.window.began
        return run.number > past

    def _count(self, run: RunDigest) -> None:
        self._seen.add(run.id)
        configured = {one.name for one in self._glances.window.site().config.subscriptions}
        names = {word.name for word in run.lists} & configured
        self._durations.labels(names.pop() if len(names) == 1 else "(several)").observe(run.seconds or 0.0)
        self._passes.labels(str(run.exit)).inc()
        self._bytes.labels("downloaded").inc(run.downloaded)
        self._bytes.labels("uploaded").inc(run.uploaded)
        for (what, reason), count in run.failures.items():
            self._failures.labels(what, reason).inc(count)


class _State(Collector):
    """What is so at the time of asking."""

    def __init__(self, glances: Glances) -> None:
        self._glances = glances

    def describe(self) -> Iterator[Metric]:
        """Name nothing ahead: registering must not read the state."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        now = self._glances.situation()
        window = self._glances.window
        yield InfoMetricFamily(
            "imagesync_build", "What is running", value={"version": __version__, "python": platform.python_version()}
        )
        yield from _daemon(now, window.began, running=len(window.live.running()))
        yield _crashed(now)
        yield from _lists(now)
        yield from _targets(now)
        yield from _boots(window.site().config)
        yield _gauge(
            "imagesync_store_bytes",
            "Bytes of the disk that removing the cache would free",
            store_bytes(window.site().config.cache),
        )


def _boots(config: Config) -> Iterator[Metric]:
    """Yield how many boot checks are remembered, and how long they took, by verdict."""
    with open_configured_state(config, readonly=True) as state:
        totals = state.boots.totals()
    counts = GaugeMetricFamily("imagesync_boot_checks", "Boot checks that are remembered", labels=["verdict"])
    spent = GaugeMetricFamily("imagesync_boot_check_seconds", "Time that these took", labels=["verdict"])
    for verdict, (number, seconds) in sorted(totals.items()):
        counts.add_metric([verdict], number)
        spent.add_metric([verdict], seconds)
    yield counts
    yield spent


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _crashed(now: Situation) -> Metric:
    family = CounterMetricFamily(
        "imagesync_crashed_passes",
        "Passes that crashed or were killed, so that no report tells of them",
        labels=["list"],
    )
    for name in now.outlook.next.keys() | now.outlook.crashed.keys():
        family.add_metric([name], now.outlook.crashed.get(name, 0))
    return family


def _daemon(now: Situation, began: datetime, *, running: int) -> Iterator[Metric]:
    waiting = [one for one in now.lists if one.last and one.last.retry_at and one.last.failures]
    images = [image for target in now.targets for image in target.images]
    put_off = sum(is_put_off(image.record.retry_at, now.at) for image in images)
    clock = next((run.clock for run in now.runs if run.clock), "")
    yield _gauge("imagesync_start_time_seconds", "When the daemon began", began.timestamp())
    yield _gauge("imagesync_running_passes", "Passes that are going on", running)
    yield _gauge(
        "imagesync_configuration_in_force", "0 while the newest configuration is bad", not now.outlook.complaint
    )
    yield _gauge("imagesync_state_usable", "0 while the daemon cannot write its state", not now.outlook.state)
    yield _gauge("imagesync_clock_trusted", "0 when the last pass did not believe this clock", clock != "clock")
    family = GaugeMetricFamily("imagesync_back_offs", "What waits longer after failures", labels=["what"])
    family.add_metric(["list"], len(waiting))
    family.add_metric(["image"], put_off)
    yield family


# --- lists -----------------------------------------------------------------------------------------------------------
def _lists(now: Situation) -> Iterator[Metric]:
    lists = [one for one in now.lists if one.followed.enabled]
    known = [(one, one.accepted) for one in lists if one.accepted]
    for name, text, at in _STAMPS:
        yield _by_list(name, text, {one.name: _stamp(at(one)) for one in lists})
    for name, text, until in _ENDS:
        yield _by_list(name, text, {one.name: _seconds(until(one), now.at) for one in lists})
    ages = {one.name: (now.at - accepted.created).total_seconds() for one, accepted in known}
    yield _by_list("imagesync_list_age_seconds", "Time since dc:date:created", ages)
    sizes = {one.name: float(len(accepted.expiries)) for one, accepted in known}
    yield _by_list("imagesync_list_images", "Images that the list has", sizes)
    yield _verdicts(lists)
    yield _by_list("imagesync_list_paused", "1 while it is paused", {one.name: bool(one.pause) for one in lists})


def _by_list(name: str, text: str, values: Mapping[str, float | None]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["list"])
    for label, value in values.items():
        if value is not None:
            family.add_metric([label], value)
    return family


def _verdicts(lists: list[ListStanding]) -> Metric:
    family = GaugeMetricFamily(
        "imagesync_list_verdict", "1 for the verdict of the last pass", labels=["list", "verdict"]
    )
    for one in lists:
        for verdict in Verdict:
            family.add_metric([one.name, verdict], one.verdict == verdict)
    return family


def _seconds(until: datetime | None, now: datetime) -> float | None:
    return (until - now).total_seconds() if until else None


def _stamp(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _first_end(one: ListStanding, matter: Matter) -> datetime | None:
    return min((end.at for end in one.ends if end.matter is matter), default=None)


_STAMPS: tuple[tuple[str, str, Callable[[ListStanding], datetime | None]], ...] = (
    ("imagesync_list_verified_timestamp_seconds", "When the list was last fetched and verified",
     lambda one: one.accepted.accepted_at if one.accepted else None),
    ("imagesync_pass_success_timestamp_seconds", "When the last pass over the list was good", lambda one: one.good),
    ("imagesync_next_pass_timestamp_seconds", "When the next pass over the list is due", lambda one: one.next),
)  # fmt: skip

_ENDS: tuple[tuple[str, str, Callable[[ListStanding], datetime | None]], ...] = (
    ("imagesync_list_expiry_seconds", "Time until the list expires",
     lambda one: one.accepted.expires if one.accepted else None),
    ("imagesync_signer_expiry_seconds", "Time until the signer's certificate ends",
     lambda one: one.accepted.signer.not_after if one.accepted else None),
    ("imagesync_certificate_expiry_seconds", "Time until the first certificate of the signer's path ends",
     lambda one: _first_end(one, Matter.CERTIFICATE_EXPIRY)),
    ("imagesync_crl_expiry_seconds", "Time until the first revocation list of that path is outdated",
     lambda one: _first_end(one, Matter.CRL_EXPIRY)),
)  # fmt: skip


# --- targets ---------------------------------------------------------------------------------------------------------
def _targets(now: Situation) -> Iterator[Metric]:
    images = GaugeMetricFamily("imagesync_images", "Images by where they stand", labels=["target", "state"])
    failed = GaugeMetricFamily(
        "imagesync_target_failed", "1 when the last pass could not work on it", labels=["target"]
    )
    paused = GaugeMetricFamily("imagesync_target_paused", "1 while it is paused", labels=["target"])
    late = GaugeMetricFamily("imagesync_images_late_seconds", "Age of what is missing the longest", labels=["target"])
    for target in now.targets:
        for state in STATES:
            images.add_metric([target.name, state], target.counts.get(state, 0))
        failed.add_metric([target.name], bool(target.error))
        late.add_metric([target.name], _latest(target, now))
        paused.add_metric([target.name], bool(target.pause))
    yield from (images, failed, late, paused)


def _latest(target: TargetStanding, now: Situation) -> float:
    records = (image.record for image in target.images if not image.paused)
    ages = [now.at - record.since for record in records if record.state in _LATE]
    return max((age.total_seconds() for age in ages), default=0.0)


def store_bytes(cache: os.PathLike[str]) -> int:
    """Return the bytes that the cache alone has on disk, as its cap counts them; 0 where it cannot be read."""
    return sum(_allocated(os.path.join(cache, area)) for area in ("sources", "converted"))  # noqa: PTH118 - for scandir


def _allocated(directory: str) -> int:
    try:
        with os.scandir(directory) as entries:
            return sum(allocated(entry.stat(follow_symlinks=False)) for entry in entries)
    except OSError:
        return 0
