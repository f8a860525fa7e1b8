"""``imagesync list``: look at a list, verify it, make and sign one, lift a pin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imagesync.cli.context import Options, as_json, clock, write_json
from imagesync.cli.moments import MOMENT, MOST_DAYS
from imagesync.cli.passes import check_names
from imagesync.cli.signing import sign, write
from imagesync.cli.trust import TrustOptions, trust_options
from imagesync.errors import ConfigError


@click.group("list")
def lists() -> None:
    """Verify, show, make and sign image lists, and reset what is pinned of a subscribed one."""


@lists.command()
@click.argument("source")
@trust_options
@click.option("--endorser-dn", metavar="DN", help="The signer's subject; goes with --endorser-ca.")
@click.option("--endorser-ca", metavar="DN", help="The signer's issuer; goes with --endorser-dn.")
@click.option("--vo", metavar="VO", help="The VO that the list must be for.")
@click.option("--identifier", metavar="ID", help="The identifier that the list must have.")
@click.option("--at", type=MOMENT, metavar="TIME", help="Judge as of this time (ISO 8601) instead of now.")
@as_json
@click.pass_context
def verify(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - as declared by the options
    """Verify the signed list SOURCE: a path, a URL, or - for standard input.

    Exit codes: 0 it may be trusted; 2 wrong usage or unusable anchors; 3 it must not be trusted; 5 it could not
    be read.
    Without --endorser-dn and --endorser-ca it is only checked that somebody whom an anchor vouches for signed it.
    With a configuration and without --anchors, the list is judged as a pass would: by the same anchors and CRLs, those
    in the cache included, and one that is missing there is fetched if trust.fetch_crls says so. Nothing is written.
    Of the first subscription to this URL the exceptions count too: sha1_until, the sha256 of its endorsers, and that
    they may have host certificates. The answer says which one it was, and warns of a signer who is no endorser of it.
    A refusal shows all the same whom the signature fits, and which entry of a subscription would accept them.
    """
    from imagesync.cli import verification

    trust = TrustOptions(*(options.pop(name) for name in ("anchors", "crls", "crl")))
    question = verification.Question(**options, trust=trust)
    ctx.exit(verification.run(question, ctx.obj, as_json=as_json))


@lists.command()
@click.argument("source")
@as_json
@click.pass_context
def show(ctx: click.Context, source: str, *, as_json: bool) -> None:
    """Show what the list SOURCE says, WITHOUT verifying it: a subscription's name, a path, a URL, or -.

    A subscription's name shows the version that was accepted last.
    """
    from imagesync.cli import show as output
    from imagesync.cli.verification import unverified

    options: Options = ctx.obj
    document = unverified(source, options)
    if as_json:
        write_json(document)
        return
    click.echo(
        "NOT VERIFIED: this is what the message says; `imagesync list verify` says whether to believe it", err=True
    )
    output.document(document)


@lists.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--vo", required=True, metavar="VO", help="The VO that the list is for.")
@click.option("--base-url", required=True, metavar="URL", help="Where the image files will be served.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The list to write; if it exists, its identifiers are kept.",
)
@click.option("--title", default="", help="The list's title.")
@click.option("--identifier", default="", metavar="ID", help="The list's identifier; derived unless given.")
@click.option(
    "--list-url", default="", metavar="URL", help="Where the list will be served.  [default: image.list there]"
)
@click.option(
    "--days",
    type=click.IntRange(min=1, max=MOST_DAYS),
    default=28,
    show_default=True,
    help="How long the list is good for.",
)
@as_json
def make(source: Path, out: Path, days: int, *, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - as declared by the options
    """Make an image list from a folder of images or a YAML description; `list sign` makes it ready to be published."""
    from datetime import timedelta

    from imagesync.lists.document import dump
    from imagesync.lists.make import MakeOptions, describe

    previous = out if out.exists() else None
    options = MakeOptions(**chosen, now=clock(), previous=previous, lifetime=timedelta(days=days))
    document = describe(source, options)
    write(out, dump(document))
    content = document["hv:imagelist"]
    summary = {
        "out": str(out),
        "identifier": content["dc:identifier"],
        "version": content["hv:version"],
        "expires": content["dc:date:expires"],
        "images": len(content["hv:images"]),
    }
    if as_json:
        write_json(summary)
    else:
        click.echo(
            "{out}: {images} images, version {version}, identifier {identifier}, expires {expires}".format(**summary)
        )


lists.add_command(sign)


@lists.command()
@click.argument("name")
@click.option("--identifier", is_flag=True, help="Drop the pinned identifier: the next list may be another one.")
@click.option("--version", is_flag=True, help="Drop the version floor: the next list may be older.")
@as_json
@click.pass_context
def reset(ctx: click.Context, name: str, *, identifier: bool, version: bool, as_json: bool) -> None:
    """Forget what is pinned for the subscription NAME, until the next accepted list pins anew. It is logged.

    The floor is lifted also where the state was lost and only the images on the targets say which version they had.
    """
    import structlog

    from imagesync.run.wiring import open_configured_state

    if not (identifier or version):
        raise ConfigError("list reset", "say what to reset", "give --identifier, --version, or both")
    options: Options = ctx.obj
    config = options.config()
    options.start_logging()
    check_names("list reset", (name,), [item.name for item in config.subscriptions])
    with open_configured_state(config) as state:
        if identifier and not state.drop_pin(name):
            raise ConfigError(
                name, "nothing was ever accepted, so that no identifier is pinned", "leave --identifier out"
            )
        if version:
            state.lift_floor(name, clock())
    structlog.get_logger(__name__).warning("pins dropped", list=name, identifier=identifier, version=version)
    if as_json:
        write_json({"name": name, "identifier": identifier, "version": version})
    else:
        click.echo(f"{name}: the next list that is accepted pins anew")
