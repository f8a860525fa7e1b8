from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from imagesync.config.load import default_places, load, serves_the_system
from imagesync.config.schema import Config
from imagesync.config.urls import check_place
from imagesync.errors import ConfigError
from imagesync.model import Format, Identity
from imagesync.run.settings import BootMode, Scope
from imagesync.run.wiring import task

Problems = Callable[..., list[str]]
Load = Callable[..., Config]


# --- what loads ---
def test_a_small_configuration_has_defaults_for_the_rest(loaded: Load, tmp_path: Path) -> None:
    config = loaded()
    assert config.instance == "imagesync"
    assert config.state.url == "sqlite:////var/lib/x/state.db"
    assert config.cache == Path("/var/cache/x")
    assert config.trust.anchors == Path("/etc/grid-security/certificates")
    assert (config.guard.share, config.guard.min_images) == (0.5, 4)
    assert config.expiry_grace == timedelta(hours=72)
    assert config.path == tmp_path / "imagesync.yaml"
    (subscription,) = config.subscriptions
    assert subscription.endorsers[0].identity == Identity("/DC=org/CN=endorser", "/DC=org/CN=ca")
    assert not subscription.allow_private_addresses
    (target,) = config.targets
    assert target.formats == (Format.QCOW2, Format.RAW)
    assert target.delete_after == timedelta(days=30)


@pytest.mark.parametrize(
    ("subscription", "target", "mode"),
    [
        ("", "", "off"),
        ("report", "", "report"),
        ("", "require", "require"),
        ("require", "report", "report"),
        ("require", "off", "off"),
        ("off", "require", "require"),
    ],
)
def test_whether_images_are_started_is_said_by_the_target_and_else_by_the_subscription(
    subscription: str, target: str, mode: str, files: Any, minimal: str
) -> None:
    of_list = f"    boot_check: {subscription}\n" if subscription else ""
    of_target = f", boot_check: {target}" if target else ""
    files.write(minimal.replace("    vo:", f"{of_list}    vo:").replace("path: images", f"path: images{of_target}"))

    config = files.load()

    (made,) = task(config, Scope(), datetime.now(UTC)).targets
    assert config.boot_check_for(config.subscriptions[0], config.targets[0]) == mode
    assert made.boot_check("fedcloud") is BootMode(mode)
    assert made.boot_check("another") is BootMode.OFF


def test_hours_for_heavy_work_may_be_one_word(files: Any, minimal: str) -> None:
    files.write(minimal + "limits: {heavy_work: 22:00-06:00, bandwidth: 1MiB}\n")

    limits = files.load().limits

    assert limits.heavy_work == ((time(22), time(6)),)
    assert limits.bandwidth == 1 << 20
    assert limits.model_dump(mode="json")["heavy_work"] == ["22:00-06:00"]


def test_the_example_of_the_design_loads(files: Any) -> None:
    files.write("""\
instance: imagesync
state: sqlite:////var/lib/imagesync/state.db
cache: /var/cache/imagesync
trust:
  anchors: /etc/grid-security/certificates
  crl: require
subscriptions:
  - name: fedcloud
    vo: fedcloud.egi.eu
    url: https://vmcaster.appdb.egi.eu/store/vo/fedcloud.egi.eu/image.list
    token: {file: /etc/imagesync/appdb.token}
    endorsers:
      - {dn: "/DC=EU/DC=EGI/C=NL/O=Hosts/O=EGI.eu/CN=appdb.egi.eu", ca: "/DC=ORG/DC=SEE-GRID/CN=SEE-GRID CA 2013"}
    select: {exclude: [{title: "*test*"}]}
    every: 6h
targets:
  - name: mysite
    backend: glance
    cloud: mysite
    formats: [qcow2, raw]
    ownership: shared
    owner: {name: images, domain: Default}
    projects: {fedcloud.egi.eu: 3f1c}
""")
    config = files.load()
    assert config.targets[0].settings == {
        "cloud": "mysite",
        "ownership": "shared",
        "owner": {"name": "images", "domain": "Default"},
        "projects": {"fedcloud.egi.eu": "3f1c"},
    }
    assert config.subscriptions[0].select.exclude_rules() == ((("title", "*test*"),),)


def test_relative_paths_are_beside_the_configuration(files: Any, minimal: str, tmp_path: Path) -> None:
    files.write(minimal.replace("sqlite:////var/lib/x/state.db", "sqlite:///state.db").replace("/var/cache/x", "cache"))
    config = files.load()
    assert config.state.url == f"sqlite:///{tmp_path}/state.db"
    assert config.cache == tmp_path / "cache"
    assert config.targets[0].settings == {"path": str(tmp_path / "images")}


