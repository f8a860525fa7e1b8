"""Under which names OpenSSL looks for the files of a CA in a directory: eight digits made of its subject."""

from __future__ import annotations

import hashlib
import re

from cryptography import x509
from pyasn1.codec.der.encoder import encode
from pyasn1.type import char, univ

from imagesync.lists.grammar import Asn1


def file_stems(name: x509.Name) -> frozenset[str]:
    """Return the digits for a CA's name in both styles; the old one is of the MD5 of the name's DER."""
    return frozenset({subject_hash(name), _digits(hashlib.md5(name.public_bytes(), usedforsecurity=False).digest())})


def subject_hash(name: x509.Name) -> str:
    """Return the eight digits by which OpenSSL (1.0 and later) finds a CA in a directory.

    That is the beginning of the SHA-1 of the name's canonical form: no outer SEQUENCE, every text as UTF-8 in lower
    case, without blanks around it and with single blanks inside.
    """
    canonical = b"".join(encode(_canonical(rdn)) for rdn in name.rdns)
    return _digits(hashlib.sha1(canonical, usedforsecurity=False).digest())


def _digits(digest: bytes) -> str:
    return digest[3::-1].hex()


def _canonical(rdn: x509.RelativeDistinguishedName) -> Asn1:
    found = univ.SetOf()
    for attribute in rdn:
        pair, value = univ.Sequence(), attribute.value
        pair[0] = univ.ObjectIdentifier(attribute.oid.dotted_string)
        # What is no text stands in no name that is ever trusted (names.render).
        pair[1] = char.UTF8String(_folded(value)) if isinstance(value, str) else univ.OctetString(value)
        found.append(pair)
    return found


def _folded(text: str) -> str:
    blanks_once = re.sub(r"[ \t\n\v\f\r]+", " ", text.strip(" \t\n\v\f\r"))
    return "".join(letter.lower() if letter.isascii() else letter for letter in blanks_once)
