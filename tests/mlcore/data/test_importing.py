"""From a source to a set: what is kept, what is left out, and that stopping at any point loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from image_files import STUB, archive, classes, image_bytes, picture, png_of_size, snapshot, tree
from patience import PATIENCE_S
from PIL import Image

from mlcore.data import image_set_writer, importing, unfinished_imports
from mlcore.data.decoders import Decoders
from mlcore.data.fingerprint import compute_fingerprint
from mlcore.data.importing import ImportStopped, import_path, import_set
from mlcore.data.sources import ImageEntry, ImageFolder, SkippedEntry, source_for
from mlcore.data.store import all_sets, delete_set, open_set, read_facts, read_index, read_left_out, read_set
from mlcore.disk.atomic import DiskFull, read_json, replace_json
from mlcore.disk.process import take_lock

Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def facts_of(folder):
    return json.loads((folder / "set.json").read_text())


@pytest.fixture
def stub(monkeypatch):
    """Decoders that do what an image's last bytes say: crash, hang or garbage."""
    monkeypatch.setattr(importing, "Decoders", lambda: Decoders(command=STUB, limit_s=60))


class Memory:
    """A source of images in memory, which counts what it is asked for."""

    def __init__(self, images, extra=()):
        self.images, self.extra, self.opened = images, list(extra), []

    def find(self):
        yield from self.extra
        yield from (ImageEntry(name, name.split("/")[0]) for name in self.images)

    def open(self, file):
        self.opened.append(file)
        return self.images[file]

    def stamp(self, file):
        return str(len(self.images[file]))


def images(count, mode="RGB"):
    return {f"c{number % 5}/{number:04d}.png": image_bytes(picture(number, mode=mode)) for number in range(count)}


def test_a_folder_becomes_pixels_an_index_and_facts(tmp_path, root):
    folder = import_path(classes(tmp_path / "own"), root=root)
    index, facts = read_index(folder), facts_of(folder)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    assert pixels.shape == (12, 24, 24, 3)
    assert list(index.columns) == list(image_set_writer.INDEX)
    assert index.row.tolist() == list(range(12))
    for row in range(12):
        label, number = divmod(row, 4)
        assert index.file[row] == f"c{label}/{number}.png"
        assert np.array_equal(pixels[row], np.asarray(picture(100 * label + number)))
    assert index.hash.str.fullmatch("[0-9a-f]{16}").all()
    assert facts["counts"] == {"images": 12, "classes": 3, "left_out": 0}
    assert (facts["title"], facts["side"], facts["mode"], facts["notes"]) == ("own", 24, "RGB", [])
    assert folder.name == facts["id"] == f"set-{facts['fingerprint'][:12]}"
    assert sorted(os.listdir(folder)) == ["index.parquet", "left_out.parquet", "pixels.npy", "set.json"]
    assert os.listdir(root) == [folder.name]


def test_the_usual_side_is_160_or_less_where_all_are_smaller(tmp_path, root):
    large = tree(tmp_path / "large", {f"c/{n}.png": image_bytes(picture(n, (300, 200))) for n in range(3)})
    assert facts_of(import_path(large, root=root))["side"] == 160
    mixed = tree(tmp_path / "mixed", {f"c/{n}.png": image_bytes(picture(n, (30 + n, 20))) for n in range(3)})
    assert facts_of(import_path(mixed, root=root))["side"] == 20
    assert facts_of(import_path(mixed, root=root, fit="pad"))["side"] == 32
    assert facts_of(import_path(mixed, root=root, side=50))["side"] == 50


def test_small_images_at_the_front_do_not_make_the_others_small(tmp_path, root):
    sizes = {f"a/{n:03d}.png": 16 for n in range(150)} | {f"b/{n:03d}.png": 64 for n in range(50)}
    own = tree(tmp_path / "own", {name: image_bytes(picture(0, (side, side))) for name, side in sizes.items()})
    assert facts_of(import_path(own, root=root))["side"] == 64


@pytest.mark.parametrize("side", [0, 7, 513, 20.0, True, "big"])
def test_a_side_that_is_none_is_refused(tmp_path, root, side):
    with pytest.raises(ValueError, match="side must be"):
        import_path(classes(tmp_path / "own"), root=root, side=side)