def test_an_unquoted_off_is_off(loaded: Load) -> None:
    assert loaded("trust: {crl: off}\n").trust.crl == "off"


def test_a_secret_is_found_in_the_environment_that_was_given(loaded: Load) -> None:
    config = loaded("proxies: {https: {url: 'http://proxy:3128', user: me, password: {env: WORD}}}\n", WORD="p@ss")
    assert config.proxies["https"].address() == "http://me:p%40ss@proxy:3128"


def test_a_heading_without_lines_is_no_option(loaded: Load) -> None:
    assert loaded("trust:\nguard:\n").guard.min_images == 4


def test_the_target_says_more_than_the_subscription_than_the_whole(loaded: Load, files: Any, minimal: str) -> None:
    files.write(
        minimal.replace("    vo:", "    guard: {share: 0.9, min_images: 2}\n    expiry_grace: 1h\n    vo:").replace(
            "backend: directory", "backend: directory, guard: {share: 0.1}"
        )
    )
    config = files.load()
    guard = config.guard_for(config.subscriptions[0], config.targets[0])
    assert (guard.share, guard.min_images) == (0.1, 2)
    assert config.expiry_grace_for(config.subscriptions[0]) == timedelta(hours=1)


def test_a_target_follows_all_lists_or_those_it_names(files: Any, minimal: str) -> None:
    second = minimal.partition("subscriptions:\n")[2].partition("targets:")[0].replace("fedcloud\n", "other\n", 1)
    text = minimal.replace("targets:\n", f"{second}targets:\n  - {{name: two, backend: x, subscriptions: [other]}}\n")
    files.write(text)
    config = files.load()
    followed = [[item.name for item in config.subscriptions_of(target)] for target in config.targets]
    assert followed == [["other"], ["fedcloud", "other"]]


def test_nothing_can_be_changed_afterwards(loaded: Load) -> None:
    config = loaded()
    for section in (config, config.trust, config.subscriptions[0], config.targets[0]):
        with pytest.raises(ValueError, match="frozen"):
            section.name = "other"


# --- several files ---
def test_drop_ins_continue_lists_and_fill_mappings(files: Any, minimal: str) -> None:
    files.write(minimal + "trust: {crl: if-present}\n")
    files.write("trust: {anchors: /anchors}\ntargets: [{name: two, backend: directory}]\n", "conf.d/20.yaml")
    files.write("targets: [{name: three, backend: directory}]\n", "conf.d/10.yaml")
    config = files.load()
    assert (config.trust.crl, config.trust.anchors) == ("if-present", Path("/anchors"))
    assert [target.name for target in config.targets] == ["site", "three", "two"]


def test_what_is_given_twice_names_both_files(files: Any, minimal: str) -> None:
    files.write(minimal + "trust: {crl: require}\n")
    files.write("trust: {crl: require}\ncache: /x\n", "conf.d/a.yaml")
    files.write("targets: [{name: site, backend: x}]\n", "conf.d/b.yaml")
    assert files.problems() == [
        "conf.d/a.yaml: trust.crl: is given in imagesync.yaml too: keep one",
        "conf.d/a.yaml: cache: is given in imagesync.yaml too: keep one",
        "conf.d/b.yaml: targets[0].name: site is given in imagesync.yaml: targets[0].name too: use another name",
    ]


def test_a_problem_is_placed_in_the_file_where_it_is(files: Any, minimal: str) -> None:
    files.write(minimal)
    files.write("targets: [{name: two, backend: x}, {name: three}]\nguard: {shar: 1}\n", "conf.d/more.yaml")
    assert files.problems() == [
        "conf.d/more.yaml: targets[1].backend: is missing: add it",
        "conf.d/more.yaml: guard.shar: is no option: did you mean share?",
    ]


def test_a_drop_in_that_would_be_overlooked_is_refused(files: Any, minimal: str) -> None:
    files.write(minimal)
    files.write("", "conf.d/late.yml")
    files.write("", "conf.d/.hidden.yaml")
    files.write("", "conf.d/README")
    assert files.problems() == ["conf.d/late.yml: is not read: give it the ending .yaml"]


def test_denied_images_come_from_their_own_directory(files: Any, minimal: str) -> None:
    files.write(minimal)
    files.write("deny: [{identifier: abc, reason: CVE-2026-1}]\n", "deny.d/1.yaml")
    files.write("deny: [{sha512: 'ABC*'}]\n", "deny.d/2.yaml")
    config = files.load()
    assert [entry.patterns() for entry in config.deny] == [{"identifier": "abc"}, {"sha512": "ABC*"}]
    assert config.deny[0].reason == "CVE-2026-1"


