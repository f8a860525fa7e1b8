"""``python -m imagesync``."""

from imagesync.cli.main import run

run()
