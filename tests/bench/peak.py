"""The command line, with its memory written to a file: ``python peak.py FILE ARGUMENT...``.

Written are three numbers in KiB: what the process has after importing all of imagesync and what it uses, its highest
after that, and the highest of any child. The first two are of the kernel's own count for this address space (``VmRSS``,
``VmHWM``): ``ru_maxrss`` would also know the process that started this one.
"""

import importlib
import json
import pkgutil
import resource
import sys
from pathlib import Path

import imagesync_directory

import imagesync
from imagesync.cli.main import run


def _import_everything() -> None:
    for package in (imagesync, imagesync_directory):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                importlib.import_module(module.name)
    for name in ("alembic.command", "oslo_utils.imageutils.format_inspector"):
        importlib.import_module(name)


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


_import_everything()
imported = _kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest begins anew
out = Path(sys.argv.pop(1))
try:
    run()
except SystemExit as end:
    code = end.code
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
out.write_text(json.dumps([imported, _kib("VmHWM"), children]), encoding="ascii")
sys.exit(code)
