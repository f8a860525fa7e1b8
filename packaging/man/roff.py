"""The little of the language of man pages that ours need: text in, requests of the man macros out."""

import re
import textwrap

DATE = "2026-11-27"
"""When somebody last read the pages as a whole, which every page has to show."""

MARKS = re.compile(r"(``[^`]+``|`[^`]+`)")
ESCAPES = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})


def plain(text: str) -> str:
    """Return text that comes out as it is."""
    return text.translate(ESCAPES)


def bold(text: str) -> str:
    """Return text in bold."""
    return rf"\fB{plain(text)}\fR"


def italic(text: str) -> str:
    """Return text in italics, which terminals underline."""
    return rf"\fI{plain(text)}\fR"


def marked(text: str) -> str:
    """Return text in which what stood between backticks is bold."""
    pieces = MARKS.split(text)
    return "".join(bold(piece.strip("`")) if MARKS.fullmatch(piece) else plain(piece) for piece in pieces)


def filled(text: str) -> str:
    """Return lines of roff that are not too long to be read, of one that may be."""
    lines = textwrap.wrap(" ".join(text.split()), 78, break_long_words=False, break_on_hyphens=False)
    # A dot at the beginning of a line would make it a request.
    return "".join(rf"\&{line}" + "\n" if line.startswith(".") else f"{line}\n" for line in lines)


def top(name: str, section: int, manual: str) -> str:
    """Return what a page begins with."""
    # No hyphens and no even right margin, which would tear options apart.
    made = r".\" Written by packaging/man/generate.py; what is changed here is lost."
    return f'{made}\n.TH {name.upper()} {section} {DATE} imagesync "{manual}"\n.nh\n.ad l\n'


def heading(text: str) -> str:
    """Return a heading of the first order."""
    return f'.SH "{plain(text.upper())}"\n'


def subheading(text: str) -> str:
    """Return a heading of the second order."""
    return f'.SS "{plain(text)}"\n'


def paragraphs(text: str) -> str:
    """Return the paragraphs of a text, of which the first stands right below a heading."""
    return ".PP\n".join(filled(marked(piece)) for piece in re.split(r"\n\s*\n", text.strip()))


def entry(term: str, *texts: str) -> str:
    """Return an entry of a list: a term, which is already roff, and below it the texts, each on a line of its own."""
    return f".TP\n{term}\n" + ".br\n".join(filled(marked(text)) for text in texts)


def literal(text: str) -> str:
    """Return lines that stay as they are."""
    return ".nf\n" + "".join(rf"\&{line.translate(ESCAPES)}" + "\n" for line in text.strip().splitlines()) + ".fi\n"
