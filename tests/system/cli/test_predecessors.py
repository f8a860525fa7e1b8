"""``config init --from-cloudkeeper`` and ``--from-atrope`` as an operator runs them."""

import json
import os
import resource
import stat
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest import mock

import pytest
import yaml

from imagesync.cli.main import run


def imagesync(*arguments, code=0):
    out, err = StringIO(), StringIO()
    words = ["imagesync", *map(str, arguments)]
    with mock.patch("sys.argv", words), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == code, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture
def cloudkeeper(tmp_path):
    """Return the directory of a cloudkeeper with one list and OpenStack behind it."""
    directory = tmp_path / "cloudkeeper"
    directory.mkdir()
    url = "https://s3cr3t:x-oauth-basic@lists.example.org/store/vo/vo.one/image.list"
    (directory / "cloudkeeper.yml").write_text(yaml.safe_dump({"cloudkeeper": {"image-list": url, "debug": True}}))
    (directory / "mapping.json").write_text(json.dumps({"vo.one": {"tenant": "one"}}))
    conf = "[keystone_authtoken]\nauth_url = https://k.example.org/v3\nusername = ck\npassword = pa55\n"
    (directory / "cloudkeeper-os.conf").write_text(conf)
    return directory


def test_it_is_shown_with_what_was_not_carried_over_and_without_secrets(cloudkeeper):
    out, _ = imagesync("config", "init", "--from-cloudkeeper", cloudkeeper)

    assert f"# * {cloudkeeper}/cloudkeeper.yml: debug: is not carried over" in out
    assert "# * /etc/imagesync/secrets/vo.one.token, from " in out
    assert yaml.safe_load(out)["targets"][0]["projects"] == {"vo.one": {"name": "one", "domain": "Default"}}
    assert "coexist" not in out
    assert "s3cr3t" not in out
    assert "pa55" not in out


def test_it_is_written_with_each_secret_in_a_file_of_its_own(cloudkeeper, tmp_path):
    into = tmp_path / "etc"
    imagesync("config", "init", "--from-cloudkeeper", cloudkeeper, "--into", into, "--coexist")

    files = {path.relative_to(into).as_posix(): path for path in into.rglob("*") if path.is_file()}
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in files.items()} == {
        "conf.d/from-cloudkeeper.yaml": 0o640,
        "secrets/openstack.password": 0o600,
        "secrets/vo.one.token": 0o600,
    }
    assert files["secrets/vo.one.token"].read_text() == "s3cr3t\n"
    main = into / "imagesync.yaml"
    main.write_text(f"state: sqlite:///{tmp_path}/state.db\ncache: {tmp_path}/cache\n")
    shown, _ = imagesync("--config", main, "config", "show", "--json")
    assert json.loads(shown)["targets"][0]["coexist"] is True


def test_nothing_is_replaced_and_nothing_is_left_when_a_file_is_there(cloudkeeper, tmp_path):
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    there = tmp_path / "etc" / "conf.d" / "from-cloudkeeper.yaml"
    there.write_text("{}\n")

    _, err = imagesync("config", "init", "--from-cloudkeeper", cloudkeeper, "--into", tmp_path / "etc", code=2)

    assert f"{there}: cannot be made: File exists (move it away first)" in err
    assert there.read_text() == "{}\n"
    assert list((tmp_path / "etc" / "secrets").iterdir()) == []


def test_what_root_writes_the_group_of_the_directory_may_read(cloudkeeper, tmp_path):
    group = 4711 if os.geteuid() == 0 else os.getgroups()[-1]
    into = tmp_path / "etc"
    into.mkdir()
    os.chown(into, -1, group)

    imagesync("config", "init", "--from-cloudkeeper", cloudkeeper, "--into", into)

    found = {path.relative_to(into).as_posix(): path.stat() for path in into.rglob("*")}
    assert {(name, status.st_gid, stat.S_IMODE(status.st_mode)) for name, status in found.items()} == {
        ("conf.d", group, 0o750),
        ("conf.d/from-cloudkeeper.yaml", group, 0o640),
        ("secrets", group, 0o750),
        ("secrets/openstack.password", group, 0o640),
        ("secrets/vo.one.token", group, 0o640),
    }


