"""How the measurements name their cloud."""

import os
from pathlib import Path
from typing import Any

from cloud.accounts import Project
from cloud.cloud import write_clouds_yaml


def settings(project: Project, root: Path, *vos: str) -> dict[str, Any]:
    """Return the settings of a Glance target that keeps the images of ``vos`` in ``project``.

    The login stands in a file below ``root``, which this process and its children read from now on.
    """
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(
        write_clouds_yaml(root / "clouds.yaml", {"site": project.login().entry()})
    )
    return {"cloud": "site", "projects": dict.fromkeys(vos, project.id)}