def test_grey_images_take_one_channel(tmp_path, root):
    folder = import_path(classes(tmp_path / "own", mode="L"), root=root)
    assert np.load(folder / "pixels.npy").shape == (12, 24, 24, 1)
    assert facts_of(folder)["mode"] == "grey"


@pytest.mark.parametrize("coloured", [0, 3, 70, 99])
def test_grey_images_become_colour_once_one_is(root, coloured):
    made = images(100, "L")
    name = list(made)[coloured]
    made[name] = image_bytes(picture(coloured))
    pixels = np.load(import_set(Memory(made), "mixed", root) / "pixels.npy")
    assert pixels.shape == (100, 24, 24, 3)
    for number in range(100):
        wanted = picture(number) if number == coloured else picture(number, mode="L").convert("RGB")
        assert np.array_equal(pixels[number], np.asarray(wanted))


def test_everything_of_no_use_is_listed_with_its_reason_and_nothing_else_is_touched(tmp_path, root):
    bad = {
        "cat/empty.png": b"",
        "cat/text.png": b"hello",
        "cat/cut.png": image_bytes(picture(1, (99, 99)))[:300],
        "cat/huge.png": png_of_size(50_000, 50_000),
        "cat/tiny.png": image_bytes(picture(1, (1, 1))),
        "cat/gif.png": image_bytes(kind="GIF"),
        "cat/moving.webp": image_bytes(kind="WEBP", save_all=True, append_images=[picture(1)]),
        "cat/notes.txt": b"x",
        "stray.png": image_bytes(),
    }
    good = {"cat/1.png": image_bytes(), "cat/2.JPG": image_bytes(kind="JPEG"), "猫/ねこ 1.png": image_bytes(picture(2))}
    own = tree(tmp_path / "own", bad | good)
    (own / "cat" / "out.png").symlink_to("/etc/passwd")
    before = snapshot(own)
    folder = import_path(own, root=root)
    left = read_left_out(folder)
    assert set(left.file) == {*bad, "cat/out.png"}
    assert (left.reason.str.len() > 10).all()
    assert set(read_index(folder).file) == set(good)
    assert snapshot(own) == before
    assert sorted(os.listdir(tmp_path)) == ["data", "own"]


def test_a_hostile_archive_leaves_nothing(tmp_path, root):
    path = archive(tmp_path / "evil.zip", {"cat/1.png": image_bytes(), "../../evil.png": image_bytes()})
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is refused"):
        import_path(path, root=root)
    assert snapshot(tmp_path) == before


def test_an_archive_and_its_folder_give_the_same_pixels(tmp_path, root):
    own = classes(tmp_path / "own")
    packed = archive(tmp_path / "own.zip", {n: b for n, b in snapshot(own).items() if isinstance(b, bytes)})
    one, other = import_path(own, root=root), import_path(packed, root=tmp_path / "other")
    assert one.name == other.name


def test_a_source_without_a_usable_image_is_refused_with_the_first_reason(root):
    with pytest.raises(ValueError, match=r"it has none. The first: c0/0000.png: It is empty"):
        import_set(Memory({"c0/0000.png": b""}), "nothing", root)
    assert os.listdir(root) == []


def test_notes_say_what_is_odd_about_labels(tmp_path, root):
    own = tree(tmp_path / "own", {name: image_bytes(picture(n)) for n, name in enumerate(["Dog.png", "x.png"])})
    table = "file,label\nDog.png,dog\nx.png,Dog\ny.png,\n"
    notes = "\n".join(facts_of(import_path(tree(own, {"t.csv": table.encode()}) / "t.csv", root=root))["notes"])
    assert "'Dog', 'dog' have one image" in notes
    assert "1 image has no label" in notes
    assert "differ by upper and lower case only" in notes


def test_one_class_is_noted(tmp_path, root):
    notes = facts_of(import_path(classes(tmp_path / "own", 1), root=root))["notes"]
    assert notes == ["There is one class, 'c0': nothing can be told apart."]


