"""The contents of docs/decisions.md; `python -m tests.readme.contents` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "decisions.md"
BEGIN, END = "<!-- contents -->\n", "<!-- end of contents -->\n"


def contents(page: str) -> str:
    """Return the contents of a page: its subjects, and below each a link to every record."""
    return "\n".join(_lines(page.partition(END)[2])) + "\n"


def _lines(text: str) -> Iterator[str]:
    for level, heading in re.findall(r"^(##|###) (.+)$", text, re.MULTILINE):
        if level == "##":
            yield f"\n**{heading}**\n"
        else:
            yield f"- [{heading}](#{anchor(heading)})"


def anchor(heading: str) -> str:
    """Return the anchor GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def main() -> None:
    """Write the contents anew."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + contents(page) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
