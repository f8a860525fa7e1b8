"""No password, secret or token is found in anything that imagesync writes or is called with, whatever happens."""

from pathlib import Path

import psutil
import pytest
import yaml
from cloud.faults import CutAnswer, Hang, Meanwhile, Status

SECRET_OPTIONS = {"password", "token", "application_credential_secret"}
GIVEN = {"clouds.yaml", *SECRET_OPTIONS}
"""Files that the operator wrote."""


@pytest.fixture
def login(trial, request):
    project = trial.project
    return {
        "password": project.login,
        "application credential": project.application_credential,
        "token": project.token_login,
        "refused": lambda: type(project.login())("password", {**project.login().auth, "password": "not-the-password"}),
    }[request.param]()


def use(trial, login, root):
    """Let the site log in so: by an entry of clouds.yaml, and a second target by secrets in files; return the secrets."""
    auth = {**login.auth, "auth_url": trial.keystone.url}
    trial.site.entries["site"] = {**login.entry(), "auth": auth}
    trial.site.configure(request_timeout="1s", stall_timeout="1s")
    secrets = {name: value for name, value in auth.items() if name in SECRET_OPTIONS}
    for name, value in secrets.items():
        (root / name).write_text(value)
    config = yaml.safe_load(trial.site.config.read_text())
    by_file = {name: {"file": str(root / name)} for name in secrets}
    second = {**config["targets"][0], "name": "second", "auth_type": login.auth_type, "auth": {**auth, **by_file}}
    del second["cloud"]
    config["targets"].append(second)
    trial.site.config.write_text(yaml.safe_dump(config))
    return set(secrets.values())


def arguments(process):
    """Return the command lines of a process and of all that it started."""
    family = [process, *process.children(recursive=True)]
    return "\n".join("\0".join(one.cmdline()) for one in family)


def written(trial):
    """Return all that is in the site's folder but for what the operator wrote: state, cache, locks."""
    files = (path for path in Path(trial.site.root).rglob("*") if path.is_file() and "publisher" not in path.parts)
    return {path: path.read_bytes() for path in files if path.name not in GIVEN}


@pytest.mark.parametrize("login", ["password", "application credential", "token", "refused"], indirect=True)
def test_no_secret_is_written_anywhere(trial, login, tmp_path):
    secrets = use(trial, login, tmp_path)
    trial.site.offer("one", "two", "three")
    trial.site.published.publish()
    trial.glance.add("PUT", r"/v2/images/[^/]+/file", Status(500, html=True), nth=1)
    trial.glance.add("PUT", r"/v2/images/[^/]+/file", Hang(1000), nth=2)
    trial.glance.add("GET", "/v2/images", CutAnswer(300), nth=3)
    trial.keystone.add("POST", "/v3/auth/tokens", Status(503), nth=2)
    seen = []
    look = Meanwhile(lambda: seen.append(arguments(psutil.Process(process.pid))), answer=True)
    trial.keystone.add("POST", "/v3/auth/tokens", look)

    process = trial.site.start("--log-level", "debug", "sync", "--json")
    texts = list(process.communicate(timeout=120))
    for words in (["sync"], ["plan"], ["status", "--json"], ["config", "show"], ["config", "check"]):
        result = trial.site.run("--log-level", "debug", *words)
        texts += [result.out, result.err]
    texts.append(str(trial.records()))

    secrets |= trial.tokens()
    assert len(secrets) >= (1 if "not-the-password" in secrets else 2)
    assert seen
    assert process.returncode == (5 if login.auth.get("password") == "not-the-password" else 1)
    for secret in secrets:
        assert not [text for text in (*texts, *seen) if secret in text]
        assert not [path for path, data in written(trial).items() if secret.encode() in data]
