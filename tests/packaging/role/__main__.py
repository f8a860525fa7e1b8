"""``python -m role install``: what the tests of the role need before they run."""

from __future__ import annotations

import sys

from role.software import install


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    if arguments != ["install"]:
        sys.exit(__doc__)
    install()


if __name__ == "__main__":
    main(sys.argv[1:])
