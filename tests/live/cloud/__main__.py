"""``python -m cloud install``: what tests need before they run. ``python -m cloud run DIRECTORY``: make cloud."""

from __future__ import annotations

import sys
from pathlib import Path

from cloud.consumers import PROGRAMS
from cloud.nova_setup import REQUIREMENTS, make_nova_template
from cloud.provisioning import provision
from cloud.software import install
from cloud.template import make_template


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    match arguments:
        case ["install"]:
            make_template(install(), provision)
            make_nova_template(install(REQUIREMENTS))
            for requirements in PROGRAMS.values():
                install(requirements)
        case ["run", directory]:
            from cloud.by_hand import run

            run(Path(directory))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
