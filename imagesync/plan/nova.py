"""What Nova accepts of image properties. Pure.

Glance takes any text; Nova refuses to boot an image whose properties are not of its enumerations
(``nova.objects.image_meta.ImageMetaProps`` and ``nova.objects.fields`` of Nova 34; a live test compares them). So a
value is checked before it is written (contracts of detail, *Knowledge, expiry, removal*).
"""

from __future__ import annotations

from collections.abc import Mapping


def words(text: str) -> frozenset[str]:
    """Return the words of ``text``."""
    return frozenset(text.split())


ARCHITECTURES = words(
    "alpha armv6 armv7l armv7b aarch64 cris i686 ia64 lm32 m68k microblaze microblazeel mips mipsel mips64"
    " mips64el openrisc parisc parisc64 ppc ppcle ppc64 ppc64le ppcemb s390 s390x sh4 sh4eb sparc sparc64"
    " unicore32 x86_64 xtensa xtensaeb"
)
"""``fields.Architecture``."""

_ALIASES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"} | dict.fromkeys(
    ("i386", "i486", "i586", "x86"), "i686"
)

_SCSI_MODELS = frozenset(("buslogic", "ibmvscsi", "lsilogic", "lsisas1068", "lsisas1078", "virtio-scsi", "vmpvscsi"))
_DISK_BUSES = words("fdc ide sata scsi usb virtio xen lxc uml")
_BOOLEAN_WORDS = words("0 1 f false n no off on t true y yes")

BOOLEANS = words(
    "hw_boot_menu hw_ephemeral_encryption hw_firmware_stateless hw_ipxe_boot hw_locked_memory hw_mem_encryption hw_pmu"
    " hw_qemu_guest_agent hw_time_hpet hw_vif_multiqueue_enabled hw_virtio_packed_ring img_bdm_v2 img_bittorrent"
    " img_cache_in_nova img_hide_hypervisor_id img_linked_clone img_use_agent os_require_quiesce"
    " os_skip_agent_inject_files_at_boot os_skip_agent_inject_ssh"
)
"""Properties that Nova reads as yes or no. It takes any text, but reads what is none of the words as no."""

ENUMERATIONS: Mapping[str, frozenset[str]] = {
    "hw_architecture": ARCHITECTURES,
    "hw_emulation_architecture": ARCHITECTURES,
    "hw_cdrom_bus": _DISK_BUSES,
    "hw_cpu_policy": words("dedicated shared mixed"),
    "hw_cpu_thread_policy": words("prefer isolate require"),
    "hw_disk_bus": _DISK_BUSES,
    "hw_ephemeral_encryption_format": words("luks luksv2 plain"),
    "hw_firmware_type": words("bios uefi"),
    "hw_floppy_bus": _DISK_BUSES,
    "hw_input_bus": words("usb virtio"),
    "hw_maxphysaddr_mode": words("emulate passthrough"),
    "hw_mem_encryption_model": words("amd-sev amd-sev-es amd-sev-snp intel-tdx"),
    "hw_pci_numa_affinity_policy": words("legacy preferred required socket"),
    "hw_pointer_model": words("usbtablet"),
    "hw_rescue_bus": _DISK_BUSES,
    "hw_rescue_device": words("cdrom disk floppy fs lun"),
    "hw_rng_model": words("virtio"),
    "hw_scsi_model": _SCSI_MODELS,
    "hw_sound_model": words("ac97 es1370 ich6 ich9 pcspk sb16 usb virtio"),
    "hw_tpm_model": words("tpm-crb tpm-tis"),
    "hw_tpm_version": words("1.2 2.0"),
    "hw_usb_model": words("nec-xhci none qemu-xhci"),
    "hw_video_model": words("bochs cirrus gop none qxl vga virtio vmvga xen"),
    "hw_vif_model": words(
        "e1000 e1000e igb lan9118 ne2k_pci netfront pcnet rtl8139 spapr-vlan sriov virtio vmxnet vmxnet3"
    ),
    "hw_viommu_model": words("auto intel smmuv3 virtio"),
    "hw_vm_mode": words("exe hvm uml xen"),
    "hw_watchdog_action": words("disabled none pause poweroff reset"),
    "img_config_drive": words("mandatory optional"),
    "img_hv_type": words(
        "baremetal bhyve docker fake hyperv ironic kqemu kvm lxc lxd openvz parallels phyp qemu test uml vbox vz"
        " vmware xen zvm prsm"
    ),
    "img_signature_hash_method": words("SHA-224 SHA-256 SHA-384 SHA-512"),
    "img_signature_key_type": words(
        "DSA ECC_SECP384R1 ECC_SECP521R1 ECC_SECT409K1 ECC_SECT409R1 ECC_SECT571K1 ECC_SECT571R1 RSA-PSS"
    ),
    "os_secure_boot": words("disabled optional required"),
    "os_type": words("linux windows"),
    # An older way to say hw_disk_bus and hw_scsi_model, in the spelling that vSphere has.
    "vmware_adaptertype": _SCSI_MODELS | words("busLogic ide lsiLogic lsiLogicsas paraVirtual"),
    **dict.fromkeys(BOOLEANS, _BOOLEAN_WORDS),
}
"""The words that Nova accepts, by property. What is not here may be any text, as far as Nova is concerned."""

