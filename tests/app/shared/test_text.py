"""Numbers and names in a person's words."""

import errno

import pytest

from app.shared.text import (
    JOINER,
    UNCHANGED,
    count,
    escape_markdown,
    fault_words,
    format_bytes,
    format_change,
    format_duration,
    format_share,
    look_up_words,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (18.4, "0:18"), (725, "12:05"), (3723, "1:02:03"), (-3, "0:00")]
)
def test_clock(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0.583, ".583"), (1.0, "1.000"), (0.0, ".000"), (None, "–")])
def test_shares_are_printed_as_retrieval_tables_do(value, text):
    assert format_share(value) == text


def test_change_has_its_sign_and_is_empty_where_there_is_nothing_to_compare():
    assert format_change(0.58, 0.39) == "+.190"
    assert format_change(0.39, 0.58) == "−.190"
    assert format_change(None, 0.1) == format_change(0.1, None) == ""


@pytest.mark.parametrize("difference", [0.0, 0.0004, -0.0004])
def test_a_change_that_is_nothing_when_rounded_has_no_direction(difference):
    assert format_change(0.5 + difference, 0.5) == UNCHANGED


@pytest.mark.parametrize(
    ("bytes", "text"), [(0, "0 KB"), (1, "1 KB"), (40_000, "40 KB"), (2**21, "2.0 MB"), (2000 * 2**20, "2,000.0 MB")]
)
def test_a_small_size_is_not_nothing(bytes, text):
    assert format_bytes(bytes) == text


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
    text = escape_markdown(name)
    for position, letter in enumerate(text):
        if letter in "<>[]()*`$:_#":
            assert text[position - 1] == "\\"
    assert not {"\u202e", "\x00", "\n"} & set(text)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("http://x.y/z", "http:|//x.y/z"),
        ("www.x.y", "www|.x.y"),
        ("a@b.cc", "a@|b.cc"),
        (":material/delete:", ":|material/delete:"),
        (":streamlit:", ":|streamlit:"),
        ("a -> b -- c >= d", "a -|> b -|- c >|= d"),
        ("at 10:30, 3 - 1 = 2: yes", "at 10:30, 3 - 1 = 2: yes"),
    ],
)
def test_what_streamlit_looks_for_after_markdown_is_broken_by_what_cannot_be_seen(name, broken):
    assert escape_markdown(name).replace("\\", "").replace(JOINER, "|") == broken


def test_a_name_of_several_lines_comes_on_one():
    assert escape_markdown("    a\n\n b\t") == "a b"


def test_an_endless_name_is_cut_and_the_cut_is_seen():
    assert escape_markdown("x" * 1000) == "x" * 119 + "…"
    assert escape_markdown("x" * 120) == "x" * 120


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/runs/a"), "The disk is full (/runs/a). Free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/runs"), "Nothing can be written there (/runs): Read-only"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ValueError("[a](b) is wrong"), "[a](b) is wrong"),
    ],
)
def test_a_fault_is_told_in_words(error, words):
    assert fault_words(error).replace("\\", "").startswith(words)


def test_an_option_is_said_by_its_words_and_one_without_any_as_it_is():
    words = look_up_words({"crop": "Cut", 3: "Three"})
    assert [words("crop"), words(3), words("pad"), words(None)] == ["Cut", "Three", "pad", "None"]
