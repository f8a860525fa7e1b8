"""The role against booted hosts: what it makes, that it says so before, and that nothing of it is left.

Each test is a story on a host of its own, because making a host that has imagesync takes most of the time. How long the
runs took is printed (``pytest -rP``).
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from archives import with_version
from cloud.processes import wait_until
from enduring import QUICK, property_of, starts_again_when_it_is_killed_or_hangs, stops_in_time, survives_a_reboot
from following import follow, images_of, open_cloud
from host.machine import Host
from role.playbook import controller
from role.site import (
    BROKEN,
    GROWN,
    OLD,
    SNIPPET,
    Site,
    another_schema,
    archive,
    as_version,
    open_database,
    pretend,
    start_nginx,
)

import imagesync

HERE = Path(__file__).parent
RELOADING = "Have the running daemon read its configuration again"
SECRETS = {"page": "hunter2", "unused": "hunter3"}
CLOUDS = {"clouds": {"somewhere": {"auth": {"auth_url": "https://k.example.org/v3", "password": "hunter4"}}}}

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="session")
def archives(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return archives of wheels by version: this checkout, the same as an older one, one that cannot upgrade, and one with
    another form of the state.
    """
    where = tmp_path_factory.mktemp("archives")
    breaking = {"imagesync/cli/state.py": (b"fresh = opened.fresh", b"raise SystemExit('the upgrade breaks')")}
    return {
        imagesync.__version__: archive(where / "new.tar", wheel),
        OLD: archive(where / "old.tar", as_version(OLD, wheel, where)),
        BROKEN: archive(where / "broken.tar", as_version(BROKEN, wheel, where, breaking)),
        GROWN: archive(where / "grown.tar", as_version(GROWN, wheel, where, another_schema())),
    }


@pytest.fixture
def site(host: Host, archives: dict[str, Path], tmp_path: Path) -> Iterator[Site]:
    with controller(tmp_path / "controller") as operator:
        operator.meet(host.authorize(operator.key))
        program = host.inside_network(sys.executable, str(HERE / "role/publisher.py"), str(tmp_path))
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
            assert publisher.stdout is not None
            offer = json.loads(publisher.stdout.readline())
            yield Site(host, operator, tmp_path, publisher, offer, archives)
            publisher.communicate()
        operator.close(host.address)


@pytest.fixture
def include(root: Path, blocks: Callable[[Path, str], list[str]]) -> str:
    """Return what the chapter says that the configuration of nginx has to say."""
    (found,) = blocks(root / "docs/ansible.rst", "nginx")
    return found.strip()


