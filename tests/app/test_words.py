"""Numbers and names in a person's words."""

import pytest

from app.words import change, clock, count, plain, share


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (18.4, "0:18"), (725, "12:05"), (3723, "1:02:03"), (-3, "0:00")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0.583, ".583"), (1.0, "1.000"), (0.0, ".000"), (None, "–")])
def test_shares_are_printed_as_retrieval_tables_do(value, text):
    assert share(value) == text


def test_change_has_its_sign_and_is_empty_where_there_is_nothing_to_compare():
    assert change(0.58, 0.39) == "+.190"
    assert change(0.39, 0.58) == "−.190"
    assert change(None, 0.1) == change(0.1, None) == ""


def test_count_is_one_image_and_many_images():
    assert (count(1, "image"), count(2232, "image"), count(2, "class", "classes")) == (
        "1 image",
        "2,232 images",
        "2 classes",
    )


@pytest.mark.parametrize(
    "name",
    ["<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "**b**", "$x^2$", "`c`", ":red[d]", "a\u202eb\x00\nc"],
)
def test_names_from_outside_are_no_markup(name):
    text = plain(name)
    for position, letter in enumerate(text):
        if letter in "<>[]()*`$:_#":
            assert text[position - 1] == "\\"
    assert not {"\u202e", "\x00", "\n"} & set(text)


def test_an_endless_name_is_cut():
    assert len(plain("x" * 1000)) == 120
