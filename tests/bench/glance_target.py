"""How the measurements name their cloud."""

from typing import Any

from cloud.accounts import Project


def settings(project: Project, *vos: str) -> dict[str, Any]:
    """Return the settings of a Glance target that keeps the images of ``vos`` in ``project``."""
    login = project.login()
    return {
        "auth_type": login.auth_type,
        "auth": dict(login.auth),
        "region_name": "RegionOne",
        "projects": dict.fromkeys(vos, project.id),
    }
