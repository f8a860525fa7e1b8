"""Programs of others that read what imagesync writes, run as their users run them."""

from __future__ import annotations

from cloud.software import HERE

PROGRAMS = {kind: HERE / f"requirements-{kind}.txt" for kind in ("cloudinfo", "caso", "openstack")}
"""The requirements of each, which do not go together in one environment."""
