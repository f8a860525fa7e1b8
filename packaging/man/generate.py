"""Writes imagesync(1) and imagesync.yaml(5) beside this script, or into a folder that is named: ``make man``.

What the pages say comes from where the program has it: the help of its commands, the schema of its configuration, and
the table of exit codes in docs/concepts.rst.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import roff
from imagesync_glance.settings import Settings

from imagesync.cli.main import cli
from imagesync.config.reference import INITIAL, Part, json_schema, parts

HERE = Path(__file__).parent
EXIT_CODE = re.compile(r"^   \* - (\d+)\n     - ((?:.+\n(?:       )?)+?)(?=   \*|\n)", re.MULTILINE)

FILES = {
    "/etc/imagesync/imagesync.yaml": "The configuration; see `imagesync.yaml`(5).",
    "/etc/imagesync/conf.d/*.yaml": "Further parts of it.",
    "/etc/imagesync/deny.d/*.yaml": "Images that must not be offered, as `imagesync revoke` writes them.",
    "/var/lib/imagesync/state.db": "The state, unless the configuration says otherwise.",
    "/var/cache/imagesync": "Downloaded and converted images, unless the configuration says otherwise.",
}

CONFIGURATION = """
The configuration of `imagesync`(1) is one YAML file, and beside it two directories of further ones. `conf.d/*.yaml`
holds parts of the configuration: mappings merge by key, `subscriptions` and `targets` are joined, and a scalar or a
name that is given twice is an error. `deny.d/*.yaml` names images that must not be offered, whatever a list says.

The file is the one named by `--config`, else by the environment variable `IMAGESYNC_CONFIG`, else
`/etc/imagesync/imagesync.yaml`. `imagesync config check` names every problem at once, `imagesync config show` prints
what results from all files, without secrets, and `imagesync config schema` prints a JSON Schema for editors.

A secret is never written into the configuration but referred to: `{file: PATH}`, `{env: NAME}`, or `{credential:
NAME}` for a credential of systemd. Quote the word `"off"`, which YAML else reads as false.
"""

DIRECTORY = {
    "link": "Whether a file may be a hard link to that of the cache. Default: true.",
    "path": "The directory of the images. Required.",
    "lock_timeout": "Seconds to wait for another process that writes there. Default: 600.",
}


def main() -> None:
    """Write the pages into the folder on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, text in (("imagesync.1", program()), ("imagesync.yaml.5", configuration())):
        (folder / name).write_text("".join(text), encoding="utf-8")


# --- imagesync(1) ----------------------------------------------------------------------------------------------------
def program() -> Iterator[str]:
    """Yield the page of the program, with all its commands."""
    context = _context(cli, "imagesync")
    summary, _, rest = inspect.cleandoc(cli.help or "").partition("\n\n")
    yield roff.top("imagesync", 1, "User Commands")
    yield roff.heading("Name") + roff.filled(rf"imagesync \- {roff.plain(_lowered(summary))}")
    yield roff.heading("Synopsis") + _usage(cli, context)
    yield roff.heading("Description") + roff.paragraphs(rest)
    yield roff.heading("Options") + _options(cli, context)
    yield roff.heading("Commands") + "".join(_commands(cli, context))
    yield roff.heading("Exit status") + roff.paragraphs("Where a command names no others:") + _exit_codes()
    yield roff.heading("Environment")
    for parameter in cli.params:
        if isinstance(parameter.envvar, str):
            yield roff.entry(roff.bold(parameter.envvar), f"Stands for `{parameter.opts[-1]}` where that is not given.")
    yield roff.heading("Files")
    yield from (roff.entry(roff.italic(file), text) for file, text in FILES.items())
    yield roff.heading("See also") + r"\fBimagesync.yaml\fR(5), \fBqemu\-img\fR(1)" + "\n"


def _context(command: click.Command, name: str, above: click.Context | None = None) -> click.Context:
    return click.Context(command, above, info_name=name, **command.context_settings)


def _lowered(summary: str) -> str:
    return f"{summary[0].lower()}{' '.join(summary.split())[1:]}".rstrip(".")


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = _context(command, name, context)
        if isinstance(command, click.Group):
            yield from _commands(command, below)
        else:
            yield roff.subheading(below.command_path) + _usage(command, below)
            yield ".PP\n" + roff.paragraphs(inspect.cleandoc(command.help or "")) + _options(command, below)


def _usage(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return roff.filled(f"{roff.bold(context.command_path)} {roff.italic(pieces)}")


def _options(command: click.Command, context: click.Context) -> str:
    # That every command has --help is said once.
    options = [one for one in command.get_params(context) if context.parent is None or "--help" not in one.opts]
    records = [one.get_help_record(context) for one in options]
    return "".join(roff.entry(_flags(record[0]), record[1]) for record in records if record and record[1])


def _flags(text: str) -> str:
    """Return the names of an option in bold, and what stands for its value in italics."""
    words = (re.split(r"(,)", word)[:2] for word in text.split())
    return " ".join(
        roff.bold(word) + "".join(rest) if word.startswith("-") else roff.italic(word) for word, *rest in words
    )


def _exit_codes() -> str:
    text = (HERE.parents[1] / "docs" / "concepts.rst").read_text(encoding="utf-8")
    return "".join(roff.entry(roff.bold(code), meaning) for code, meaning in EXIT_CODE.findall(text))


# --- imagesync.yaml(5) -----------------------------------------------------------------------------------------------
def configuration() -> Iterator[str]:
    """Yield the page of the configuration."""
    yield roff.top("imagesync.yaml", 5, "File Formats")
    yield roff.heading("Name") + r"imagesync.yaml \- configuration of imagesync" + "\n"
    yield roff.heading("Description") + roff.paragraphs(CONFIGURATION)
    yield roff.heading("Example") + roff.literal(INITIAL)
    yield roff.heading("Keys")
    yield from map(_section, parts(json_schema()))
    yield roff.heading("Keys of targets of the backend directory")
    yield from (roff.entry(roff.bold(key), text) for key, text in DIRECTORY.items())
    yield roff.heading("Keys of targets of the backend glance")
    yield from map(_section, parts(Settings.model_json_schema()))
    yield roff.heading("See also") + r"\fBimagesync\fR(1), \fBsystemd.time\fR(7)" + "\n"


def _section(part: Part) -> str:
    title = roff.subheading(", ".join(part.places)) if part.places else ""
    entries = (
        roff.entry(roff.bold(option.key), option.meaning, f"Value: {option.value}. {_default(option.default)}.")
        for option in part.options
    )
    return title + roff.paragraphs(part.about) + "".join(entries)


def _default(words: str) -> str:
    return "Required" if words == "required" else f"Default: {words}"


if __name__ == "__main__":
    main()
