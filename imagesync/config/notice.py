"""When something that still holds is told to be getting old, or to end soon."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from imagesync.config.values import Duration, Section


class AgeLimits(Section):
    """From which age on a list is told to be old: an endorser who is kept from publishing looks like a quiet one."""

    warning: Duration = Field(default=timedelta(days=90), description="From this age on it is a warning.")
    critical: Duration = Field(default=timedelta(days=180), description="From this age on it is critical.")


class CertificateLimits(Section):
    """How long before a certificate on a signer's path ends that is told."""

    warning: Duration = Field(default=timedelta(days=30), description="This long before it is a warning.")
    critical: Duration = Field(default=timedelta(days=7), description="This long before it is critical.")


class CrlLimits(Section):
    """How long before the next update of a revocation list is due that is told."""

    warning: Duration = Field(default=timedelta(days=3), description="This long before it is a warning.")
    critical: Duration = Field(default=timedelta(days=1), description="This long before it is critical.")


class ListLimits(Section):
    """How long before a list expires that is told."""

    warning: Duration = Field(default=timedelta(days=7), description="This long before it is a warning.")
    critical: Duration = Field(default=timedelta(days=1), description="This long before it is critical.")


class Notices(Section):
    """When to tell that a list, which still holds, is getting old, or that something it rests on ends soon."""

    list_age: AgeLimits = Field(default=AgeLimits(), description="Age of a list, by ``dc:date:created``.")
    list_expiry: ListLimits = Field(default=ListLimits(), description="Before a list expires.")
    certificate: CertificateLimits = Field(default=CertificateLimits(), description="Before a certificate ends.")
    crl: CrlLimits = Field(default=CrlLimits(), description="Before a revocation list is outdated.")