def test_the_same_path_is_not_imported_twice_until_it_changes(tmp_path, root, monkeypatch):
    own = classes(tmp_path / "own")
    first = import_path(own, root=root)
    monkeypatch.setattr(importing, "Decoders", None)
    assert import_path(own, root=root) == first
    monkeypatch.undo()
    tree(own, {"c0/new.png": image_bytes(picture(9))})
    second = import_path(own, root=root)
    assert second != first
    assert len(read_index(second)) == 13
    assert {facts.folder for facts in all_sets(root)} == {first, second}


def test_a_file_that_was_overwritten_is_read_again(tmp_path, root):
    own = classes(tmp_path / "own")
    first = import_path(own, root=root)
    tree(own, {"c0/0.png": image_bytes(picture(77, (24, 24)))})
    second = import_path(own, root=root)
    assert second != first
    assert np.array_equal(np.load(second / "pixels.npy")[0], np.asarray(picture(77)))


def test_other_options_are_another_set_unless_any_will_do(tmp_path, root):
    own = classes(tmp_path / "own")
    small = import_path(own, root=root, side=8)
    assert import_path(own, root=root, as_it_is=True) == small
    assert import_path(own, root=root) != small


def test_files_that_were_only_touched_make_the_same_set(tmp_path, root):
    own = classes(tmp_path / "own")
    first = import_path(own, root=root)
    os.utime(own / "c0" / "0.png", (1, 1))
    assert import_path(own, root=root) == first
    assert os.listdir(root) == [first.name]


def test_a_cancelled_import_is_no_set_and_goes_on_where_it_was(root, monkeypatch):
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    source, whole = Memory(images(500), [SkippedEntry("x.txt", "It is a text.")]), images(500)
    told = [(0, None, None)]

    def ninety_are_in() -> bool:
        done, total, _ = told[-1]
        return total is not None and done > 90  # while they are listed, there is no total

    with pytest.raises(ImportStopped):
        import_set(source, "own", root, progress=lambda *word: told.append(word), cancelled=ninety_are_in)
    assert all_sets(root) == []
    before = len(source.opened)
    source.opened.clear()
    monkeypatch.setattr(importing, "fitting_side", lambda *_: 24)
    folder = import_set(source, "own", root)
    assert 380 <= len(source.opened) <= 420
    assert before < 500
    again = import_set(Memory(whole, [SkippedEntry("x.txt", "It is a text.")]), "own", root.with_name("other"))
    assert folder.name == again.name
    assert snapshot(folder).keys() == snapshot(again).keys()
    assert read_left_out(folder).file.tolist() == ["x.txt"]


