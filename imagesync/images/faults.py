"""Why an image or archive is refused: one name per fault.

The name is stable (documentation, reports and fixtures use it); it stands at the beginning of the error's detail.
The rules come from the advisories on image handling in OpenStack: CVE-2015-5163, CVE-2022-47951, CVE-2024-32498,
CVE-2024-40767, CVE-2024-44082.
"""

from __future__ import annotations

from enum import StrEnum

from imagesync.errors import ContentError, HostileImageError, UnsupportedFormatError

_UNSUPPORTED_HINT = "known are qcow2, raw with partitions, vmdk, vdi, vhd, vhdx, iso, and ova, gz, xz, bz2, zst, zip"


class Fault(StrEnum):
    """The stable names of everything that refuses a file."""

    NOT_A_FILE = "not-a-file"
    EMPTY = "empty"
    WEB_PAGE = "web-page"
    UNKNOWN_FORMAT = "unknown-format"
    FOREIGN_FORMAT = "foreign-format"
    IS_ARCHIVE = "is-archive"
    NESTED_ARCHIVE = "nested-archive"
    TWO_FORMATS = "two-formats"
    SECOND_OPINION = "second-opinion"
    CONTENT_CONFUSION = "content-confusion"
    DAMAGED = "damaged"
    TOO_LARGE_DISK = "too-large-disk"
    EMPTY_DISK = "empty-disk"
    ENCRYPTED = "encrypted"
    UNCLEAN = "unclean"
    OVERSIZED_TABLE = "oversized-table"
    DIFFERENCING = "differencing"
    QCOW1 = "qcow1"
    QCOW2_BACKING_FILE = "qcow2-backing-file"
    QCOW2_DATA_FILE = "qcow2-data-file"
    QCOW2_UNKNOWN_FEATURES = "qcow2-unknown-features"
    QCOW2_CORRUPT = "qcow2-corrupt"
    VMDK_DESCRIPTOR = "vmdk-descriptor"
    VMDK_SUBFORMAT = "vmdk-subformat"
    VMDK_EXTENTS = "vmdk-extents"
    VMDK_FOOTER = "vmdk-footer"
    ARCHIVE_DAMAGED = "archive-damaged"
    ARCHIVE_BOMB = "archive-bomb"
    ARCHIVE_TOO_SLOW = "archive-too-slow"
    ARCHIVE_MEMBERS = "archive-members"
    ARCHIVE_METHOD = "archive-method"
    OVA_MEMBER_TYPE = "ova-member-type"
    OVA_MEMBER_NAME = "ova-member-name"
    OVA_MEMBER_SIZE = "ova-member-size"
    OVA_DESCRIPTOR = "ova-descriptor"
    OVA_XML = "ova-xml"
    OVA_DISKS = "ova-disks"
    OVA_MANIFEST = "ova-manifest"

    def error(self, subject: str, more: str = "") -> ContentError:
        """Return the error that refuses ``subject``; ``more`` adds what was found there."""
        text = _TEXTS[self]
        detail = f"{self.value}: {text}; {more}" if more else f"{self.value}: {text}"
        if self in _UNSUPPORTED:
            return UnsupportedFormatError(subject, detail, _UNSUPPORTED_HINT)
        return HostileImageError(subject, detail, "the publisher has to provide another file")

    @property
    def text(self) -> str:
        """Return the sentence that says what is wrong."""
        return _TEXTS[self]

    @property
    def why(self) -> str:
        """Return the sentence that says what would happen if it were not refused."""
        return _WHY[self]


_UNSUPPORTED = frozenset(
    {
        Fault.NOT_A_FILE,
        Fault.EMPTY,
        Fault.WEB_PAGE,
        Fault.UNKNOWN_FORMAT,
        Fault.FOREIGN_FORMAT,
        Fault.IS_ARCHIVE,
        Fault.NESTED_ARCHIVE,
        Fault.UNCLEAN,
        Fault.ARCHIVE_METHOD,
        Fault.ARCHIVE_MEMBERS,
        Fault.OVA_DESCRIPTOR,
        Fault.OVA_DISKS,
    }
)

