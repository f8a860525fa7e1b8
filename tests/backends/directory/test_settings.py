from pathlib import Path

import pytest
from imagesync_directory import open_backend
from imagesync_directory.settings import read_settings

from imagesync.backend import Context
from imagesync.errors import ConfigError


def problems(settings: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        open_backend(settings, Context("mysite", "imagesync"))
    assert "mysite" in str(caught.value)
    return "\n".join(caught.value.problems)


def test_a_path_is_enough() -> None:
    settings = read_settings({"path": "/srv/images"}, "mysite")

    assert (settings.path, settings.lock_timeout) == (Path("/srv/images"), 600.0)


def test_a_lock_timeout_may_be_given() -> None:
    assert read_settings({"path": "/srv/images", "lock_timeout": 5}, "mysite").lock_timeout == 5.0


def test_a_missing_path_is_named() -> None:
    assert problems({}) == "path: is missing, give the directory that holds the images"


@pytest.mark.parametrize("path", [7, "", "  ", "a\0b", ["/srv"], True])
def test_a_path_of_another_kind_is_refused(path: object) -> None:
    assert problems({"path": path}).startswith("path: must be the name of a directory")


@pytest.mark.parametrize("timeout", ["10m", 0, -1, True, float("inf"), float("nan")])
def test_a_wrong_lock_timeout_is_refused(timeout: object) -> None:
    assert problems({"path": "/srv", "lock_timeout": timeout}).startswith("lock_timeout: must be a number of seconds")


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    assert problems({"path": "/srv", "paht": "/srv"}) == "paht: unknown key, did you mean path?"


def test_an_unknown_key_without_neighbour_names_all_known_ones() -> None:
    assert problems({"path": "/srv", "cloud": "x"}) == "cloud: unknown key, known are link, lock_timeout, path"


def test_every_problem_is_reported_at_once() -> None:
    assert len(problems({"cloud": 1, "paht": 2, "lock_timeout": "x"}).splitlines()) == 4


def test_checking_touches_nothing(tmp_path: Path) -> None:
    open_backend({"path": str(tmp_path / "pool")}, Context("mysite", "imagesync"))

    assert list(tmp_path.iterdir()) == []


def test_links_may_be_switched_off_with_a_word_that_is_one() -> None:
    assert read_settings({"path": "/srv"}, "t").link
    assert not read_settings({"path": "/srv", "link": False}, "t").link
    assert problems({"path": "/srv", "link": "no"}) == "link: must be true or false, not 'no'"