@pytest.mark.parametrize("site", range(1, 118, 9))
def test_a_killed_import_goes_on_to_the_very_same_set(root, monkeypatch, site):
    """The process dies at any of its writes: what is on the disk then is the start of the next try."""
    grey = {f"grey{name}": data for name, data in images(40, "L").items()}
    made = grey | images(20)
    monkeypatch.setattr(image_set_writer, "CHECKPOINT_S", 0.0)
    passes = 0
    real = image_set_writer.write_all

    def dying(descriptor, data):
        nonlocal passes
        passes += 1
        if passes == site:
            os.write(descriptor, bytes(data)[: len(data) // 2])
            raise KeyboardInterrupt
        real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(image_set_writer, "write_all", dying)
        patch.setattr(image_set_writer.SetWriter, "close", lambda self: (self._close_files(), self._lock.close()))
        with pytest.raises(KeyboardInterrupt):
            import_set(Memory(made), "own", root)
    assert all_sets(root) == []
    folder = import_set(Memory(made), "own", root)
    clean = import_set(Memory(made), "own", root.with_name("clean"))
    assert folder.name == clean.name
    assert np.array_equal(np.load(folder / "pixels.npy"), np.load(clean / "pixels.npy"))


@pytest.mark.parametrize("name", ["index.parquet", "set.json"])
def test_an_import_that_dies_at_its_end_goes_on(tmp_path, root, monkeypatch, name):
    own = classes(tmp_path / "own")

    def dies(*_, **__):
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(
            *((pd.DataFrame, "to_parquet") if name == "index.parquet" else (image_set_writer, "compute_fingerprint")),
            dies,
        )
        with pytest.raises(OSError, match="no room"):
            import_path(own, root=root)
    assert all_sets(root) == []
    assert len(open_set(import_path(own, root=root).name, root)) == 12


def test_what_was_begun_before_the_source_changed_is_removed(tmp_path, root, monkeypatch):
    own = classes(tmp_path / "own")
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    calls = iter([False] * 14 + [True] * 99)
    with pytest.raises(ImportStopped):
        import_path(own, root=root, cancelled=lambda: next(calls))
    assert len(os.listdir(root)) == 1
    tree(own, {"c0/new.png": image_bytes(picture(9))})
    folder = import_path(own, root=root)
    assert os.listdir(root) == [folder.name]


def test_progress_counts_up_and_tells_the_time_left(root, monkeypatch):
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    told = []
    import_set(Memory(images(100)), "own", root, progress=lambda *word: told.append(word))
    counted = [word for word in told if word[1] is not None]
    assert [word for word in told if word[1] is None] == [(count, None, None) for count in range(1, 101)]
    assert [word[0] for word in counted] == sorted(word[0] for word in counted)
    assert counted[-1][:2] == (100, 100)
    assert counted[50][2] > 0


def test_two_imports_of_the_same_images_at_once_are_refused(root):
    source = Memory(images(10))
    real, held, free = source.open, threading.Event(), threading.Event()

    def slow(file):
        held.set()
        free.wait(PATIENCE_S)
        return real(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "fitting_side", lambda *_: 24)
        source.open = slow
        thread = threading.Thread(target=import_set, args=(source, "own", root))
        thread.start()
        try:
            assert held.wait(PATIENCE_S)
            with pytest.raises(ValueError, match="by another process"):
                import_set(Memory(images(10)), "own", root)
        finally:
            free.set()
            thread.join()
    assert len(all_sets(root)) == 1


def test_what_another_process_imported_meanwhile_is_not_imported_again(root, monkeypatch):
    source = Memory(images(10))

    def meanwhile(*_):
        with monkeypatch.context() as patch:
            patch.setattr(importing, "fitting_side", lambda *_: 24)
            made.append(import_set(Memory(images(10)), "own", root))
        return 24

    made = []
    monkeypatch.setattr(importing, "fitting_side", meanwhile)
    assert [import_set(source, "own", root)] == made
    assert source.opened == []
    assert os.listdir(root) == [made[0].name]


def test_who_only_looks_whether_an_import_goes_on_does_not_stop_it(root, monkeypatch):
    folder = root / ".import-name"
    folder.mkdir(parents=True)
    looking = [take_lock(folder / "lock")]
    monkeypatch.setattr(unfinished_imports.time, "sleep", lambda _: looking.pop().close())
    with image_set_writer.SetWriter(root, "name", 8):
        assert [begun.held for begun in unfinished_imports.list_unfinished(root)] == [True]
    assert [begun.held for begun in unfinished_imports.list_unfinished(root)] == [False]


def test_an_import_whose_folder_is_removed_while_it_waits_makes_it_anew(root, monkeypatch):
    folder = root / ".import-name"
    folder.mkdir(parents=True)
    lock = take_lock(folder / "lock")

    def remove(_):
        shutil.rmtree(folder)
        lock.close()

    monkeypatch.setattr(unfinished_imports.time, "sleep", remove)
    with image_set_writer.SetWriter(root, "name", 8) as writer:
        assert (writer.folder / "journal.jsonl").exists()


def test_an_import_that_would_not_fit_is_refused_at_once(tmp_path, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**9, 0, image_set_writer.RESERVE + 100))
    with pytest.raises(DiskFull, match="Make room and import again"):
        import_path(classes(tmp_path / "own"), root=root)


def test_an_import_stops_before_the_disk_is_full_and_goes_on_later(root, monkeypatch):
    monkeypatch.setattr(image_set_writer, "CHECKPOINT_S", 0.0)
    frees = iter([10**12] * 30 + [image_set_writer.RESERVE - 1] * 999)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, next(frees)))
        with pytest.raises(DiskFull, match="MB free"):
            import_set(Memory(images(100)), "own", root)
    assert all_sets(root) == []
    source = Memory(images(100))
    monkeypatch.setattr(importing, "fitting_side", lambda *_: 24)
    assert len(read_index(import_set(source, "own", root))) == 100
    assert len(source.opened) <= 75


