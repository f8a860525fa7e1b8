"""Requests to Glance for one project, with bounded repeating.

``Service`` is what python-glanceclient takes for its HTTP client, so that its controllers work on it. Listing and
uploading are done here: the library's own listing asks for a schema first and hides what it repeats, and its uploads
come in chunks without a length, which stock servers refuse or cannot undo.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from imagesync_glance.faults import UNUSABLE, AnswerError, denied_rule, refusal
from imagesync_glance.repetition import NOT_DONE, Patience
from imagesync_glance.session import Login

if TYPE_CHECKING:
    from requests import Response

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_PAGE = 1000
_ALWAYS = ("id", "status", "owner", "created_at", "updated_at", "visibility")
"""What every image has, as text."""


class Service:
    """Glance as one project sees it. Methods raise ``AnswerError`` and what keystoneauth raises."""

    def __init__(self, login: Login) -> None:
        """Ask nothing yet."""
        from glanceclient.v2 import images, schemas
        from keystoneauth1.adapter import Adapter

        self.login = login
        self._date: datetime | None = None
        self._patience = Patience()
        self.uses_sha512 = True
        """Whether every image seen so far has a SHA-512."""
        self.denied: set[str] = set()
        """The rules of Glance's policy that the user failed so far."""
        self._adapter = Adapter(
            session=login.session,
            auth=login.auth,
            endpoint_override=login.image,
            # Without it errors are pages of HTML.
            additional_headers={"Accept": "application/json"},
        )
        self.images: Any = images.Controller(self, schemas.Controller(self))
        """python-glanceclient's calls for single images."""

    def now(self) -> datetime | None:
        """Return a time that has passed already, by the cloud's own clock and as late as anybody knows it.

        Not every Glance says what time it is. Keystone did when we logged in.
        """
        return max((time for time in (self._date, self.login.issued) if time is not None), default=None)

    # --- what python-glanceclient asks of its HTTP client -------------------------------------------------------------
    def get(self, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401 - an answer is any JSON
        """Send a GET and return the answer and the value in it."""
        return self._patience.ask(lambda: self._send("GET", url, **options))

    def put(self, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401
        """Send a PUT; return as ``get``."""
        return self._patience.ask(lambda: self._send("PUT", url, **options))

    def post(self, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401
        """Send a POST, which is repeated only where nothing was done; return as ``get``."""
        return self._patience.ask(lambda: self._send("POST", url, **options), NOT_DONE)

    def patch(self, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401
        """Send a PATCH; return as ``get``."""
        return self._patience.ask(lambda: self._send("PATCH", url, **options))

    def delete(self, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401
        """Send a DELETE; return as ``get``."""
        return self._patience.ask(lambda: self._send("DELETE", url, **options))

    def versions(self) -> list[str]:
        """Return the versions of the Image API that are offered."""

        def ask() -> Response:
            response = self._adapter.get("/", raise_exc=False, authenticated=False)
            if response.status_code >= 500:
                raise refusal(response)
            return response

        response = self._patience.ask(ask)
        try:
            return [str(version["id"]) for version in response.json()["versions"]]
        except (ValueError, KeyError, TypeError):
            raise AnswerError(UNUSABLE, f"{self.login.image} gives no list of versions: is this Glance?") from None

    # --- images -------------------------------------------------------------------------------------------------------
    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an image and return it."""
        return _image(self.post("/v2/images", data=body)[1])

    def read(self, image: str) -> dict[str, Any] | None:
        """Return an image, or ``None`` if there is none."""
        try:
            return _image(self.get(f"/v2/images/{image}")[1])
        except AnswerError as answer:
            if answer.status == 404:
                return None
            raise

    def change(self, image: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """Apply a JSON patch and return the image as it is then."""
        return _image(self.patch(f"/v2/images/{image}", data=operations, headers=_PATCH)[1])

    def pages(self, **query: str) -> Iterator[list[dict[str, Any]]]:
        """Yield every page of a listing, oldest images first, so that what is added meanwhile comes last."""
        address: str | None = urlencode({**query, "limit": _PAGE, "sort_key": "created_at", "sort_dir": "asc"})
        seen = set[str]()
        while address is not None:
            if address in seen:
                raise AnswerError(UNUSABLE, "the listing of Glance leads back to a page that was already read")
            seen.add(address)
            _, body = self.get(f"/v2/images?{address}")
            if not isinstance(body, dict) or not isinstance(body.get("images"), list):
                raise AnswerError(UNUSABLE, "the answer of Glance is no listing of images")
            page, following = [_image(image) for image in body["images"]], body.get("next")
            if following and not (page and isinstance(following, str)):
                raise AnswerError(UNUSABLE, "the listing of Glance leads on from a page without images")
            yield page
            # Only the query: a token goes to no other place than the one it is for.
            address = urlsplit(following).query if following else None

    def send(self, url: str, body: object, timeout: tuple[float, float]) -> None:
        """Send a file with its length. ``timeout`` is what one block and then the answer may take, in seconds."""
        headers = {"Content-Type": "application/octet-stream"}
        self._answered(
            self._adapter.request(
                url, "PUT", data=body, headers=headers, timeout=timeout, redirect=False, raise_exc=False, log=False
            )
        )

    def ask_once(self, url: str, body: Mapping[str, str] | None) -> object:
        """Send a POST in one attempt and return the value in the answer."""
        return self._send("POST", url, data=body)[1]

    def discard(self, image: str) -> None:
        """Delete an image in one short attempt."""
        self._send("DELETE", f"/v2/images/{image}", timeout=10.0)

    # --- requests -----------------------------------------------------------------------------------------------------
    def _send(self, method: str, url: str, **options: Any) -> tuple[Response, Any]:  # noqa: ANN401
        data = options.pop("data", None)
        headers = {"Content-Type": "application/json", **options.pop("headers", {})} if data is not None else {}
        text = None if data is None else json.dumps(data).encode()
        response = self._adapter.request(url, method, data=text, headers=headers, raise_exc=False, **options)
        return response, self._answered(response)

    def _answered(self, response: Response) -> Any:  # noqa: ANN401
        """Return the value in an answer, after noting the service's clock.

        Raises:
            AnswerError: it is an error, or no JSON.
        """
        self._date = _date(response.headers.get("Date", "")) or self._date
        if response.status_code >= 300:
            raise self._noted(refusal(response))
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise AnswerError(UNUSABLE, "the answer of Glance is no JSON") from None

    def _noted(self, answer: AnswerError) -> AnswerError:
        if rule := denied_rule(answer):
            self.denied.add(rule)
        return answer


def _image(body: object) -> dict[str, Any]:
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in _ALWAYS):
        raise AnswerError(UNUSABLE, "the answer of Glance is no image")
    return body


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