def test_a_fresh_host_gets_what_check_mode_said_and_a_second_run_changes_nothing(site: Site, include: str) -> None:
    variables = site.variables(imagesync_secrets=SECRETS, imagesync_clouds=CLOUDS, imagesync_nginx_snippet=SNIPPET)
    start_nginx(site.host, include)

    foretold = site.play(variables, options=("--check", "--diff"))
    first = site.play(variables)
    second = site.play(variables)
    site.await_image("image 0")
    third = site.play(variables)

    assert foretold.changed == first.changed
    assert (second.count, third.count) == (0, 0)
    assert not [word for word in ("hunter2", "hunter3", "hunter4") if word in foretold.output + first.output]
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"
    enabled = site.host.attempt("systemctl", "is-enabled", "imagesync.service", "imagesync-sync.timer").stdout
    assert enabled.split() == ["enabled", "disabled"]
    assert site.host.ask("systemctl", "is-active", "fetch-crl.timer") == "active"
    for port in (8642, 8080):  # the daemon, and nginx in front of it
        site.check_page(port)
    assert f"#     {include}\n" in site.host.read(SNIPPET)
    modes = "--format=%n %a %U:%G"
    assert site.host.run(
        "stat", modes, "/etc/imagesync", "/var/lib/imagesync", "/var/cache/imagesync"
    ).splitlines() == [
        "/etc/imagesync 750 root:imagesync",
        "/var/lib/imagesync 750 imagesync:imagesync",
        "/var/cache/imagesync 750 imagesync:imagesync",
    ]
    secret = ("/etc/imagesync/secrets/page", "/etc/imagesync/secrets/unused", "/etc/imagesync/clouds.yaml")
    assert site.host.run("stat", modes, *secret) == "".join(f"{path} 600 imagesync:imagesync\n" for path in secret)

    process = property_of(site.host, "MainPID")
    fourth = site.play({**variables, "imagesync_config": site.config(jitter="1s")}, options=("--tags", "config"))
    assert [task for task, _ in fourth.changed] == ["Write its configuration", RELOADING]
    wait_until(lambda: "configuration reloaded" in site.host.journal("--unit", "imagesync.service"))
    assert property_of(site.host, "MainPID") == process

    site.host.write("/etc/imagesync/conf.d/page.yaml", "daemon:\n  listen: 127.0.0.1:8650\n", group="imagesync")
    refused = site.fail(variables)
    assert "imagesync_config: write daemon.listen in here" in refused.output
    assert "not into /etc/imagesync/conf.d/page.yaml" in refused.output
    assert refused.count == 0
    site.host.run("rm", "/etc/imagesync/conf.d/page.yaml")

    site.host.write("/etc/systemd/system/imagesync.service.d/test.conf", f"[Service]\n{QUICK}")
    site.host.run("systemctl", "daemon-reload")
    starts_again_when_it_is_killed_or_hangs(site.host)
    stops_in_time(site.host)
    site.publisher.communicate()  # it is in the network of the host
    survives_a_reboot(site.host)


def test_bad_variables_leave_the_old_configuration_and_an_upgrade_keeps_the_state(
    site: Site, root: Path, blocks: Callable[[Path, str], list[str]]
) -> None:
    first = site.fail(site.variables(OLD, imagesync_config=_without_a_page(site)))
    assert "Wait until its page answers failed. Nothing ran before, and nothing runs: " in first.output
    assert site.units("imagesync.service") == ["inactive", "disabled"]

    site.play(site.variables(OLD))
    site.await_image("image 0")
    before = site.host.read("/etc/imagesync/imagesync.yaml")
    bad = site.variables(OLD, imagesync_config={**site.config(), "instnace": "x"})

    judged = site.operator.play(site.host.address, bad, options=("--check",))
    refused = site.operator.play(site.host.address, bad)

    for run in (judged, refused):
        assert run.code == 2
        assert "instnace: is no option: did you mean instance?" in run.output
    assert site.host.read("/etc/imagesync/imagesync.yaml") == before
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"

    history = _accepted(site, OLD)
    broken = site.operator.play(
        site.host.address, site.variables(BROKEN, imagesync_config=site.config(listen="127.0.0.1:8650"))
    )

    assert (broken.code, "the upgrade breaks" in broken.output) == (2, True), broken.output
    assert "What ran before (imagesync.service) runs again, as it was" in " ".join(broken.output.split())
    assert site.host.read("/etc/imagesync/imagesync.yaml") == before
    assert _accepted(site, OLD) == history
    assert site.host.run("readlink", "/opt/imagesync/imagesync").endswith(f"/{OLD}\n")
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"
    site.check_page()

    program = f"/opt/imagesync/versions/{OLD}/bin/imagesync"
    site.host.run("mv", program, "/root")
    lost = site.fail(site.variables(BROKEN))
    assert "Bring the state up to date failed. Going back failed as well (Start again what ran: " in lost.output
    assert "the upgrade breaks" in lost.output
    site.host.run("mv", "/root/imagesync", program)
    site.host.run("systemctl", "restart", "imagesync.service")

    site.host.run("rm", "--recursive", "/var/backups/imagesync")
    old = [f"/var/backups/imagesync/state-2020010{day}T000000.db" for day in range(1, 7)]
    for path in old:
        site.host.write(path, "")
    foretold = site.play(site.variables(), options=("--check", "--diff"))
    upgraded = site.play(site.variables())

    assert foretold.changed == upgraded.changed
    assert _accepted(site, imagesync.__version__) == history != []
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"
    assert site.host.ask("/opt/imagesync/imagesync/bin/imagesync", "--version").endswith(imagesync.__version__)
    *kept, backup = sorted(site.host.run("find", "/var/backups/imagesync", "-name", "*.db").splitlines())
    assert kept == old[2:]
    assert site.host.run("stat", "--format=%U:%G", backup) == "imagesync:imagesync\n"
    assert site.play(site.variables()).count == 0

    (going_back,) = (block for block in blocks(root / "docs/ansible.rst", "text") if "DATE" in block)
    follow(site.host, going_back.replace("/var/backups/imagesync/state-DATE.db", backup))
    site.play(site.variables(OLD))
    assert site.host.run("readlink", "/opt/imagesync/imagesync").endswith(f"/{OLD}\n")
    assert _accepted(site, OLD) == history
    site.check_page()


