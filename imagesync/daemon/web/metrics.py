"""What Prometheus reads. Labels are names of the configuration and words of ours: no stranger adds to them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import datetime
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from imagesync import __version__
from imagesync.daemon.web.window import Glances
from imagesync.model import Verdict
from imagesync.run.history import RunDigest
from imagesync.run.notice import Matter
from imagesync.run.situation import GOOD_CODES, ListStanding, Situation, TargetStanding

STATES = ("published", "missing", "failed", "held", "retired", "revoked", "tampered")
_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0)
_LATE = frozenset({"missing", "failed"})


class Metrics:
    """The registry, and what is counted since the daemon began."""

    def __init__(self, glances: Glances) -> None:
        """Count from now on; everything else is read from the state when it is asked for."""
        self.registry = CollectorRegistry()
        self._glances = glances
        self._lock = Lock()
        self._counted: datetime = glances.window.began
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
                if run.finished and run.finished >= self._counted and run.id not in self._seen:
                    self._count(run)
            self._seen &= {run.id for run in now.runs} | self._seen
        return generate_latest(self.registry)

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
        yield from _lists(now)
        yield from _targets(now)
        yield _gauge("imagesync_store_bytes", "Size of the cache on disk", store_bytes(window.site().config.cache))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _daemon(now: Situation, began: datetime, *, running: int) -> Iterator[Metric]:
    waiting = [one for one in now.lists if one.last and one.last.retry_at and one.last.failures]
    images = [image for target in now.targets for image in target.images]
    put_off = sum(bool(image.record.retry_at and image.record.retry_at > now.at) for image in images)
    clock = next((run.clock for run in now.runs if run.clock), "")
    yield _gauge("imagesync_start_time_seconds", "When the daemon began", began.timestamp())
    yield _gauge("imagesync_running_passes", "Passes that are going on", running)
    yield _gauge(
        "imagesync_configuration_in_force", "0 while the newest configuration is bad", not now.outlook.complaint
    )
    yield _gauge("imagesync_clock_trusted", "0 when the last pass did not believe this clock", clock != "clock")
    family = GaugeMetricFamily("imagesync_back_offs", "What waits longer after failures", labels=["what"])
    family.add_metric(["list"], len(waiting))
    family.add_metric(["image"], put_off)
    yield family


# --- lists -----------------------------------------------------------------------------------------------------------
def _lists(now: Situation) -> Iterator[Metric]:
    enabled = [one for one in now.lists if one.followed.enabled]
    for name, text, value in _OF_LISTS:
        family = GaugeMetricFamily(name, text, labels=["list"])
        for one in enabled:
            found = value(one, now)
            if found is not None:
                family.add_metric([one.name], found)
        yield family
    yield _verdicts(enabled)


def _verdicts(lists: list[ListStanding]) -> Metric:
    family = GaugeMetricFamily(
        "imagesync_list_verdict", "1 for the verdict of the last pass", labels=["list", "verdict"]
    )
    for one in lists:
        for verdict in Verdict:
            family.add_metric([one.name, verdict], one.verdict == verdict)
    return family


def _left(at: datetime | None, now: Situation) -> float | None:
    return (at - now.at).total_seconds() if at else None


def _verified(one: ListStanding, _: Situation) -> float | None:
    return one.accepted.accepted_at.timestamp() if one.accepted else None


def _success(one: ListStanding, now: Situation) -> float | None:
    good = [
        run.finished
        for run in now.runs
        if run.finished and run.exit in GOOD_CODES and any(word.name == one.name for word in run.lists)
    ]
    return max(good).timestamp() if good else None


def _next(one: ListStanding, _: Situation) -> float | None:
    return one.next.timestamp() if one.next else None


def _first_end(one: ListStanding, matter: Matter) -> datetime | None:
    return min((end.at for end in one.ends if end.matter is matter), default=None)


_OF_LISTS = (
    ("imagesync_list_verified_timestamp_seconds", "When the list was last fetched and verified", _verified),
    ("imagesync_pass_success_timestamp_seconds", "When the last pass over the list was good", _success),
    ("imagesync_next_pass_timestamp_seconds", "When the next pass over the list is due", _next),
    ("imagesync_list_age_seconds", "Time since dc:date:created",
     lambda one, now: (now.at - one.accepted.created).total_seconds() if one.accepted else None),
    ("imagesync_list_expiry_seconds", "Time until the list expires",
     lambda one, now: _left(one.accepted.expires, now) if one.accepted else None),
    ("imagesync_signer_expiry_seconds", "Time until the signer's certificate ends",
     lambda one, now: _left(one.accepted.signer.not_after, now) if one.accepted else None),
    ("imagesync_certificate_expiry_seconds", "Time until the first certificate of the signer's path ends",
     lambda one, now: _left(_first_end(one, Matter.CERTIFICATE_EXPIRY), now)),
    ("imagesync_crl_expiry_seconds", "Time until the first revocation list of that path is outdated",
     lambda one, now: _left(_first_end(one, Matter.CRL_EXPIRY), now)),
    ("imagesync_list_images", "Images that the list has", lambda one, _: len(one.accepted.expiries) if one.accepted else None),
)  # fmt: skip


# --- targets ---------------------------------------------------------------------------------------------------------
def _targets(now: Situation) -> Iterator[Metric]:
    images = GaugeMetricFamily("imagesync_images", "Images by where they stand", labels=["target", "state"])
    failed = GaugeMetricFamily(
        "imagesync_target_failed", "1 when the last pass could not work on it", labels=["target"]
    )
    late = GaugeMetricFamily("imagesync_images_late_seconds", "Age of what is missing the longest", labels=["target"])
    for target in now.targets:
        for state in STATES:
            images.add_metric([target.name, state], target.counts.get(state, 0))
        failed.add_metric([target.name], bool(target.error))
        late.add_metric([target.name], _latest(target, now))
    yield from (images, failed, late)


def _latest(target: TargetStanding, now: Situation) -> float:
    ages = [now.at - image.record.since for image in target.images if image.record.state in _LATE]
    return max((age.total_seconds() for age in ages), default=0.0)


def store_bytes(cache: os.PathLike[str]) -> int:
    """Return the bytes that the cache has on disk; 0 where it cannot be read."""
    return sum(_allocated(os.path.join(cache, area)) for area in ("sources", "converted"))  # noqa: PTH118 - for scandir


def _allocated(directory: str) -> int:
    try:
        with os.scandir(directory) as entries:
            return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries)
    except OSError:
        return 0
