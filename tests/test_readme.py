"""The README tells of what is there."""

from readme_table import BEGIN, END, README, renewed


def test_the_table_of_parts_is_that_of_the_declarations():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert renewed(text) == text, "run: python tests/readme_table.py"