NUMBERS = words(
    "hw_cpu_cores hw_cpu_max_cores hw_cpu_max_sockets hw_cpu_max_threads hw_cpu_sockets hw_cpu_threads"
    " hw_device_id hw_maxphysaddr_bits hw_numa_nodes hw_redirected_usb_ports hw_serial_port_count hw_video_ram"
    " img_compression_level img_version"
)
"""Properties that Nova reads as whole numbers."""

OLDER_NAMES = {
    "architecture": "hw_architecture",
    "auto_disk_config": "hw_auto_disk_config",
    "bdm_v2": "img_bdm_v2",
    "bittorrent": "img_bittorrent",
    "block_device_mapping": "img_block_device_mapping",
    "cache_in_nova": "img_cache_in_nova",
    "hypervisor_type": "img_hv_type",
    "hypervisor_version_requires": "img_hv_requested_version",
    "ipxe_boot": "hw_ipxe_boot",
    "mappings": "img_mappings",
    "owner_id": "img_owner_id",
    "root_device_name": "img_root_device_name",
    "vm_mode": "hw_vm_mode",
    "vmware_disktype": "hw_disk_type",
    "vmware_image_version": "img_version",
    "vmware_linked_clone": "img_linked_clone",
    "vmware_ostype": "os_distro",
    "xenapi_device_id": "hw_device_id",
    "xenapi_image_compression_level": "img_compression_level",
    "xenapi_skip_agent_inject_files_at_boot": "os_skip_agent_inject_files_at_boot",
    "xenapi_skip_agent_inject_ssh": "os_skip_agent_inject_ssh",
    "xenapi_use_agent": "img_use_agent",
}
"""Names that Nova still reads, each with its name of today."""


def architecture(text: str) -> str | None:
    """Return Nova's canonical name of a CPU architecture, or ``None`` for what Nova would refuse at boot."""
    name = text.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in ARCHITECTURES else None


def objection(name: str, value: str) -> str:
    """Return why Nova would not boot an image with this property, or the empty string."""
    name = OLDER_NAMES.get(name, name)
    if name == "hw_architecture":
        canonical = architecture(value)
        return "" if canonical == value else _expected(value, {canonical} if canonical else ARCHITECTURES)
    if name in NUMBERS and not value.isdecimal():
        return f"Nova expects a whole number, not {value!r}"
    allowed = ENUMERATIONS.get(name)
    return _expected(value, allowed) if allowed is not None and value not in allowed else ""


def _expected(value: str, allowed: frozenset[str] | set[str]) -> str:
    return f"Nova does not know {value!r}: write {', '.join(sorted(allowed))}"
