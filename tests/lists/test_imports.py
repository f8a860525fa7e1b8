import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["names", "hepix", "admit", "select", "namespaces", "envelope", "strict_json"])
def test_pure_modules_load_no_cryptography(module: str) -> None:
    code = f"import sys, imagesync.lists.{module}; print([m for m in ('cryptography', 'pyasn1') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
