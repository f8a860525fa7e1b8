"""What the state remembers of an image."""

from datetime import UTC, datetime, timedelta

from imagesync.model import ImageKey
from imagesync.run.record import LAST_RETRY, postponed
from imagesync.state import ImageRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ImageKey("", "list", "a")


def waits(retry_at):
    return KEY in postponed([ImageRecord(KEY, "Image", "failed", "why", NOW, None, "raw", 1, retry_at)], {}, NOW)


def test_an_image_that_failed_is_put_off_until_its_time():
    assert not waits(None)
    assert not waits(NOW)
    assert waits(NOW + timedelta(seconds=1))


def test_one_that_a_wrong_clock_put_off_is_not():
    assert waits(NOW + LAST_RETRY)
    assert not waits(NOW + LAST_RETRY + timedelta(seconds=1))