def _without_a_page(site: Site) -> dict[str, Any]:
    """Return a configuration with a port that the publisher has, so that the page does not answer."""
    return site.config(listen=urlsplit(site.offer["url"]).netloc)


def _accepted(site: Site, version: str) -> list[Any]:
    """Return the lists that the state has accepted."""
    program = f"/opt/imagesync/versions/{version}/bin/imagesync"
    options = ("--config=/etc/imagesync/imagesync.yaml", "status", "--from-state", "--json")
    said = site.host.attempt("runuser", "--user=imagesync", "--", program, *options)
    return [(item["name"], item["version"]) for item in json.loads(said.stdout)["lists"]]


def test_no_version_is_put_back_that_refuses_its_database(site: Site) -> None:
    with open_database(site.host) as database:

        def told(version: str, config: dict[str, Any]) -> dict[str, Any]:
            config = {**config, "state": database}
            return site.variables(version, imagesync_extras=["postgresql"], imagesync_config=config)

        site.play(told(OLD, site.config()))

        same = site.fail(told(imagesync.__version__, _without_a_page(site)))
        assert "What ran before (imagesync.service) runs again, as it was" in same.output
        assert site.host.run("readlink", "/opt/imagesync/imagesync").endswith(f"/{OLD}\n")
        site.check_page()

        changed = site.fail(told(GROWN, _without_a_page(site)))
        assert (
            "Wait until its page answers failed. What ran before (imagesync.service) runs again, with "
            in changed.output
        )
        assert f"with imagesync {GROWN}, which has changed the form of its database" in changed.output
        assert site.units("imagesync.service") == ["active", "enabled"]
        assert site.host.run("readlink", "/opt/imagesync/imagesync").endswith(f"/{GROWN}\n")

        site.play(told(GROWN, site.config()))
        site.check_page()


def test_the_package_is_installed_once_and_removed_when_nobody_uses_it(site: Site, deb: Path, tmp_path: Path) -> None:
    fresh = site.files()
    package = site.variables(imagesync_install="deb", imagesync_deb=str(deb))
    package.pop("imagesync_wheels")

    foretold = site.play(package, options=("--check", "--diff"))
    first = site.play(package)
    site.await_image("image 0")
    again = site.play(package)
    other = site.operator.play(site.host.address, {**package, "imagesync_version": "0.2.0"})

    assert foretold.changed == first.changed
    assert again.count == 0, again.changed
    assert "is version 0.1.0" in " ".join(other.output.split())
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"
    unit = site.host.ask("systemctl", "show", "--value", "--property=FragmentPath", "imagesync.service")
    assert unit.startswith(("/lib/systemd/", "/usr/lib/systemd/"))

    package |= {"imagesync_version": "0.2.0", "imagesync_deb": str(with_version(deb, "0.2.0", tmp_path))}
    _the_package_is_upgraded_or_stays(site, package)

    gone = {**package, "imagesync_state": "absent", "imagesync_remove_data": True}
    site.host.write("/etc/imagesync/north.yaml", "instance: north\n", mode=0o640, group="imagesync")
    refused = site.operator.play(site.host.address, gone)
    assert (refused.code, refused.count) == (2, 0), refused.output
    assert "move their files away first: /etc/imagesync/north.yaml" in " ".join(refused.output.split())
    assert site.host.ask("systemctl", "is-active", "imagesync.service") == "active"

    site.host.run("rm", "/etc/imagesync/north.yaml")
    foretold = site.play(gone, options=("--check", "--diff"))
    assert foretold.changed == site.play(gone).changed
    assert site.left(fresh) == []
    assert site.host.attempt("id", "imagesync").returncode


