import json
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from imagesync.errors import ConversionError, ToolMissingError
from imagesync.lists.sniff import sniff
from imagesync.testing.disks import Disk, Kind, write_disk

DISK = Disk("Example Linux 1.0", virtual_size=8 << 20, data=100_000)
BY_QEMU = {
    Kind.QCOW2: "qcow2",
    Kind.QCOW2_V2: "qcow2",
    Kind.VMDK_SPARSE: "vmdk",
    Kind.VMDK_STREAM: "vmdk",
    Kind.VDI: "vdi",
    Kind.VHD: "vpc",
    Kind.VHD_FIXED: "vpc",
    Kind.VHDX: "vhdx",
}


def qemu_img(*arguments: str | Path) -> str:
    return subprocess.run(
        ["qemu-img", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def info(path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(qemu_img("info", "-f", name, "--output=json", path))
    return found


@pytest.mark.parametrize("kind", BY_QEMU)
def test_qemu_img_reads_the_same_disk_from_every_format(kind: Kind, tmp_path: Path) -> None:
    raw = write_disk(tmp_path / "disk.img", Kind.RAW, DISK)

    path = write_disk(tmp_path / f"disk{kind.suffix}", kind, DISK)

    assert info(path, BY_QEMU[kind])["virtual-size"] == DISK.virtual_size
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", BY_QEMU[kind], raw, path)


@pytest.mark.parametrize("kind", [Kind.QCOW2, Kind.QCOW2_V2, Kind.VDI, Kind.VHDX, Kind.VMDK_SPARSE])
def test_qemu_img_finds_no_fault(kind: Kind, tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", kind, DISK)

    qemu_img("check", "-f", BY_QEMU[kind], path)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.VHDX])
def test_the_same_disk_gives_the_same_file(kind: Kind, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (write_disk(tmp_path / name / "disk", kind, DISK) for name in ("a", "b"))

    assert first.read_bytes() == second.read_bytes()


def test_different_titles_give_different_content(tmp_path: Path) -> None:
    files = [write_disk(tmp_path / title, Kind.RAW, Disk(title)) for title in ("one", "two")]

    assert len({path.read_bytes()[1 << 20 :] for path in files}) == 2


def test_a_raw_disk_is_sparse_and_has_a_partition_table(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk.img", Kind.RAW, Disk("big", virtual_size=1 << 30, data=1 << 20))

    sector = path.read_bytes()[:512]
    assert path.stat().st_size == 1 << 30
    assert path.stat().st_blocks * 512 < 4 << 20
    assert sector[510:] == b"\x55\xaa"
    assert (sector[446], sector[450]) == (0x80, 0x83)
    assert int.from_bytes(sector[454:458], "little") == 2048
    assert b"imagesync: big\r\n\0" in sector


def test_the_boot_code_jumps_to_its_own_instructions(tmp_path: Path) -> None:
    sector = write_disk(tmp_path / "disk.img", Kind.RAW, DISK).read_bytes()[:512]

    message = int.from_bytes(sector[6:8], "little") - 0x7C00
    lodsb, halt = sector.index(b"\xac"), sector.index(b"\xf4\xeb\xfd")
    assert sector[message:].startswith(b"imagesync: Example Linux 1.0")
    assert lodsb + 5 + sector[lodsb + 4] == halt
    assert halt + int.from_bytes(sector[halt - 1 : halt], "little", signed=True) == lodsb


def test_an_ova_holds_descriptor_manifest_and_disk(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk.ova", Kind.OVA, DISK)

    with tarfile.open(path) as archive:
        names = archive.getnames()
        (tmp_path / "out").mkdir()
        for name in names:
            (tmp_path / "out" / name).write_bytes(archive.extractfile(name).read())
    stem = "example-linux-1-0"
    assert names == [f"{stem}.ovf", f"{stem}.mf", f"{stem}-disk1.vmdk"]
    manifest = (tmp_path / "out" / f"{stem}.mf").read_text()
    for name in (f"{stem}.ovf", f"{stem}-disk1.vmdk"):
        assert f"SHA256({name})= {sha256((tmp_path / 'out' / name).read_bytes()).hexdigest()}" in manifest
    assert info(tmp_path / "out" / f"{stem}-disk1.vmdk", "vmdk")["virtual-size"] == DISK.virtual_size


def test_nothing_is_left_beside_the_image(tmp_path: Path) -> None:
    write_disk(tmp_path / "disk.ova", Kind.OVA, DISK)

    assert [path.name for path in tmp_path.iterdir()] == ["disk.ova"]


def test_a_publisher_recognises_every_kind(tmp_path: Path) -> None:
    found = {kind: sniff(write_disk(tmp_path / kind, kind, DISK)) for kind in Kind}

    assert found == {
        Kind.RAW: "raw",
        Kind.QCOW2: "qcow2",
        Kind.QCOW2_V2: "qcow2",
        Kind.VMDK_SPARSE: "vmdk",
        Kind.VMDK_STREAM: "vmdk",
        Kind.VDI: "vdi",
        Kind.VHD: "vhd",
        Kind.VHD_FIXED: "vhd",
        Kind.VHDX: "vhdx",
        Kind.OVA: "OVA",
    }


def test_a_missing_qemu_img_is_said_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ToolMissingError, match="apt-get install qemu-utils"):
        write_disk(tmp_path / "disk.qcow2", Kind.QCOW2, DISK)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_qemu_img_is_told_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").mkdir()

    with pytest.raises(ConversionError, match="qemu-img: "):
        write_disk(tmp_path / "disk.qcow2", Kind.QCOW2, DISK)
