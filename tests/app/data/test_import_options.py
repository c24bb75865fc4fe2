"""Before an import: what it will read is shown, and every option of its source can be set."""

from __future__ import annotations

import zipfile

import pytest
from image_files import archive, classes, image_bytes, tree

from app.data.import_options import import_arguments
from app.data.import_panel import begin_import
from app.data.jobs import Jobs
from mlcore.__main__ import build_parser
from mlcore.commands.words import plain_value, split_assignment


@pytest.fixture
def begun(monkeypatch):
    """The arguments of the imports that the page has begun, none of which is done."""
    told = []
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", "pass"))
    begin = Jobs.begin

    def noted(self, title, arguments, upload=None):
        told.append(arguments)
        return begin(self, title, arguments, upload)

    monkeypatch.setattr(Jobs, "begin", noted)
    return told


@pytest.fixture
def at(open_page, tmp_path, monkeypatch):
    """The Data page with a path typed into it."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))

    def opened(path):
        page = open_page("data")
        page.session_state["data.from"] = "path"
        page.run()
        page.text_input(key="data.path").set_value(str(path)).run()
        assert not page.exception
        return page

    return opened


def words(page):
    return "\n".join(part.value for part in (*page.caption, *page.markdown, *page.warning)).replace("\\", "")


def option_in(arguments, name):
    """What the command line makes of an option."""
    options = build_parser().parse_args([*arguments[: arguments.index("--")], "--", arguments[-1]])
    given = dict(split_assignment(text, "--option") for text in options.option)
    return plain_value(name, given[name]) if name in given else None


def test_a_split_in_folders_is_shown_and_can_be_refused(at, begun, tmp_path):
    names = [f"{side}/{label}/0.png" for side in ("train", "test") for label in ("cat", "dog")]
    page = at(tree(tmp_path / "own", {name: image_bytes() for name in names}))
    assert "Read as an official split: train (2 images, 2 classes), test (2 images, 2 classes)" in words(page)
    assert "4 images in 2 classes" in words(page)
    page.toggle(key="data.option.image_folder.official_split").set_value(False).run()
    assert "Read as an official split" not in words(page)
    assert "test (2)" in words(page)
    page.button(key="data.import").click().run()
    assert option_in(begun[0], "official_split") is False


def test_the_level_of_a_folder_reaches_the_import(at, begun, tmp_path):
    page = at(tree(tmp_path / "own", {"pet/cat/0.png": b"x", "pet/dog/0.png": b"x", "tool/saw/0.png": b"x"}))
    page.number_input(key="data.option.image_folder.level").set_value(2).run()
    assert "3 images in 3 classes" in words(page)
    page.button(key="data.import").click().run()
    assert option_in(begun[0], "level") == 2


def test_a_table_has_no_level_and_the_options_that_it_declares(at, begun, tmp_path):
    own = tree(tmp_path / "own", {"images/a.png": image_bytes(), "t.csv": b"file,label\na.png,cat\n"})
    page = at(own / "t.csv")
    keys = {widget.key for widget in (*page.number_input, *page.text_input, *page.toggle) if widget.key}
    assert {key for key in keys if key.startswith("data.option.")} == {
        f"data.option.table.{name}" for name in ("root", "more", "file_column", "label_column")
    }
    page.text_input(key="data.option.table.root").set_value("images").run()
    page.button(key="data.import").click().run()
    assert option_in(begun[0], "root") == "images"
    assert "--level" not in begun[0]


def test_what_cannot_be_read_is_told_before(at, tmp_path):
    page = at(tree(tmp_path / "own", {"t.csv": b"what,why\n1,2\n"}) / "t.csv")
    assert "must have a column 'file'" in words(page)


def test_a_zip_with_a_table_may_be_read_by_its_folders(at, begun, tmp_path):
    files = {"labels.csv": b"file,label\na/0.png,cat\n", "a/0.png": image_bytes(), "b/0.png": image_bytes()}
    page = at(archive(tmp_path / "own.zip", files))
    assert "The classes are those that the table 'labels.csv' names" in words(page)
    page.selectbox(key="data.source.zip_table.zip").set_value("zip").run()
    assert "2 images in 2 classes" in words(page)
    page.button(key="data.import").click().run()
    assert begun[0][begun[0].index("--source") + 1] == "zip"


def test_how_names_are_written_is_a_choice_with_an_example_of_each(at, begun, tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("caf_/0.png", image_bytes())
        packed.writestr("b/0.png", image_bytes())
    path.write_bytes(path.read_bytes().replace(b"caf_", "café".encode("cp437")))
    page = at(path)
    choice = page.selectbox(key="data.option.zip.name_encoding")
    assert "café/0.png (DOS, English (437))" in choice.options
    choice.set_value("cp866").run()
    assert "cafВ (1)" in words(page)
    page.button(key="data.import").click().run()
    assert option_in(begun[0], "name_encoding") == "cp866"


def test_an_archive_that_says_how_its_names_are_written_offers_no_choice(at, tmp_path):
    page = at(archive(tmp_path / "own.zip", {"a/0.png": image_bytes(), "b/0.png": image_bytes()}))
    assert not [box for box in page.selectbox if box.key == "data.option.zip.name_encoding"]


def test_what_is_counted_by_names_alone_is_said_to_be_unopened(at, tmp_path):
    said = words(at(tree(tmp_path / "own", {"a/good.png": image_bytes(), "b/broken.jpg": b"no image"})))
    assert "2 images in 2 classes" in said
    assert "none is opened yet" in said


def test_a_folder_too_large_to_look_at_is_asked_about(at, tmp_path, monkeypatch):
    monkeypatch.setattr("app.data.import_options.LOOK_S", -1.0)
    assert "Is this the folder that you mean?" in words(at(classes(tmp_path / "own")))


@pytest.mark.parametrize("value", ["null", "1", "it's", "a: b", "[x", "", "true", "é\n"])
def test_words_stay_words_on_the_way_to_the_command_line(value):
    _, text = import_arguments({"root": value})
    assert plain_value("root", split_assignment(text, "--option")[1]) == (value if "\n" not in value else "é ")


def test_an_import_of_nothing_is_refused_in_words():
    with pytest.raises(ValueError, match="nothing to import any more"):
        begin_import(None, None, "Shop", [])
