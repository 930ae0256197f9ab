"""docs/decisions.md: one record a decision, each found by one line of the contents."""

from __future__ import annotations

import re

import pytest

from tests.readme.contents import BEGIN, END, PAGE, contents

TEXT = PAGE.read_text()
RECORDS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_the_contents_name_every_record_in_its_order() -> None:
    """`python -m tests.readme.contents` writes them."""
    assert TEXT.partition(BEGIN)[2].partition(END)[0] == contents(TEXT)


def test_no_two_records_have_one_heading() -> None:
    assert len(RECORDS) == len(re.findall(r"^### ", TEXT, re.MULTILINE)) > 0


@pytest.mark.parametrize("heading", RECORDS)
def test_a_record_says_when_what_and_what_was_not_taken(heading: str) -> None:
    date, blank, decided, *_ = RECORDS[heading].splitlines()
    assert re.fullmatch(r"2\d{3}-\d\d-\d\d", date)
    assert (blank, decided[:12]) == ("", "**Decided.**")
    assert re.search(r"^\*\*Not taken(, so far)?\.\*\* ", RECORDS[heading], re.MULTILINE)