def _the_package_is_upgraded_or_stays(site: Site, package: dict[str, Any]) -> None:
    version = ("dpkg-query", "--show", "--showformat=${Version}", "imagesync")
    broken = site.operator.play(site.host.address, {**package, "imagesync_config": _without_a_page(site)})
    assert ("Install the package", "") in broken.changed, broken.output
    assert (broken.code, site.host.ask(*version)) == (2, imagesync.__version__), broken.output
    assert "What ran before (imagesync.service) runs again, as it was" in " ".join(broken.output.split())
    site.check_page()

    foretold = site.play(package, options=("--check", "--diff"))
    upgraded = site.play(package)
    assert foretold.changed == upgraded.changed
    assert site.host.ask(*version) == "0.2.0"
    site.check_page()


def test_what_was_there_before_stays_when_it_is_removed(site: Site) -> None:
    site.host.run("useradd", "--system", "--home-dir", "/home/keeper", "keeper")
    site.host.run("install", "--directory", "--owner=keeper", "/srv/images")
    site.host.write("/srv/images/theirs.txt", "theirs\n")
    site.host.run("install", "--directory", "/opt/imagesync/bin")
    site.host.run("groupadd", "--system", "kvm")  # by udev, where there is hardware
    pretend(site.host, "qemu-system-x86", "ovmf", "qemu-system-arm", "qemu-efi-aarch64")
    mine = site.variables(
        imagesync_user="keeper",
        imagesync_group="keeper",
        imagesync_run="none",
        imagesync_boot_check=True,
        imagesync_fetch_crl=False,
        imagesync_config={**site.config(), "trust": {"fetch_crls": True}},
    )

    foretold = site.play(mine, options=("--check", "--diff"))
    assert foretold.changed == site.play(mine).changed
    assert site.play(mine).count == 0
    assert site.units("imagesync.service", "imagesync-sync.timer") == ["inactive", "disabled"] * 2
    assert "enabled" not in site.units("fetch-crl.timer")
    assert site.host.run("id", "--name", "--groups", "keeper") == "keeper kvm\n"
    site.host.write("/etc/imagesync/credentials/appdb", "hunter5\n", mode=0o600)
    site.play({**mine, "imagesync_state": "absent"})

    assert site.host.read("/etc/imagesync/credentials/appdb") == "hunter5\n"
    assert site.host.attempt("test", "-e", "/etc/imagesync/imagesync.yaml").returncode

    gone = {**mine, "imagesync_state": "absent", "imagesync_remove_data": True}
    foretold = site.play(gone, options=("--check", "--diff"))
    assert foretold.changed == site.play(gone).changed
    assert site.host.attempt("test", "-e", "/etc/imagesync").returncode
    assert site.host.read("/srv/images/theirs.txt") == "theirs\n"
    assert site.host.run("ls", "/opt/imagesync") == "bin\n"
    assert site.host.run("getent", "passwd", "keeper").split(":")[5] == "/home/keeper"
    assert site.host.run("id", "--name", "--groups", "keeper") == "keeper\n"
    assert site.host.attempt("test", "-e", "/var/lib/ansible-imagesync").returncode