def test_a_file_that_breaks_off_is_named_and_none_is_left(cloudkeeper, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        _, err = imagesync("config", "init", "--from-cloudkeeper", cloudkeeper, "--into", tmp_path / "etc", code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert f"{tmp_path}/etc/conf.d/from-cloudkeeper.yaml: cannot be made: File too large (nothing was left" in err
    assert [path for path in (tmp_path / "etc").rglob("*") if path.is_file()] == []


def test_json_has_the_options_where_secrets_go_and_what_is_left(cloudkeeper):
    out, _ = imagesync("config", "init", "--from-cloudkeeper", cloudkeeper, "--json")

    found = json.loads(out)
    assert [secret["file"] for secret in found["secrets"]] == [
        "/etc/imagesync/secrets/vo.one.token",
        "/etc/imagesync/secrets/openstack.password",
    ]
    assert len(found["not_carried_over"]) == 2
    assert "s3cr3t" not in out


def test_atrope_is_read_too(tmp_path):
    source = {"url": "https://lists.example.org/l", "endorser": {"dn": "/CN=a", "ca": "/CN=b"}, "project": "a" * 32}
    (tmp_path / "hepix.yaml").write_text(yaml.safe_dump({"vo.one": source}))
    conf = "[dispatchers]\ndispatcher = glance\n[glance]\nauth_url = https://k.example.org/v3\nproject_id = " + "b" * 32
    (tmp_path / "atrope.conf").write_text(conf)

    out, _ = imagesync("config", "init", "--from-atrope", tmp_path)

    assert out.startswith("# Made from the configuration of atrope.")
    assert "# Everything could be carried over.\n" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from-list", "x", "--from-atrope", "y"], "give one of --from-list"),
        (["--from-cloudkeeper", "x", "--from-atrope", "y"], "give one of --from-list"),
        (["--into", "x"], "stand beside"),
        (["--coexist"], "stand beside"),
        (["--from-atrope", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_wrong_usage_is_refused(arguments, complaint):
    _, err = imagesync("config", "init", *arguments, code=2)

    assert complaint in err


# --- a candidate -----------------------------------------------------------------------------------------------------
@pytest.fixture
def main(tmp_path):
    """Return the place of a configuration of which the targets stand in conf.d; the file itself is not there yet."""
    from imagesync.cli.context import clock
    from imagesync.testing.pki import Authority, ec_key, write_anchors

    write_anchors(tmp_path / "anchors", [Authority("/DC=org/CN=ca", clock(), key=ec_key())])
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    target = {"name": "site", "backend": "directory", "path": str(tmp_path / "images")}
    (tmp_path / "etc/conf.d/targets.yaml").write_text(yaml.safe_dump({"targets": [target]}))
    return tmp_path / "etc" / "imagesync.yaml"


def candidate(main, **more):
    root = main.parents[1]
    endorser = {"dn": "/CN=endorser", "ca": "/CN=ca"}
    subscription = {"name": "one", "vo": "vo.one", "url": "https://x.org/l", "endorsers": [endorser]}
    content = {"state": f"sqlite:///{root}/state.db", "cache": str(root / "cache"), "subscriptions": [subscription]}
    path = root / "candidate"
    path.write_text(yaml.safe_dump(content | {"trust": {"anchors": str(root / "anchors")}} | more))
    return path


def test_a_candidate_is_checked_with_what_is_beside_the_place_that_it_is_for(main):
    out, _ = imagesync("--config", main, "config", "check", "--candidate", candidate(main))

    assert out == f"{main}: good\n"
    assert not main.exists()


def test_a_bad_candidate_is_refused_as_if_it_stood_there_already(main):
    out, _ = imagesync("--config", main, "config", "check", "--candidate", candidate(main, instnace="x"), code=2)

    assert out.startswith(f"{main}: instnace: is no option: did you mean instance?")


def test_a_candidate_that_says_what_conf_d_says_too_is_refused(main):
    main.write_text("{}\n")
    (main.parent / "conf.d" / "more.yaml").write_text("instance: one\n")

    out, _ = imagesync("--config", main, "config", "check", "--candidate", candidate(main, instance="two"), code=2)

    assert "instance: is given in" in out


def test_a_candidate_that_is_not_there_is_named(main):
    _, err = imagesync("--config", main, "config", "check", "--candidate", "/does/not/exist", code=2)

    assert f"{main}: cannot be read" in err