def test_text_boxes_splits_and_folds_reach_the_index(tmp_path, root):
    table = 'file,label,split,fold,box,text,parent\na.png,x,train,1,"0,0,5,5",an a,p\na.png,x,test,,"9,9,20,20",,p\n'
    own = tree(tmp_path / "own", {"t.csv": table.encode(), "a.png": image_bytes()})
    index = read_index(import_path(own / "t.csv", root=root))
    assert index["split"].tolist() == ["train", "test"]
    assert index["fold"].tolist() == [1, pd.NA]
    assert index["text"].isna().tolist() == [False, True]
    assert index["width"].tolist() == [24, 24]


@pytest.mark.parametrize(("what", "why"), [("crash", "ended the decoder"), ("garbage", "makes no sense")])
def test_an_image_that_breaks_its_decoder_is_left_out_alone_and_in_order(root, stub, what, why):
    made = images(80)
    odd = [3, 40, 41, 79]
    for number in odd:
        name = list(made)[number]
        made[name] += what.encode()
    folder = import_set(Memory(made), "own", root)
    assert read_index(folder).file.tolist() == [name for n, name in enumerate(made) if n not in odd]
    left = read_left_out(folder)
    assert left.file.tolist() == [list(made)[number] for number in odd]
    assert left.reason.str.contains(why).all()


def test_a_cancel_ends_an_import_whose_decoders_hang(root, stub, monkeypatch):
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(importing, "fitting_side", lambda *_: 24)
    made = images(100)
    made[list(made)[60]] += b"hang"
    done = []
    with pytest.raises(ImportStopped):
        import_set(Memory(made), "own", root, progress=lambda *word: done.append(word[0]), cancelled=lambda: 30 in done)


def test_pixel_bombs_are_left_out_and_the_rest_is_taken(root):
    wide = image_bytes(Image.new("1", (25_000, 25_000)))
    assert len(wide) < 1_000_000
    bombs = {"c0/bomb.png": wide, "c0/claim.png": png_of_size(200_000, 200_000), "c0/torn.png": wide[:2000]}
    folder = import_set(Memory(images(10) | bombs), "own", root)
    assert len(read_index(folder)) == 10
    assert set(read_left_out(folder).file) == set(bombs)


def test_damaged_exif_is_told_also_after_a_stop(root, monkeypatch):
    monkeypatch.setattr(importing, "fitting_side", lambda *_: 24)
    made = images(100)
    for number in (0, 70):
        made[list(made)[number]] = image_bytes(picture(number), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 40)
    with monkeypatch.context() as patch:
        patch.setattr(importing, "TELL_EVERY_S", 0.0)
        done = []
        with pytest.raises(ImportStopped):
            import_set(Memory(made), "own", root, progress=lambda *w: done.append(w[0]), cancelled=lambda: 50 in done)
    notes = facts_of(import_set(Memory(made), "own", root))["notes"]
    assert notes == ["2 images have damaged EXIF and are taken as they lie."]


def test_importing_where_no_decoder_can_be_started_says_so(root, monkeypatch):
    monkeypatch.setattr(importing, "Decoders", lambda: Decoders(command=["/no/such/program"]))
    with pytest.raises(ValueError, match="no process that decodes images can be started"):
        import_set(Memory(images(3)), "own", root)


def test_a_source_of_another_kind_can_be_named(tmp_path):
    own = classes(tmp_path / "own")
    assert isinstance(source_for(own, "image_folder", level=1)[1], ImageFolder)
    with pytest.raises(ValueError, match="Did you mean 'level'"):
        source_for(own, "image_folder", levle=1)
    with pytest.raises(ValueError, match="no data source"):
        source_for(own, "image_foldr")


def test_importing_brings_no_torch():
    code = "import sys, mlcore.commands.data, mlcore.data.sources; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_import_of_the_same_images_keeps_its_own_record_and_shares_their_pixels(tmp_path, root):
    made = images(6)
    one = import_set(Memory(made, [SkippedEntry("x.txt", "It is a text.")]), "first", root, made_from={"path": "/a"})
    two = import_set(Memory(made, [SkippedEntry("y.gif", "It is a film.")]), "second", root, made_from={"path": "/b"})
    first, second = read_facts(one), read_facts(two)
    assert (first.title, second.title) == ("first", "second")
    assert first.fingerprint == second.fingerprint
    assert first.id == one.name != second.id == two.name
    assert read_left_out(one).file.tolist() == ["x.txt"]
    assert read_left_out(two).file.tolist() == ["y.gif"]
    assert f"The same images as 'first' ({first.id})" in second.notes[0]
    assert not any("The same images" in note for note in first.notes)
    assert os.path.samefile(one / "pixels.npy", two / "pixels.npy")
    delete_set(first.id, root)
    assert len(open_set(second.id, root)) == 6