def test_instances_live_side_by_side_and_leave_nothing(site: Site, include: str) -> None:
    start_nginx(site.host, include)
    fresh = site.files()
    daemon = site.variables(imagesync_nginx_snippet=SNIPPET)
    timer = site.variables(
        imagesync_instance="imagesync-two",
        imagesync_user="two",
        imagesync_group="two",
        imagesync_run="timer",
        imagesync_on_calendar="*:*:0/5",
        imagesync_random_delay="0s",
        imagesync_config=site.config("/srv/two"),
        imagesync_writable=["/srv/two"],
    )
    away = {"imagesync_state": "absent"}

    site.play(daemon)
    foretold = site.play(daemon, timer, options=("--check", "--diff"))
    assert foretold.changed == site.play(daemon, timer).changed
    site.await_image("image 0")
    site.await_image("image 0", "/srv/two")
    assert site.play(daemon, timer).count == 0
    assert yaml.safe_load(site.host.read("/etc/imagesync-two/imagesync.yaml"))["instance"] == "imagesync-two"
    assert site.host.ask("systemctl", "is-active", "imagesync-two-sync.timer") == "active"

    two = ("imagesync-two-sync.timer", "imagesync-two.service")
    silent = {**_without_a_page(site), "targets": timer["imagesync_config"]["targets"]}
    back = site.fail({**timer, "imagesync_run": "daemon", "imagesync_config": silent})
    assert "What ran before (imagesync-two-sync.timer) runs again, as it was" in back.output
    assert site.units(*two) == ["active", "enabled", "inactive", "disabled"]
    assert site.play(daemon, timer).count == 0

    site.play({**daemon, **away})
    site.host.run("nginx", "-t")
    assert site.host.attempt("test", "-e", "/etc/systemd/system/imagesync.service").returncode
    assert site.host.run("ls", "/var/lib/imagesync/state.db", "/srv/images/image 0.qcow2")
    assert site.host.ask("systemctl", "is-active", "imagesync-two-sync.timer") == "active"

    gone = away | {"imagesync_remove_data": True}
    site.play({**daemon, **gone}, {**timer, **gone})
    assert site.left(fresh) == []
    for user in ("imagesync", "two"):
        assert site.host.attempt("getent", "passwd", user).returncode
        assert site.host.attempt("getent", "group", user).returncode
    assert site.play({**daemon, **gone}, {**timer, **gone}).count == 0
    assert site.host.ask("systemctl", "is-system-running") == "running"


def test_a_cloud_is_filled_on_schedule(site: Site, tmp_path: Path) -> None:
    with open_cloud(site.host, tmp_path / "cloud") as cloud:
        config = yaml.safe_load((cloud / "imagesync.yaml").read_text())
        variables = site.variables(
            imagesync_run="timer",
            imagesync_on_calendar="*:*:0/5",
            imagesync_random_delay="0s",
            imagesync_trust_files=str(cloud / "certificates"),
            imagesync_clouds=yaml.safe_load((cloud / "clouds.yaml").read_text()),
            imagesync_config={name: config[name] for name in ("subscriptions", "targets")},
            imagesync_writable=[],
        )

        foretold = site.play(variables, options=("--check", "--diff"))
        assert foretold.changed == site.play(variables).changed

        wait_until(lambda: len(images_of(site.host, cloud)) == 4)
        wait_until(lambda: set(images_of(site.host, cloud).values()) == {"active"})
        log = site.host.journal("--unit", "imagesync-sync.service")
        assert "bubblewrap does not work" not in log
        assert site.play(variables).count == 0