def test_a_deny_file_that_is_wrong_stops_everything(files: Any, minimal: str) -> None:
    files.write(minimal)
    files.write("deni: []\n", "deny.d/1.yaml")
    files.write("deny: [{reason: x}, {identifier: '*'}, {mpury: x, identifier: a}]\n", "deny.d/2.yaml")
    files.write("deny: [", "deny.d/3.yaml")
    assert [problem.partition(" (")[0][:60] for problem in files.problems()] == [
        "deny.d/1.yaml: deni: is no option: did you mean deny?",
        "deny.d/3.yaml: line 1: expected the node content, but found ",
        "deny.d/2.yaml: deny[0]: would recall every image: name ident",
        "deny.d/2.yaml: deny[1]: would recall every image: name ident",
        "deny.d/2.yaml: deny[2].mpury: is no option: did you mean mpu",
    ]


# --- what does not load ---
def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot be read: No such file"):
        load(tmp_path / "absent.yaml", {"HOME": "/home/x"})


def test_every_problem_is_reported_at_once(problems: Problems) -> None:
    found = problems("guard: {share: 2}\non_unselected: drop\n", old="vo: fedcloud.egi.eu", new="every: 6")
    assert found == [
        "imagesync.yaml: subscriptions[0].vo: is missing: add it",
        "imagesync.yaml: subscriptions[0].every: is no duration: write a number with its unit, like 90s, 15m, 72h or 30d",
        "imagesync.yaml: guard.share: is too large: write at most 1.0",
        "imagesync.yaml: on_unselected: drop is not known: write retire or keep",
    ]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("instanc: x", "instanc: is no option: did you mean instance?"),
        ("trust: {cro: off}", "trust.cro: is no option: did you mean crl?"),
        ("trust: {zzz: 1}", "trust.zzz: is no option: known here are anchors, crl, fetch_crls"),
        ("instance: yes", "instance: is read by YAML as true: put the word in quotes"),
        ("instance: 5", "instance: is read as a number: put it in quotes"),
        ("instance: a b", "instance: is no name: write letters, digits and . _ - in between, at most 64"),
        (
            "trust: {crl: on}",
            "trust.crl: is read by YAML as true: put the word in quotes; it must be require, if-present or off",
        ),
        ("trust: {crl: never}", "trust.crl: never is not known: write require, if-present or off"),
        (
            "on_unselected: off",
            "on_unselected: is read by YAML as false: put the word in quotes; it must be retire or keep",
        ),
        ("trust: [a]", "trust: must have options of its own: write KEY: VALUE lines below it"),
        ("guard: {min_images: true}", "guard.min_images: must be a whole number"),
        ("guard: {min_images: -1}", "guard.min_images: is too small: write at least 0"),
        ("guard: {share: half}", "guard.share: must be a number"),
        (
            "cache_max_bytes: 20 gigs",
            "cache_max_bytes: is no size: write a number with its unit, like 16MiB, 20GiB or 1TiB",
        ),
        (
            "limits: {heavy_work: [night]}",
            'limits.heavy_work[0]: is no time of the day: write from when to when, like "22:00-06:00"',
        ),
        (
            "limits: {bandwidth: 64KiB}",
            (
                "limits.bandwidth: is too little: 131072 bytes per second are minimum_rate for each of parallel_images;"
                " lower those"
            ),
        ),
        ("limits: {parallel_images: 0}", "limits.parallel_images: is too small: write at least 1"),
        (
            "trust: {anchors: ~/certificates}",
            "trust.anchors: begins with ~, which is not replaced here: write the whole path",
        ),
        (
            "proxies: {ftp: 'http://x'}",
            "proxies: ftp is nothing to have a proxy for: write https, http, or https://HOST",
        ),
        (
            "proxies: {http: 'http://u:p@x'}",
            (
                "proxies.http.url: has a user or password in it, which would show up in logs:"
                " write user: NAME and password: {file: PATH}"
            ),
        ),
    ],
)
def test_a_wrong_option_says_what_to_do(problems: Problems, more: str, problem: str) -> None:
    assert problems(more) == [f"imagesync.yaml: {problem}"]


@pytest.mark.parametrize(
    "listen", ["a..example.org:80", f"{'a' * 64}.example.org:80", ".a:80", "..:80", "a:0", "a:65536", "a", "a b:80"]
)
def test_what_can_be_no_address_is_nowhere_to_listen(problems: Problems, listen: str) -> None:
    (found,) = problems(f"daemon: {{listen: '{listen}'}}")
    assert found.startswith("imagesync.yaml: daemon.listen: is nowhere to listen: ")


