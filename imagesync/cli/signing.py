"""``imagesync list sign``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagesync.cli.context import as_json, clock, environment, write_json
from imagesync.cli.moments import MOST_DAYS
from imagesync.cli.trust import TrustOptions
from imagesync.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509


@click.command()
@click.argument("document", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--cert", required=True, type=click.Path(path_type=Path), help="The endorser's certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key (PEM). Required, but for --prepare.")
@click.option("--chain", type=click.Path(path_type=Path), help="Intermediate CA certificates (PEM).")
@click.option("--passphrase-file", metavar="PATH", help="Where the key's passphrase is, if it has one.")
@click.option("--passphrase-env", metavar="NAME", help="The environment variable that holds it.")
@click.option("--passphrase-credential", metavar="NAME", help="The systemd credential that holds it.")
@click.option("--renew", is_flag=True, help="Give the list a new version and new dates first, and change nothing else.")
@click.option(
    "--days",
    type=click.IntRange(min=1, max=MOST_DAYS),
    help="With --renew: how long it is good for.  [default: as before]",
)
@click.option("--anchors", type=click.Path(path_type=Path), help="Also verify the result as a site with these would.")
@click.option("--crls", type=click.Path(path_type=Path), help="With --anchors: CRLs that a site fetched itself.")
@click.option(
    "--crl", type=click.Choice(["require", "if-present", "off"]), help="With --anchors: what the site does about CRLs."
)
@click.option("--prepare", is_flag=True, help="Write what has to be signed, for a key that only another program has.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The signed list to write.")
@as_json
def sign(document: Path, out: Path, *, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - as declared by the options
    """Sign the list DOCUMENT (JSON, from `list make`) as a detached S/MIME message.

    The certificate must be one that sites accept, and the result is verified before it is written. With --renew,
    DOCUMENT may also be a list that the same certificate signed. Where an encrypted key has no passphrase option, it
    is asked for on a terminal.
    """
    from imagesync.lists.names import render
    from imagesync.lists.sign import load_certificates, load_identity, prepare
    from imagesync.lists.sign import sign as seal

    now, trust = clock(), TrustOptions(*(chosen[name] for name in ("anchors", "crls", "crl")))
    certificate = load_certificates(chosen["cert"])[0]
    content = _content(document, certificate, now, chosen)
    if chosen["prepare"]:
        write(out, prepare(content, certificate, now))
        checked = "nothing"
    else:
        if chosen["key"] is None:
            raise ConfigError("list sign", "needs the key", "give --key, or --prepare for one on a token")
        identity = load_identity(chosen["cert"], chosen["key"], chosen["chain"], lambda: _passphrase(chosen))
        message = seal(content, identity, now)
        checked = _verify(message, trust, now)
        write(out, message)
    subject, issuer = render(certificate.subject), render(certificate.issuer)
    if as_json:
        write_json({"out": str(out), "signer": subject, "ca": issuer, "verified": checked})
    elif chosen["prepare"]:
        click.echo(f"{out}: to be signed by {subject}, issued by {issuer}")
    else:
        click.echo(f"{out}: signed by {subject}, issued by {issuer}")


def _content(document: Path, certificate: x509.Certificate, now: datetime, chosen: Mapping[str, Any]) -> bytes:
    content = _read(document)
    if not chosen["renew"]:
        if chosen["days"] is not None:
            raise ConfigError("list sign", "--days goes with --renew", "the dates of the document count")
        return content
    from imagesync.lists.renew import renew

    return renew(content, certificate, now, timedelta(days=chosen["days"]) if chosen["days"] else None)


def _verify(message: bytes, trust: TrustOptions, now: datetime) -> str:
    """Return what the result was judged by: with anchors, as a site would that pins this endorser.

    Raises:
        ConfigError: a site would refuse it, or the options do not go together.
        TrustStoreUnusableError: the anchors cannot be used.
    """
    if trust.anchors is None:
        if trust.crls or trust.crl:
            raise ConfigError("list sign", "--crls and --crl go with --anchors", "name the anchors of a site")
        return "signature"
    from imagesync.cli.basis import by_directories, verified
    from imagesync.errors import TrustError, TrustStoreUnusableError
    from imagesync.lists.admit import AdmissionRules, admit
    from imagesync.lists.hepix import parse

    by = by_directories(trust)
    try:
        content = parse(verified(message, by, now, pinned=True))
        rules = AdmissionRules("list", content.vo or "", (content.signer.identity,), content.identifier)
        admit(content, rules, None, now)
    except TrustStoreUnusableError:
        raise
    except TrustError as error:
        raise ConfigError("list", f"a site would refuse it: {error.reason}: {error}", "nothing was written") from error
    return "trusted"


def _passphrase(chosen: Mapping[str, Any]) -> str:
    """Return the passphrase from where the command line says, else from the terminal.

    Raises:
        ConfigError: it cannot be had.
    """
    from pydantic import ValidationError

    from imagesync.config.secrets import SecretRef

    given = {kind: value for kind in ("file", "env", "credential") if (value := chosen[f"passphrase_{kind}"])}
    if not given and sys.stdin.isatty():
        return str(click.prompt("Passphrase of the key", hide_input=True, err=True))
    if not given:
        raise ConfigError(
            str(chosen["key"]), "the key is encrypted", "say where its passphrase is: --passphrase-file and the like"
        )
    try:
        context = {"environment": environment(), "directory": Path.cwd()}
        return SecretRef.model_validate(given, context=context).value()
    except ValidationError as error:
        detail = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError("list sign", f"the passphrase {detail}", "give one of the three options") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", "check the path and its permissions"
        ) from error


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    from imagesync.files import replace_file

    try:
        replace_file(path, content)
    except OSError as error:
        detail = f"cannot be written: {error.strerror}"
        raise ConfigError(str(path), detail, "check the folder and its space") from error