def test_the_chapter_leads_to_a_daemon(site: Site, root: Path, blocks: Callable[[Path, str], list[str]]) -> None:
    """With the collection as it is built, and without a network, so that Keystone and the list cannot be had."""
    building, by_hand, *_ = blocks(root / "docs/ansible.rst", "text")
    home = site.operator.home
    (home / "collections/ansible_collections/imagesync/imagesync").unlink()  # a link to this checkout
    (home / "packaging").symlink_to(root / "packaging")
    for line in building.splitlines():
        program, *arguments = line.split()
        ran = site.operator.run(program, *arguments)
        assert ran.code == 0, ran.output
    (home / "book.yml").write_text(blocks(root / "docs/ansible.rst", "yaml")[0])
    (home / "inventory").write_text(f"[imagesync]\n{site.host.address}\n")
    site.host.copy(root / "build/wheels", "/root")
    offline = {"imagesync_pip_environment": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/root/wheels"}}
    told = {**offline, "vault_appdb_token": "hunter2", "vault_mysite_secret": "hunter3"}
    book = ("-i", str(home / "inventory"), "-u", "root", "-e", json.dumps(told), str(home / "book.yml"))

    foretold, first, second = (
        site.operator.run("ansible-playbook", *options, *book) for options in (("--check", "--diff"), (), ())
    )

    for run in (foretold, first, second):
        assert run.code == 0, run.output
        sys.stdout.write(f"the playbook of the chapter: {run.seconds:.1f} s, changed={run.count}\n")
    assert (foretold.changed, second.count) == (first.changed, 0)
    site.check_page()
    said = site.host.attempt("sh", "-euc", by_hand)
    assert "fedcloud" in said.stdout, said.stdout + said.stderr


CLOUDKEEPER_UNIT = """\
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""


def test_the_lists_and_the_login_of_cloudkeeper_are_taken_over_and_it_is_stopped_only_when_asked(site: Site) -> None:
    url = "https://hunter2:x-oauth-basic@lists.example.org/store/vo/vo.two/image.list"
    site.host.write("/etc/cloudkeeper/cloudkeeper.yml", json.dumps({"cloudkeeper": {"image-list": url}}), mode=0o600)
    conf = "[keystone_authtoken]\nauth_url=https://k.example.org/v3\nusername=ck\npassword=hunter3\n"
    site.host.write("/etc/cloudkeeper-os/cloudkeeper-os.conf", conf, mode=0o600)
    site.host.write("/etc/cloudkeeper-os/mapping.json", json.dumps({"vo.two": {"project": "two"}}))
    site.host.write("/etc/systemd/system/cloudkeeper-os.service", CLOUDKEEPER_UNIT)
    site.host.run("systemctl", "enable", "--now", "cloudkeeper-os.service")
    taking = site.variables(imagesync_migrate_from="cloudkeeper")
    stopping = {**taking, "imagesync_migrate_stop": True}

    broken = site.fail({**stopping, "imagesync_config": _without_a_page(site)})
    assert "What ran before (cloudkeeper-os.service) runs again, as it was" in broken.output
    units = ("cloudkeeper-os.service", "imagesync.service")
    assert site.units(*units) == ["active", "enabled", "inactive", "disabled"]
    assert site.host.run("ls", "/etc/imagesync/conf.d", "/etc/imagesync/secrets").split() == [
        "/etc/imagesync/conf.d:",
        "/etc/imagesync/secrets:",
    ]

    foretold = site.play(taking, options=("--check", "--diff"))
    first = site.play(taking)
    assert foretold.changed == first.changed
    assert site.play(taking).count == 0

    assert site.host.ask("systemctl", "is-active", "cloudkeeper-os.service") == "active"
    assert "cloudkeeper did not say who may sign it" in first.output
    assert "hunter" not in first.output
    taken = yaml.safe_load(site.host.read("/etc/imagesync/conf.d/from-cloudkeeper.yaml"))
    assert [item["name"] for item in taken["subscriptions"]] == ["vo.two"]
    assert "coexist" not in taken["targets"][0]
    secret = "/etc/imagesync/secrets/vo.two.token"
    assert site.host.run("stat", "--format=%a %U", secret) == "600 imagesync\n"
    assert site.host.read(secret) == "hunter2\n"

    foretold = site.play(stopping, options=("--check", "--diff"))
    assert foretold.changed == site.play(stopping).changed

    assert site.units("cloudkeeper-os.service") == ["inactive", "disabled"]
    assert site.play(stopping).count == 0


ATROPE_CONF = "[dispatchers]\ndispatcher = glance\n[glance]\nauth_url = https://k.example.org/v3\nusername = atrope\npassword = hunter3\nproject_id = {}\n"
ATROPE_UNITS = {
    "atrope.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "atrope.timer": "[Timer]\nOnCalendar=monthly\n[Install]\nWantedBy=timers.target\n",
}


def test_the_lists_of_atrope_are_taken_over_and_its_timer_is_stopped_only_when_asked(site: Site) -> None:
    endorser = {"dn": "/CN=endorser", "ca": "/CN=ca"}
    source = {"url": "https://lists.example.org/vo.two", "token": "hunter2", "endorser": endorser, "project": "a" * 32}
    site.host.write("/etc/atrope/hepix.yaml", json.dumps({"one": source}), mode=0o600)
    site.host.write("/etc/atrope/atrope.conf", ATROPE_CONF.format("b" * 32), mode=0o600)
    for name, text in ATROPE_UNITS.items():
        site.host.write(f"/etc/systemd/system/{name}", text)
    site.host.run("systemctl", "enable", "--now", "atrope.timer")
    taking = site.variables(imagesync_migrate_from="atrope")

    site.play(site.variables())
    twice = site.fail(taking)
    assert "What ran before (imagesync.service) runs again, as it was" in twice.output
    assert site.host.run("ls", "/etc/imagesync/conf.d", "/etc/imagesync/secrets").count(".") == 1  # in "conf.d"
    site.host.run("/opt/imagesync/imagesync/bin/imagesync", "--config=/etc/imagesync/imagesync.yaml", "config", "check")
    site.host.write("/etc/atrope/hepix.yaml", json.dumps({"vo.two": source}), mode=0o600)

    foretold = site.play(taking, options=("--check", "--diff"))
    first = site.play(taking)
    assert foretold.changed == first.changed
    assert site.play(taking).count == 0

    assert site.host.ask("systemctl", "is-active", "atrope.timer") == "active"
    assert "hunter" not in first.output
    taken = yaml.safe_load(site.host.read("/etc/imagesync/conf.d/from-atrope.yaml"))
    assert [item["name"] for item in taken["subscriptions"]] == ["vo.two"]
    assert taken["subscriptions"][0]["endorsers"] == [endorser]
    assert ["coexist" in target for target in taken["targets"]] == [False]
    secrets = ("/etc/imagesync/secrets/vo.two.token", "/etc/imagesync/secrets/openstack.password")
    assert site.host.run("stat", "--format=%a %U", *secrets) == "600 imagesync\n" * 2
    assert site.host.read(secrets[0]) == "hunter2\n"

    site.host.write("/etc/cron.weekly/images", "#!/bin/sh\natrope dispatch\n")
    refused = site.operator.play(site.host.address, {**taking, "imagesync_migrate_stop": True})
    assert "take it out of /etc/cron.weekly/images" in " ".join(refused.output.split())
    assert (refused.code, site.host.ask("systemctl", "is-active", "atrope.timer")) == (2, "active")
    site.host.run("rm", "/etc/cron.weekly/images")
    site.play({**taking, "imagesync_migrate_stop": True})

    assert site.host.ask("systemctl", "is-active", "atrope.timer") == "inactive"
    assert site.host.ask("systemctl", "is-enabled", "atrope.timer") == "disabled"
    assert site.play({**taking, "imagesync_migrate_stop": True}).count == 0
