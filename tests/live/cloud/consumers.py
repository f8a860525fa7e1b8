"""Programs of others that read what imagesync writes, run as their users run them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloud.accounts import Project, User
from cloud.api import Json
from cloud.cloud import Cloud, write_clouds_yaml
from cloud.configuration import FIRST_REGION, ini
from cloud.software import HERE, software

PROGRAMS = {kind: HERE / f"requirements-{kind}.txt" for kind in ("cloudinfo", "caso", "openstack")}
"""The requirements of each, which do not go together in one environment."""

HANG = 120


class ProgramError(Exception):
    """A program failed, with what it printed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads for the information system and for accounting: a user with the role ``reader`` alone."""

    cloud: Cloud
    user: User

    def published(self, projects: Mapping[str, Project], folder: Path) -> list[Json]:
        """Return the images that cloud-info-provider publishes of the projects of VOs, as GLUE has them."""
        site = {
            "gocdb": "EXAMPLE",
            "endpoint": self.cloud.auth_url,
            "vos": [{"name": vo, "auth": {"project_id": project.id}} for vo, project in projects.items()],
        }
        path = folder / "cloud-info.yaml"
        path.write_text(yaml.safe_dump(site), encoding="utf-8")
        login = {
            "OS_AUTH_TYPE": "v3password",
            "OS_AUTH_URL": self.cloud.auth_url,
            "OS_USERNAME": self.user.name,
            "OS_PASSWORD": self.user.password,
            "OS_USER_DOMAIN_ID": "default",
            "OS_REGION_NAME": FIRST_REGION,
        }
        program = (str(HERE / "programs/cloud_info.py"), str(path))
        found: list[Json] = json.loads(run("cloudinfo", ("python", *program), folder, login))["CloudComputingImage"]
        return found

    def accounted(self, projects: Iterable[Project], folder: Path) -> dict[str, dict[str, str]]:
        """Return the record that cASO makes of each server of the projects, by the server's name.

        Raises:
            ProgramError: it said that something went wrong; it ends with 0 all the same.
        """
        spool, outbox = folder / "caso-spool", folder / "caso-outbox"
        common = {
            "site_name": "EXAMPLE",
            "service_name": "example",
            "region_name": FIRST_REGION,
            "extractor": "nova",
            "messengers": "ssm",
            "spooldir": spool,
            "lock_path": spool,
            "projects": ",".join(project.id for project in projects),
        }
        login = {
            "auth_type": "password",
            "auth_url": self.cloud.auth_url,
            "username": self.user.name,
            "password": self.user.password,
            "user_domain_id": "default",
            "project_domain_id": "default",
        }
        path = folder / "caso.conf"
        path.write_text(ini({"DEFAULT": common, "keystone_auth": login, "ssm": {"output_path": outbox}}))
        run("caso", ("caso-extract", "--config-file", str(path)), folder, {})
        messages = [message.read_text(encoding="utf-8") for message in sorted(outbox.glob("*/*"))]
        return {record["VMUUID"]: record for message in messages for record in _records(message)}


def make_reader(cloud: Cloud, projects: Mapping[str, Project]) -> Reader:
    """Return a reader of the projects of VOs, whom their sites told which VO each is for."""
    user = cloud.user(projects.values(), "reader")
    identity = cloud.admin.identity
    role = identity.find("role", name="reader")[0]["id"]
    identity.call("PUT", f"/system/users/{user.id}/roles/{role}")
    for vo, project in projects.items():
        identity.call("PATCH", f"/projects/{project.id}", json={"project": {"VO": vo}})
    return Reader(cloud, user)


def openstack(project: Project, folder: Path, *words: str) -> Any:
    """Return what the openstack command answers to a member of the project: decoded if asked with ``-f json``."""
    clouds = write_clouds_yaml(folder / "openstack-clouds.yaml", {"site": project.login().entry()})
    chosen = {"OS_CLIENT_CONFIG_FILE": str(clouds), "OS_CLOUD": "site"}
    said = run("openstack", ("openstack", *words), folder, chosen)
    return json.loads(said) if "json" in words else said


def run(kind: str, command: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> str:
    """Return what a program prints; nothing of the caller's environment reaches it.

    Raises:
        ProgramError: it failed, or logged an error.
    """
    installed = software(PROGRAMS[kind])
    installed.check()
    done = subprocess.run(
        [installed.program(command[0]), *command[1:]],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    if done.returncode or " ERROR " in done.stderr:
        raise ProgramError(f"{kind} ended with {done.returncode}: {done.stdout[-1000:]} {done.stderr[-3000:]}")
    return done.stdout


def _records(message: str) -> list[dict[str, str]]:
    """Return the records of a message to the accounting repository."""
    texts = message.partition("\n")[2].split("\n%%\n")
    return [dict(line.partition(": ")[::2] for line in text.strip().splitlines()) for text in texts]
