"""``python -m cloud install``: what tests need before they run. ``python -m cloud run DIRECTORY``: make cloud."""

from __future__ import annotations

import sys
from pathlib import Path

from cloud.consumers import PROGRAMS
from cloud.nova_setup import REQUIREMENTS, make_nova_template
from cloud.old_glance import install_old
from cloud.provisioning import provision
from cloud.software import NotInstalledError, install
from cloud.template import make_template


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    match arguments:
        case ["install"]:
            make_template(install(), provision)
            make_nova_template(install(REQUIREMENTS))
            for requirements in PROGRAMS.values():
                install(requirements)
            try:
                install_old()
            except NotInstalledError as error:
                sys.exit(f".ci/cloud: {error}")
        case ["run", directory]:
            from cloud.by_hand import run

            run(Path(directory))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
