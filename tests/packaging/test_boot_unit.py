"""An image is started inside the hardened unit of the package: what confines the service leaves QEMU what it needs.

``make test-packaging`` runs it, after ``make deb``. The host has no network, so QEMU is brought there from this machine.
"""

import json
from pathlib import Path

import yaml
from following import Publisher, bring, site_configuration
from host.machine import Host

CONFIG = "/etc/imagesync/imagesync.yaml"
UNIT = "imagesync-sync.service"
# Beside what the program is linked with: firmware, and the parts that it loads when they are wanted.
PARTS = ("usr/share/qemu", "usr/share/seabios", "usr/lib/x86_64-linux-gnu/qemu")


def configuration(publisher: Publisher) -> str:
    site = site_configuration(publisher)
    (target,) = site["targets"]
    return yaml.safe_dump(site | {"limits": {"boot_timeout": "6s"}, "targets": [target | {"boot_check": "require"}]})


def test_what_starts_in_the_unit_is_published_and_what_does_not_is_held_back(
    deb: Path, host: Host, publisher: Publisher
) -> None:
    host.copy(deb, "/root")
    host.run("sh", "-c", "apt-get --yes install /root/*.deb", DEBIAN_FRONTEND="noninteractive")
    bring(host, "qemu-system-x86_64", *PARTS)
    host.copy(publisher.directory / "anchors", "/srv")
    host.run("install", "-d", "-o", "imagesync", "-g", "imagesync", "/srv/images")
    host.write(f"/etc/systemd/system/{UNIT}.d/test.conf", "[Service]\nReadWritePaths=/srv/images\n")
    host.write(CONFIG, configuration(publisher), mode=0o640, group="imagesync")
    host.run("systemctl", "daemon-reload")
    publisher.publish("broken")

    host.attempt("systemctl", "start", UNIT)  # exit code 1: one image failed

    status = host.attempt("imagesync", "status", "--from-state", "--json").stdout
    images = {one["title"]: one for target in json.loads(status)["targets"] for one in target["images"]}
    journal = host.journal("-u", UNIT)
    assert (images["first"]["state"], images["first"]["boot"]) == ("published", "login"), journal
    assert (images["broken"]["state"], images["broken"]["digest"]) == ("failed", None), journal
    assert "did not pass, no-bootable-device: Operating system not found" in images["broken"]["reason"]
    assert "bubblewrap does not work" not in journal
