"""The error tree.

Every class says whether trying again can help (``retry``), and every instance says what it is about (``subject``),
what is wrong (``detail``) and what to do (``hint``). Errors never print, log or exit, and never carry a secret.
Boundaries turn foreign exceptions into these.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar


class Retry(StrEnum):
    """When trying again can help."""

    LATER = "later"
    NEVER = "never"
    WHEN_CONFIG_CHANGES = "when-config-changes"


class ImagesyncError(Exception):
    """Base of every error that imagesync raises on purpose."""

    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(self, subject: str, detail: str, hint: str = "") -> None:
        """Say what it is about, what is wrong, and what to do."""
        super().__init__(subject, detail, hint)
        self.subject = subject
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        """Return one line: subject, what is wrong, what to do."""
        line = f"{self.subject}: {self.detail}" if self.subject else self.detail
        return f"{line} ({self.hint})" if self.hint else line

    @property
    def reason(self) -> str:
        """Return the stable name of the kind of error: the class name in kebab case without ``Error``."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


# --- configuration ---------------------------------------------------------------------------------------------------
class ConfigError(ImagesyncError):
    """The configuration, the command line or a file that they name is wrong. ``problems`` has one line each."""

    retry = Retry.WHEN_CONFIG_CHANGES

    def __init__(self, subject: str, detail: str, hint: str = "", *, problems: tuple[str, ...] = ()) -> None:
        """Say what is wrong; ``problems`` lists every finding when there are several."""
        super().__init__(subject, detail, hint)
        self.problems = problems or (str(self),)


class DeliveryError(ImagesyncError):
    """A notification did not reach its receiver. It is tried again."""

    retry = Retry.LATER


class DefectError(DeliveryError):
    """Something that nobody thought of keeps a notification back. It is tried again."""


# --- a list or image could not be had: keep what we have ------------------------------------------------------------
class SourceError(ImagesyncError):
    """Something could not be *got*. Says nothing about its content: what was known stays."""

    retry = Retry.LATER


class UnreachableError(SourceError):
    """No connection, a broken one, or a file that cannot be read."""


class HttpStatusError(SourceError):
    """The server answered with an error status.

    ``status`` is the HTTP code, ``retry_after`` is in seconds, ``server_date`` is what the server takes for the time.
    """

    def __init__(
        self,
        subject: str,
        status: int,
        hint: str = "",
        *,
        retry_after: float | None = None,
        server_date: datetime | None = None,
    ) -> None:
        """Keep the status code, the server's ``Retry-After`` and its ``Date``."""
        super().__init__(subject, f"the server answered HTTP {status}", hint)
        self.status = status
        self.retry_after = retry_after
        self.server_date = server_date


class TooLargeError(SourceError):
    """More bytes than the bound allows."""

    retry = Retry.NEVER


class TooSlowError(SourceError):
    """Slower than the bound allows."""


class ForbiddenAddressError(SourceError):
    """A URL or redirect that policy does not allow: scheme, downgrade, private address, too many hops."""

    retry = Retry.WHEN_CONFIG_CHANGES


# --- a list must not be used: alarm, keep what we have --------------------------------------------------------------
class TrustError(ImagesyncError):
    """Something must *not* be used. Nothing of that list changes, and somebody should look."""


class BadEnvelopeError(TrustError):
    """Not an S/MIME message of the accepted form: unsigned, opaque, truncated, HTML, more than two parts."""


class BadSignatureError(TrustError):
    """The signature does not fit the content, or its form or algorithm is not acceptable."""


class UntrustedSignerError(TrustError):
    """No valid path from the signer to a trust anchor, or the certificate is not fit for signing lists."""


class RevokedSignerError(UntrustedSignerError):
    """The signer or a certificate above it is revoked."""


class RevocationUnknownError(UntrustedSignerError):
    """Revocation is required to be known, and is not: CRL missing, stale, or not usable."""


class TrustStoreUnusableError(TrustError):
    """The trust anchors directory is missing, empty or unreadable."""

    retry = Retry.WHEN_CONFIG_CHANGES


class ListFormatError(TrustError):
    """Signed, but not a HEPiX image list."""


class WrongEndorserError(TrustError):
    """Signed by somebody who is not an endorser of this subscription, or not who the list says."""


class IdentityMismatchError(TrustError):
    """A list other than the one subscribed to: identifier or VO differ."""


class ExpiredListError(TrustError):
    """The list's own expiry date has passed."""


class NotYetValidError(TrustError):
    """The list says that it was created in the future."""


class RollbackError(TrustError):
    """A lower version than one that was accepted before, or the same version with other content."""


# --- one image is bad ------------------------------------------------------------------------------------------------
class ContentError(ImagesyncError):
    """One image's bytes are not what was endorsed or cannot be used."""


class DigestMismatchError(ContentError):
    """The bytes are not the endorsed ones: SHA-512 or size differ."""

    retry = Retry.LATER


class BundleError(ContentError):
    """A bundle in the file system lacks an image, or has a damaged one. No publisher can help."""

    retry = Retry.LATER


class UnsupportedFormatError(ContentError):
    """The bytes are in no disk format or archive that imagesync knows."""


class HostileImageError(ContentError):
    """The image refers to other files, hides a second format, or breaks a safety rule."""


class ConversionError(ContentError):
    """qemu-img failed, was killed, or produced something else than asked."""

    retry = Retry.LATER


class BootCheckError(ContentError):
    """The image was started, as the target demands, and did not pass: ``verdict`` says what became of it."""

    retry = Retry.LATER

    def __init__(self, subject: str, verdict: str, why: str, seconds: float) -> None:
        """Say what was seen, in how many seconds of this pass."""
        hint = "imagesync why shows what it wrote; tell the publisher, or set boot_check to report"
        super().__init__(subject, f"it was started and did not pass, {verdict}: {why}", hint)
        self.verdict = verdict
        self.why = why
        self.seconds = seconds


class ToolMissingError(ContentError):
    """A program that is needed is not installed."""

    retry = Retry.WHEN_CONFIG_CHANGES


class NoSpaceError(ContentError):
    """Not enough room for what would be written."""

    retry = Retry.LATER


# --- our own disk ----------------------------------------------------------------------------------------------------
class StoreError(ImagesyncError):
    """The cache directory cannot be read or written."""

    retry = Retry.LATER


class CacheDamagedError(StoreError):
    """The cache no longer holds the bytes that were put there. No publisher can help."""


# --- targets ---------------------------------------------------------------------------------------------------------
class BackendError(ImagesyncError):
    """A target did not do what was asked."""


class BackendUnavailableError(BackendError):
    """The target cannot be reached or does not answer in time."""

    retry = Retry.LATER


class BackendRefusedError(BackendError):
    """The target refuses: quota, permission, policy."""

    retry = Retry.LATER


class ForeignToolError(BackendRefusedError):
    """A project holds images of another tool that would delete ours, or we its own (contracts: ``coexist``)."""

    retry = Retry.WHEN_CONFIG_CHANGES


class BackendConflictError(BackendError):
    """The target's state changed in the meantime; in use; observe again."""

    retry = Retry.LATER


class StoredDigestError(BackendError):
    """What the target stored is not what was sent."""

    retry = Retry.LATER


class BackendBrokenError(BackendError):
    """The backend raised something that is no error of ours, or broke its contract."""


# --- state -----------------------------------------------------------------------------------------------------------
class StateError(ImagesyncError):
    """The state cannot be read or written."""


class LockedError(StateError):
    """Another instance holds the lock; the detail names host, process and age."""

    retry = Retry.LATER
