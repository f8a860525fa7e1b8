"""Getting bytes over HTTP from servers that nobody here trusts.

Rules this package keeps:

* Nothing is read from the environment: no proxy, no ``.netrc``, no CA bundle, no key log file.
* Redirects are followed by hand, and every check is repeated at each hop.
* What decides is the address of the connected peer, not the spelling of a name (DNS rebinding).
* A credential goes to its own origin only, over https only. No URL is shown with userinfo or query.
* Every wait, size and duration has a bound; a body is never decoded.
* Only ``SourceError`` comes out of it, and ``ConfigError`` for a policy that cannot be used.
"""

from imagesync.http.client import Response, get
from imagesync.http.failure import http_date
from imagesync.http.policy import Credential, HttpPolicy, ignored_proxy_warning
from imagesync.http.url import Origin, origin_of, redact, split

__all__ = [
    "Credential",
    "HttpPolicy",
    "Origin",
    "Response",
    "get",
    "http_date",
    "ignored_proxy_warning",
    "origin_of",
    "redact",
    "split",
]