@pytest.mark.parametrize("listen", ["localhost:80", "imagesync.example.org.:80", "127.0.0.1:80", "'[::1]:80'", "off"])
def test_hosts_and_addresses_are_somewhere_to_listen(problems: Problems, listen: str) -> None:
    assert problems(f"daemon: {{listen: {listen}}}") == []


def test_a_value_that_yaml_cannot_make_is_a_problem_with_file_and_line(problems: Problems) -> None:
    assert problems("x: !!int x") == ["imagesync.yaml: line 10: is no int that can be read: write another value"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dn: /DC=org/CN=endorser, ", "", "endorsers[0].dn: is missing: add it"),
        (", ca: /DC=org/CN=ca", "", "endorsers[0].ca: is missing: add it"),
        ("{dn: /DC=org/CN=endorser, ca: /DC=org/CN=ca}", "", "endorsers: is empty: write at least one"),
        ("dn: /DC=org/CN=endorser", "dn: Jane", "endorsers[0].dn: is no distinguished name: write it as imagesync list verify shows it"),
        ("vo: fed", "vo: ''\n    v_o: fed", "vo: is empty: write something"),
        ("https://lists", "lists", "url: is no URL of a list: write https://…, http://… or file:///…"),
        ("https://lists", "ftp://lists", "url: is no URL of a list: write https://…, http://… or file:///…"),
        ("https://lists.example.org", "https://", "url: names no host: write https://HOST/…"),
        ("https://lists.example.org", "https://lists.example.org:x", "url: is no URL: Port could not be cast to integer value as 'x'"),
        ("https://lists.example.org", "file://lists", "url: is no file URL: write file:/// and an absolute path"),
        (
            "https://lists",
            "https://token:x@lists",
            "url: has a user or password in it, which would show up in logs: write token: {file: PATH}",
        ),
        ("vo:", "token: abc\n    vo:", "token: holds the secret itself: write {file: PATH}, {env: NAME} or {credential: NAME}"),
        (
            "url: https",
            "token: {env: X}\n    url: http",
            "token: is sent over https only: use an https url, or remove the token",
        ),
        ("vo:", "enabled: sometimes\n    vo:", "enabled: must be true or false"),
        ("vo:", "select: {exclude: [{}]}\n    vo:", "select.exclude[0]: is empty and would match every image: name one of title, identifier, version, arch, os, osversion, mpuri, sha512"),
        ("vo:", "select: {exclude: [{version: 20.04}]}\n    vo:", "select.exclude[0].version[0]: is read as a number: put it in quotes"),
        ("vo:", "select: {os: x, include: [{os: y}]}\n    vo:", "select: has fields beside include: write them as a rule inside include"),
    ],
)  # fmt: skip
def test_a_wrong_subscription_says_what_to_do(problems: Problems, old: str, new: str, problem: str) -> None:
    assert f"imagesync.yaml: subscriptions[0].{problem}" in problems(old=old, new=new)


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        ("formats: []", "formats: is empty: write at least one"),
        ("formats: qcow2", "formats: must be a list: write [ONE, TWO], or lines that begin with -"),
        ("formats: [raw, raw]", "formats: names a format twice: write each once, the preferred one first"),
        ("formats: [qcow]", "formats[0]: qcow is no disk format: write one of raw, qcow2, vmdk, vdi, vpc, vhdx, iso (or vhd for vpc)"),
        ("subscriptions: [fedclod]", "subscriptions[0]: there is no subscription fedclod: did you mean fedcloud?"),
        ("subscriptions: [zzz]", "subscriptions[0]: there is no subscription zzz: known are fedcloud"),
        ("delete_after: 30", "delete_after: is no duration: write a number with its unit, like 90s, 15m, 72h or 30d"),
    ],
)  # fmt: skip
def test_a_wrong_target_says_what_to_do(problems: Problems, new: str, problem: str) -> None:
    found = problems(old="backend: directory", new=f"backend: directory, {new}")
    assert found == [f"imagesync.yaml: targets[0].{problem}"]


def test_a_short_typo_is_understood(problems: Problems) -> None:
    found = problems(old="{dn: /DC=org/CN=endorser,", new="{dm: /DC=org/CN=endorser,")
    assert "imagesync.yaml: subscriptions[0].endorsers[0].dm: is no option: did you mean dn?" in found


