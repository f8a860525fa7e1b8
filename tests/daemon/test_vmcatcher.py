"""What handlers of vmcatcher's events are told of an image, whatever its list says of it."""

import json

import pytest

from imagesync.daemon.notify.vmcatcher import details

SHA512 = "a0" * 64


@pytest.fixture
def told(tmp_path):
    """Return a function that gives the file that is told of an image with a checksum, below the cache."""

    def told(checksum):
        image = {"dc:identifier": "I", "sl:checksum:sha512": checksum}
        content = json.dumps({"hv:imagelist": {"dc:identifier": "L", "hv:images": [{"hv:image": image}]}})
        lines = [
            "MIME-Version: 1.0",
            'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="b"',
            *("", "--b", "Content-Type: text/plain", "", content),
            *("--b", 'Content-Type: application/pkcs7-signature; name="smime.p7s"'),
            *("Content-Transfer-Encoding: base64", "", "MAA=", "--b--", ""),
        ]
        return details("\n".join(lines).encode(), ["p:L/I"], tmp_path)["p:L/I"]["FILENAME"]

    return told


def test_the_published_file_is_told_where_the_cache_has_it(told, tmp_path):
    file = tmp_path / "sources" / SHA512
    file.parent.mkdir()
    assert told(SHA512) == ""

    file.touch()
    assert told(SHA512.upper()) == str(file)


@pytest.mark.parametrize("checksum", ["a" * 5000, "", "../outside", "a\0b", "\udc80", 5, None])
def test_what_is_no_checksum_names_no_file(told, tmp_path, checksum):
    (tmp_path / "sources").mkdir()
    (tmp_path / "outside").touch()

    assert told(checksum) == ""
