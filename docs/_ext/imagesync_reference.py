"""Sphinx directives that read the reference pages from the program itself, so that they cannot go stale.

``.. imagesync-commands::`` renders the help of every command, ``.. imagesync-options::`` every configuration key,
``.. imagesync-refusals::`` every reason for which an image is refused.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COMMAND_LINE = "imagesync.cli.main"
CONFIGURATION = "imagesync.config.reference"
FAULTS = "imagesync.images.faults"
WIDTH = 96


def commands(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help text of a command and of every one below it, parents first."""
    context = click.Context(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from commands(below, f"{path} {name}")


def command_reference() -> str:
    """Return a section per command, with the help as the program prints it."""
    group = import_module(COMMAND_LINE).cli
    sections = (
        f"{name}\n{'-' * len(name)}\n\n.. code-block:: text\n\n{_indented(text)}\n"
        for name, text in commands(group, "imagesync")
    )
    return "\n".join(sections)


def option_reference() -> str:
    """Return the table of configuration keys."""
    text: str = import_module(CONFIGURATION).option_tables()
    return text


def refusal_reference() -> str:
    """Return a table of the reasons for which an image is refused, each with its kind of error."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 36 42", ""]
    lines += ["   * - Reason", "     - What is wrong", "     - Why it is refused"]
    for fault in import_module(FAULTS).Fault:
        kind = fault.error("").reason
        lines += [f"   * - ``{fault.value}``", f"     - {_sentence(fault.text)} (``{kind}``)", f"     - {fault.why}"]
    return "\n".join([*lines, ""])


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.splitlines())


class _Generated(SphinxDirective):
    """Text that a module of the program renders."""

    module: str
    render: Callable[[], str]

    def run(self) -> list[nodes.Node]:
        """Return the parsed text; nothing where the module is not part of the installation."""
        if find_spec(self.module) is None:
            return []
        return self.parse_text_to_nodes(type(self).render(), allow_section_headings=True)


class Commands(_Generated):
    """The ``imagesync-commands`` directive."""

    module = COMMAND_LINE
    render = staticmethod(command_reference)


class Options(_Generated):
    """The ``imagesync-options`` directive."""

    module = CONFIGURATION
    render = staticmethod(option_reference)


class Refusals(_Generated):
    """The ``imagesync-refusals`` directive."""

    module = FAULTS
    render = staticmethod(refusal_reference)


class BackendOptions(SphinxDirective):
    """The ``imagesync-backend-options`` directive; its argument is the module that has a backend's ``Settings``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the parsed tables."""
        schema = import_module(self.arguments[0]).Settings.model_json_schema()
        text = import_module(CONFIGURATION).tables(schema, "Keys of the target")
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("imagesync-commands", Commands)
    app.add_directive("imagesync-options", Options)
    app.add_directive("imagesync-refusals", Refusals)
    app.add_directive("imagesync-backend-options", BackendOptions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
