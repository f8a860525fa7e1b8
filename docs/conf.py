"""How Sphinx builds the documentation: ``make docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import imagesync

project = "imagesync"
author = "The imagesync developers"
project_copyright = "The imagesync developers"
release = imagesync.__version__
extensions = ["imagesync_reference"]
html_theme = "alabaster"
html_theme_options = {"description": "Signed image lists to cloud catalogues", "fixed_sidebar": True}
html_show_copyright = False
html_show_sourcelink = False
