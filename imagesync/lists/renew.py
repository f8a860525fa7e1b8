"""The same list once more: its content as it is, with a new version and new dates."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from imagesync.errors import ConfigError, TrustError
from imagesync.lists.document import dump, timestamp
from imagesync.lists.make import next_version
from imagesync.lists.smime import made_by


def renew(document: bytes, certificate: x509.Certificate, now: datetime, lifetime: timedelta | None) -> bytes:
    """Return the JSON of the list ``document``, made at ``now``, with a higher version and for as long as it was.

    ``document`` is JSON or a signed list; ``lifetime`` is the new one, if it is not to be as long as the old one. The
    dates of the images stay.

    Raises:
        ConfigError: it is no list with dates and a version, or was signed with another certificate: then somebody else
            may have written it.
    """
    text = document
    if not document.lstrip().startswith(b"{"):
        try:
            text = made_by(document, certificate, now)
        except TrustError as error:
            hint = "renew the unsigned JSON, or a list that this certificate signed"
            raise ConfigError("list", f"cannot be renewed: {error.detail}", hint) from error
    try:
        parsed = json.loads(text)
        content = parsed["hv:imagelist"]
        created, expires = (datetime.fromisoformat(content[f"dc:date:{key}"]) for key in ("created", "expires"))
        _renew(content, now, lifetime or expires - created)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ConfigError("list", f"has no dates and version to renew: {error}", "make the list anew") from error
    return dump(parsed)


def _renew(content: dict[str, Any], now: datetime, lifetime: timedelta) -> None:
    content["hv:version"] = next_version(now, str(content["hv:version"]))
    content["dc:date:created"] = timestamp(now)
    content["dc:date:expires"] = timestamp(now + lifetime)
    # The names are filled in when it is signed, which can be with a new certificate.
    if isinstance(endorser := content.get("hv:endorser"), dict) and isinstance(endorser.get("hv:x509"), dict):
        endorser["hv:x509"] |= {"hv:dn": "", "hv:ca": ""}
