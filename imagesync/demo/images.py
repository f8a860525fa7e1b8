"""The images of the demonstration: real disks, each in another form in which publishers offer them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagesync.testing.disks import Disk, Kind, write_disk

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class DemoImage:
    """One image to publish. Sizes are in MiB."""

    file: str
    title: str
    kind: Kind
    virtual_mib: int
    data_mib: int

    def write(self, folder: Path) -> Path:
        """Make the image inside ``folder`` and return its path.

        Raises:
            ToolMissingError: qemu-img is not installed.
            ConversionError: it failed.
        """
        disk = Disk(self.title, self.virtual_mib * _MIB, self.data_mib * _MIB)
        return write_disk(folder / self.file, self.kind, disk)


WEB = DemoImage("web-server-1.0.qcow2", "Web server 1.0", Kind.QCOW2, 256, 24)
COMPUTE = DemoImage("compute-node-1.0.img", "Compute node 1.0", Kind.RAW, 192, 16)
STORAGE = DemoImage("storage-node-1.0.vmdk", "Storage node 1.0", Kind.VMDK_STREAM, 384, 20)
DESKTOP = DemoImage("desktop-1.0.ova", "Desktop 1.0", Kind.OVA, 320, 24)

COMPUTE_NEXT = DemoImage("compute-node-1.1.img", "Compute node 1.1", Kind.RAW, 192, 20)
NOTEBOOK = DemoImage("notebook-1.0.qcow2", "Notebook 1.0", Kind.QCOW2, 256, 16)
