"""The alert rules, the dashboard and the documentation name metrics that there are, and promtool accepts them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

METRIC = re.compile(r"\bimagesync_[a-z_]+")
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def monitoring(root: Path) -> Path:
    """Return the directory of what monitoring systems load."""
    return root / "packaging" / "monitoring"


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of every metric of a daemon that has done something."""
    return _names(tmp_path_factory.mktemp("site"))


def _names(directory: Path) -> set[str]:
    from datetime import UTC, datetime

    from imagesync.config.load import load
    from imagesync.daemon.live import Live
    from imagesync.daemon.passes import Program, Site
    from imagesync.daemon.stop import Stop
    from imagesync.daemon.web.metrics import Metrics
    from imagesync.daemon.web.plans import Plans
    from imagesync.daemon.web.window import Glances, Window
    from imagesync.run.situation import Outlook

    file = directory / "imagesync.yaml"
    file.write_text(f"state: sqlite:///{directory}/state.db\n")
    site, now = Site(load(file, {}), {}), datetime.now(UTC)
    plans = Plans(Program([], {}, lambda: now), lambda: site, Stop())
    window = Window(lambda: site, Outlook, Live(), lambda: now, lambda _: None, plans, now)
    text = Metrics(Glances(window)).render().decode()
    return set(re.findall(r"^# TYPE (imagesync_\w+)", text, re.MULTILINE))


def _named(text: str) -> set[str]:
    names = set(METRIC.findall(text))
    return {next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name) for name in names}


def _promtool(*arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    assert tool, "promtool is not installed: apt-get install prometheus"
    return subprocess.run([tool, *arguments], cwd=where, capture_output=True, text=True, check=False, timeout=60)


def _rules(monitoring: Path) -> list[dict[str, str]]:
    (group,) = yaml.safe_load((monitoring / "imagesync.rules.yml").read_text())["groups"]
    return list(group["rules"])


def test_promtool_accepts_the_rules(monitoring: Path) -> None:
    ran = _promtool("check", "rules", "imagesync.rules.yml", where=monitoring)

    assert (ran.returncode, f"{len(_rules(monitoring))} rules found" in ran.stdout) == (0, True), ran.stderr


def test_the_rules_fire_when_they_should_and_only_then(monitoring: Path) -> None:
    ran = _promtool("test", "rules", "imagesync.rules.test.yml", where=monitoring)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    tried = yaml.safe_load((monitoring / "imagesync.rules.test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tried for one in test.get("alert_rule_test", ()) if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in _rules(monitoring)}


def test_the_rules_ask_for_metrics_that_there_are(monitoring: Path, metrics: set[str]) -> None:
    asked = _named(" ".join(rule["expr"] for rule in _rules(monitoring)))

    assert asked
    assert asked - metrics == set()


def test_the_dashboard_asks_for_metrics_that_there_are(monitoring: Path, metrics: set[str]) -> None:
    dashboard = json.loads((monitoring / "grafana-dashboard.json").read_text())
    asked = _named(" ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]))

    assert len(asked) > 10
    assert asked - metrics == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_documentation_has_every_metric_and_no_other(root: Path, metrics: set[str]) -> None:
    text = (root / "docs" / "monitoring.rst").read_text(encoding="utf-8")

    assert set(re.findall(r"^   \* - ``(imagesync_\w+)``", text, re.MULTILINE)) == metrics


def test_the_documentation_says_what_to_do_about_every_alert(root: Path, monitoring: Path) -> None:
    text = (root / "docs" / "monitoring.rst").read_text(encoding="utf-8")

    assert set(re.findall(r"^(Imagesync\w+)\n   \S", text, re.MULTILINE)) == {
        rule["alert"] for rule in _rules(monitoring)
    }