def test_an_import_done_again_tells_what_is_left_out_now(tmp_path, root):
    own = classes(tmp_path / "own")
    (own / "c0" / "bad.png").write_bytes(b"no image")
    first = import_path(own, root=root)
    assert read_facts(first).counts["left_out"] == 1
    (own / "c0" / "bad.png").unlink()
    assert import_path(own, root=root) == first
    assert read_facts(first).counts["left_out"] == 0
    assert read_left_out(first).empty


def test_an_import_that_dies_after_its_pixels_were_shared_leaves_the_other_set_whole(root, monkeypatch):
    made = images(6)
    one = import_set(Memory(made), "first", root)
    before = snapshot(one)
    with monkeypatch.context() as patch:
        patch.setattr(image_set_writer.os, "rename", lambda *_: (_ for _ in ()).throw(OSError("pulled out")))
        with pytest.raises(OSError, match="pulled out"):
            import_set(Memory(made), "second", root)
    assert len(read_index(import_set(Memory(made), "second", root))) == 6
    assert snapshot(one) == before


def test_pictures_of_one_colour_are_counted_and_their_rows_kept(root):
    made = images(4)
    names = list(made)
    for name in (names[1], names[3]):
        made[name] = image_bytes(Image.new("RGB", (24, 24), "white"))
    facts = read_facts(import_set(Memory(made), "own", root))
    assert facts.one_colour == [1, 3]
    assert "2 images came out of one colour all over: there is nothing in them to learn from." in facts.notes


def test_a_box_beyond_its_image_does_not_set_the_side(tmp_path, root):
    own = tree(tmp_path / "own", {f"{n}.png": image_bytes(picture(n, (40, 40))) for n in range(3)})
    rows = ['0.png,a,"0,0,9999,9999"', '1.png,b,"0,0,30,30"', '2.png,b,"100,100,200,200"']
    (own / "t.csv").write_text("file,label,box\n" + "\n".join(rows) + "\n")
    folder = import_path(own / "t.csv", root=root)
    assert read_facts(folder).side == 40
    assert "outside of the image" in read_left_out(folder).reason[0]
    assert any("1 image has a box that goes beyond it" in note for note in read_facts(folder).notes)


def test_how_a_source_was_read_is_told_before_and_in_the_notes(tmp_path, root):
    names = [f"{side}/{label}/{n}.png" for side in ("train", "test") for label in "ab" for n in range(2)]
    own = tree(tmp_path / "own", {name: image_bytes(picture(n)) for n, name in enumerate(names)})
    told = []
    folder = import_path(own, root=root, listener=told.extend)
    assert told[0].otherwise == "--option official_split=false"
    assert told[0].text in read_facts(folder).notes
    table = open_set(folder.name, root)
    assert table.class_names == ("a", "b")
    assert sorted(set(table.splits)) == ["test", "train"]


def test_classes_are_numbered_naturally_and_sets_of_before_keep_their_order(tmp_path, root):
    own = tree(tmp_path / "own", {f"{n}.png": image_bytes(picture(n)) for n in range(4)})
    (own / "t.csv").write_text("file,label\n" + "".join(f"{n}.png,{c}\n" for n, c in enumerate((11, 2, 10, 1))))
    folder = import_path(own / "t.csv", root=root)
    table = open_set(folder.name, root)
    assert table.class_names == ("1", "2", "10", "11")
    assert table.labels.tolist() == [3, 1, 2, 0]
    record = read_json(folder / "set.json")
    before = {**record, "fingerprint": compute_fingerprint(folder)}
    del before["class_order"], before["one_colour"]
    replace_json(folder / "set.json", before)
    read_set.cache_clear()
    assert open_set(folder.name, root).class_names == ("11", "2", "10", "1")