@pytest.mark.parametrize("path", ["images", "./x/../images", "{root}/images", "link/images"])
def test_two_targets_in_one_directory_are_refused(files: Any, minimal: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    path = path.format(root=tmp_path)
    files.write(f"{minimal}  - {{name: other, backend: directory, path: '{path}'}}\n")
    assert files.problems() == [
        (
            "imagesync.yaml: targets[1].path: targets site and other share the directory images,"
            " see imagesync.yaml: targets[0].path: give each its own"
        )
    ]


@pytest.mark.parametrize("other", ["backend: directory, path: images/b", "backend: another, path: images"])
def test_targets_with_directories_of_their_own_are_fine(files: Any, minimal: str, other: str) -> None:
    files.write(f"{minimal}  - {{name: other, {other}}}\n")
    assert files.problems() == []


def test_two_subscriptions_of_one_list_are_refused(files: Any, minimal: str) -> None:
    one = minimal.partition("subscriptions:\n")[2].partition("targets:")[0]
    first = f"{one}    identifier: abc\n"
    files.write(minimal.replace(one, first + first))
    assert files.problems() == [
        (
            "imagesync.yaml: subscriptions[1].name: fedcloud is given in imagesync.yaml: subscriptions[0].name too:"
            " use another name"
        ),
        (
            "imagesync.yaml: subscriptions[1].identifier: abc is given in imagesync.yaml: subscriptions[0].identifier too:"
            " a list can be followed once"
        ),
    ]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql+psycopg://u:word@h/d", "has a password in it: write state: {url: …, password: {file: PATH}}"),
        (
            "postgresql+psycopg://h/d?password=word",
            "has a password in it: write state: {url: …, password: {file: PATH}}",
        ),
        ("mysql://h/d", "is no URL of a state: write sqlite:////PATH or postgresql+psycopg://USER@HOST/DATABASE"),
        ("sqlite://", "names no file: write sqlite:////PATH"),
        ("sqlite:///:memory:", "names no file: write sqlite:////PATH"),
        ("sqlite:///~/state.db", "has a ~, which is not replaced here: write the whole path"),
    ],
)
def test_a_wrong_state_says_what_to_do(problems: Problems, url: str, problem: str) -> None:
    found = problems(old="sqlite:////var/lib/x/state.db", new=f"'{url}'")
    assert found == [f"imagesync.yaml: state.url: {problem}"]
    assert "word@" not in found[0]


def test_a_key_given_twice_is_refused(problems: Problems) -> None:
    found = problems("cache: /other\n")
    assert "imagesync.yaml: line 10: the key cache is given twice, first in line 2: keep one" in found


# --- places ---
def test_default_places_are_systemds_then_the_systems_then_the_users() -> None:
    systemd = {"STATE_DIRECTORY": "/s/one:/s/two", "CACHE_DIRECTORY": "/c", "HOME": "/home/x"}
    assert default_places(systemd, system=False) == (Path("/s/one"), Path("/c"))
    assert default_places({"HOME": "/root"}, system=True) == (Path("/var/lib/imagesync"), Path("/var/cache/imagesync"))
    assert default_places({"HOME": "/home/x", "XDG_CACHE_HOME": "/fast"}, system=False) == (
        Path("/home/x/.local/state/imagesync"),
        Path("/fast/imagesync"),
    )
    assert default_places({}, system=False) == (None, None)


def test_the_systems_places_are_those_of_root_and_of_whom_the_state_belongs_to(tmp_path: Path) -> None:
    owner = tmp_path.stat().st_uid

    assert serves_the_system(owner, tmp_path)
    assert not serves_the_system(owner + 1, tmp_path)
    assert serves_the_system(0, tmp_path / "missing")
    assert not serves_the_system(owner + 1, tmp_path / "missing")


def test_default_places_are_used(files: Any, minimal: str) -> None:
    files.write(minimal.partition("subscriptions:")[2].join(["subscriptions:", ""]))
    config = files.load(STATE_DIRECTORY="/s", CACHE_DIRECTORY="/c")
    assert (config.state.url, config.cache) == ("sqlite:////s/state.db", Path("/c"))


# --- cost ---
def test_nothing_of_it_imports_pydantic_before_a_configuration_is_loaded() -> None:
    code = "import sys, imagesync.config, imagesync.cli; assert not {'pydantic', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("place", ["https://images.example.org", "file:///images/", "https://h/?x=", "images/"])
def test_a_mirror_stands_for_urls_of_one_host(place: str) -> None:
    with pytest.raises(ValueError, match="is no beginning of URLs"):
        check_place(place)


def test_a_mirror_is_asked_without_a_password() -> None:
    with pytest.raises(ValueError, match="has a user or password in it"):
        check_place("https://me:word@h/")