_TEXTS: dict[Fault, str] = {
    Fault.NOT_A_FILE: "this is not a regular file",
    Fault.EMPTY: "the file is empty",
    Fault.WEB_PAGE: "this is a web page or XML text, not an image (a login or error page?)",
    Fault.UNKNOWN_FORMAT: "the bytes are in no known disk format, and there is no partition table either",
    Fault.FOREIGN_FORMAT: "the format is known but not supported",
    Fault.IS_ARCHIVE: "this is an archive around an image, not an image",
    Fault.NESTED_ARCHIVE: "an archive inside an archive is unpacked only for a compressed OVA",
    Fault.TWO_FORMATS: "the bytes are valid in two formats at once, so that programs could disagree on what they read",
    Fault.SECOND_OPINION: "the OpenStack format inspector refuses it",
    Fault.CONTENT_CONFUSION: "the disk's content would itself be taken for an image of another format",
    Fault.DAMAGED: "the header contradicts itself or the file's length",
    Fault.TOO_LARGE_DISK: "the virtual disk is larger than allowed",
    Fault.EMPTY_DISK: "the virtual disk has no bytes",
    Fault.ENCRYPTED: "the image is encrypted",
    Fault.UNCLEAN: "the image was not closed properly by the program that wrote it",
    Fault.OVERSIZED_TABLE: "a table is larger than the format or the file allows",
    Fault.DIFFERENCING: "the image is only the difference to a parent image",
    Fault.QCOW1: "qcow version 1 is not supported",
    Fault.QCOW2_BACKING_FILE: "the image reads from a backing file",
    Fault.QCOW2_DATA_FILE: "the image keeps its data in another file",
    Fault.QCOW2_UNKNOWN_FEATURES: "the image needs features that are unknown or not accepted",
    Fault.QCOW2_CORRUPT: "the image is marked as corrupt",
    Fault.VMDK_DESCRIPTOR: "the VMDK descriptor is missing or not understood",
    Fault.VMDK_SUBFORMAT: "only the VMDK types monolithicSparse and streamOptimized are accepted",
    Fault.VMDK_EXTENTS: "the VMDK refers to other files, or not to exactly one sparse extent",
    Fault.VMDK_FOOTER: "header and footer of the VMDK differ",
    Fault.ARCHIVE_DAMAGED: "the archive is truncated or damaged",
    Fault.ARCHIVE_BOMB: "the archive unpacks to more than is allowed",
    Fault.ARCHIVE_TOO_SLOW: "unpacking took more processor time than is allowed",
    Fault.ARCHIVE_MEMBERS: "the archive does not hold exactly one file",
    Fault.ARCHIVE_METHOD: "the archive uses a method that is not supported",
    Fault.OVA_MEMBER_TYPE: "the OVA has a member that is no plain file (a link, device, directory or sparse file)",
    Fault.OVA_MEMBER_NAME: "the OVA has a member whose name is a path, is given twice, or has control characters",
    Fault.OVA_MEMBER_SIZE: "a member of the OVA has another size than the archive or its descriptor says",
    Fault.OVA_DESCRIPTOR: "the OVA does not have exactly one .ovf descriptor of at most 1 MiB",
    Fault.OVA_XML: "the OVF descriptor is no well-formed XML, or declares a document type",
    Fault.OVA_DISKS: "the OVF descriptor does not describe exactly one whole, uncompressed disk of the archive",
    Fault.OVA_MANIFEST: "the manifest is malformed or a digest differs",
}

_WHY: dict[Fault, str] = {
    Fault.NOT_A_FILE: "A device or pipe has no end, and reading some has effects.",
    Fault.EMPTY: "There is nothing to boot.",
    Fault.WEB_PAGE: "Somebody signed what a web server said instead of the image.",
    Fault.UNKNOWN_FORMAT: "What nobody recognises nobody can check; a disk without partitions does not boot either.",
    Fault.FOREIGN_FORMAT: "Its rules are not known here, so that it could refer to other files unseen.",
    Fault.IS_ARCHIVE: "A cloud would store the archive itself, which does not boot.",
    Fault.NESTED_ARCHIVE: "Each level multiplies what a small file can unpack to.",
    Fault.TWO_FORMATS: "What is checked as one format would be opened as the other (CVE-2024-40767).",
    Fault.SECOND_OPINION: "Glance, Nova and Cinder would refuse it too, or read it otherwise than we do.",
    Fault.CONTENT_CONFUSION: "A guest could choose what a later program takes its disk for (CVE-2024-32498).",
    Fault.DAMAGED: "It would not boot, or programs would read beyond it.",
    Fault.TOO_LARGE_DISK: "A small file can describe a disk that fills every host; see limits.max_virtual_size.",
    Fault.EMPTY_DISK: "There is nothing to boot.",
    Fault.ENCRYPTED: "Nobody has its key, and what is in it cannot be checked.",
    Fault.UNCLEAN: "What was written last is only in its log, which no other program replays.",
    Fault.OVERSIZED_TABLE: "Programs would take gigabytes of memory to read it.",
    Fault.DIFFERENCING: "A parent is a file of the machine that reads it: its content would end up in the image.",
    Fault.QCOW1: "It is obsolete, and can have a backing file.",
    Fault.QCOW2_BACKING_FILE: "A file of this machine, or of its network, would end up in the image (CVE-2015-5163).",
    Fault.QCOW2_DATA_FILE: "A file of this machine would end up in the image (CVE-2024-32498).",
    Fault.QCOW2_UNKNOWN_FEATURES: "Whoever does not know a feature cannot say what it makes of the image.",
    Fault.QCOW2_CORRUPT: "Its own tables are not to be believed.",
    Fault.VMDK_DESCRIPTOR: "The descriptor says which files belong to the disk: without it nothing is known.",
    Fault.VMDK_SUBFORMAT: "Other types name files of the machine that reads them (CVE-2022-47951).",
    Fault.VMDK_EXTENTS: "A file of this machine would end up in the image (CVE-2022-47951).",
    Fault.VMDK_FOOTER: "Some programs read the header, others the footer: they would see different disks.",
    Fault.ARCHIVE_DAMAGED: "What is missing cannot be told from what was never there.",
    Fault.ARCHIVE_BOMB: "A few kilobytes would fill the disk; see limits.unpack_ratio.",
    Fault.ARCHIVE_TOO_SLOW: "It would keep a processor busy for as long as it likes.",
    Fault.ARCHIVE_MEMBERS: "Which of several files was meant, or whether all, is anybody's guess.",
    Fault.ARCHIVE_METHOD: "There is no safe reader of it here.",
    Fault.OVA_MEMBER_TYPE: "A link or device would be read in place of the disk; a sparse file claims any size.",
    Fault.OVA_MEMBER_NAME: "Whoever unpacks it by name would write elsewhere, or take one disk for another.",
    Fault.OVA_MEMBER_SIZE: "What was described is not what is there.",
    Fault.OVA_DESCRIPTOR: "The descriptor says which member is the disk.",
    Fault.OVA_XML: "A document type can pull in files and expand to gigabytes.",
    Fault.OVA_DISKS: "An image of a cloud has one disk.",
    Fault.OVA_MANIFEST: "Something was changed after the appliance was packed.",
}
