"""The settings of each step of a preparation, as widgets; a form gives the step as a plain record, or None."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from app.data.browse import pictures_at
from app.data.plan_store import Now, Step, near_duplicate_table, prepare_index
from app.shared.stored_widgets import act_button
from app.shared.text import count, look_up_words
from app.widgets.tiles import Frame, Row, Tile, atlas_carrier, image_tiles
from mlcore.data.natural_order import natural_key

if TYPE_CHECKING:
    import pandas as pd

PAIRS_A_PAGE = 6
PAIR_TILE = 112
DROP_TILE = 64
KINDS = {"within_class": "in one class", "across_classes": "across classes", "across_splits": "across the split"}
MOST_OF_A_CLASS = 200


class Form(NamedTuple):
    title: str
    words: str
    form: Callable[..., Step | None]


def optional_count(label: str, key: str, usual: int, *, unit: str, help: str | None = None) -> int | None:
    """A whole number that may be left empty."""
    value = st.number_input(
        f"{label} ({unit})", 1, 100_000, None, key=key, placeholder=f"any, such as {usual}", help=help
    )
    return None if value is None else int(value)


def seed_input(key: str) -> int:
    return int(st.number_input("Seed", 0, 2**31 - 1, 0, key=key, help="The same seed draws the same images."))


def split_form(now: Now) -> Step | None:
    left, right = st.columns(2)
    with left:
        smallest = optional_count("Shorter side at least", "data.sides.smallest", 32, unit="px")
    with right:
        largest = optional_count("Longer side at most", "data.sides.largest", 2000, unit="px")
    if smallest is None and largest is None:
        return None
    return {"step": "sides", "smallest": smallest, "largest": largest}


def class_size_form(now: Now) -> Step | None:
    left, right = st.columns(2)
    with left:
        fewest = optional_count("At least, of a class", "data.counts.fewest", 5, unit="images")
    with right:
        most = optional_count("At most, of a class", "data.counts.most", 100, unit="images")
    if fewest is None and most is None:
        return None
    under = True
    if most is not None:
        under = st.toggle(
            "Draw some of larger classes",
            True,
            key="data.counts.under",
            help="On: larger classes keep this many. Off: larger classes are left out.",
        )
    return {"step": "counts", "fewest": fewest, "most": most, "undersample": under}


def duplicates_form(now: Now) -> Step | None:
    """Pairs to keep or to drop: every image that would go has a cross, and a press keeps it."""
    left, right = st.columns(2)
    distance = left.slider(
        "Count as alike up to (bits of 64 that differ)",
        0,
        16,
        6,
        key="data.near.distance",
        help="Of the images' perceptual hashes. 0: the same picture. 6: resized, recompressed. 16: many false alarms.",
    )
    kinds = right.pills(
        "Pairs",
        list(KINDS),
        format_func=look_up_words(KINDS),
        selection_mode="multi",
        default=list(KINDS),
        key="data.near.kinds",
        help="Across the split: an image that is trained on and searched for flatters the result.",
    )
    if not kinds:
        st.caption("Choose which pairs to look at.")
        return None
    table, complete = near_duplicate_table(now.sources, now.stamps, now.plan, distance)
    table = table[table["kind"].isin(kinds)]
    if table.empty:
        st.success("No two images are so much alike.", icon=":material/check:")
        return None
    spare: set[str] = st.session_state.setdefault(f"data.spare.{now.set_id}", set())
    drop: set[str] = st.session_state.setdefault(f"data.drop.{now.set_id}", set())
    step = {"step": "duplicates", "distance": distance, "kinds": list(kinds), "two_names": "ask"}
    step |= {"spare": sorted(spare), "drop": sorted(drop)}
    dropped = files_dropped_by(now, step)
    told = f"{'' if complete else 'At least '}{count(len(table), 'pair')}; {count(len(dropped), 'image')} would go."
    st.caption(
        f"{told} A cross: it goes. A tick: it stays. Press an image to keep it, and again to let it go. "
        "Different things on one background can be alike too: look first."
    )
    two_names = table["first_label"] != table["second_label"]
    undecided = two_names & ~table["first_file"].isin(dropped) & ~table["second_file"].isin(dropped)
    if undecided.any():
        st.warning(
            f"{count(int(undecided.sum()), 'pair has', 'pairs have')} different class names: one may be wrong. "
            "Both images stay until you press the one that shall go.",
            icon=":material/help:",
        )
    show_pairs(table, now, dropped, spare, drop)
    if spare or drop:
        act_button(
            f"Forget what you chose of {count(len(spare | drop), 'image')}",
            key="data.near.forget",
            icon=":material/restart_alt:",
            on_click=forget_choices,
            args=(spare, drop),
        )
    return step if dropped else None


def forget_choices(*choices: set[str]) -> None:
    for chosen in choices:
        chosen.clear()


def files_dropped_by(now: Now, step: Step) -> set[str]:
    """The files that a step would leave out."""
    before, _ = prepare_index(now.sources, now.stamps, now.plan)
    after, _ = prepare_index(now.sources, now.stamps, json.dumps({"steps": [*json.loads(now.plan)["steps"], step]}))
    return set(before["file"]) - set(after["file"])


def show_pairs(table: pd.DataFrame, now: Now, dropped: set[str], spare: set[str], drop: set[str]) -> None:
    """Some of the pairs, each side by side; a press on an image changes whether the person keeps it, or lets it go."""
    pages = -(-len(table) // PAIRS_A_PAGE)
    page = st.pagination(pages, key=f"data.pairs.page.{pages}") if pages > 1 else 1
    shown = table.iloc[(page - 1) * PAIRS_A_PAGE : page * PAIRS_A_PAGE]
    files = [str(file) for pair in shown.itertuples() for file in (pair.first_file, pair.second_file)]
    pictures = pictures_at(find_rows(now, files), PAIR_TILE)
    atlas_carrier(pictures, key="data.pairs.atlas")
    for side, column in enumerate(st.columns(2)):
        rows = [pair_row(pair, 2 * at, dropped, spare) for at, pair in enumerate(shown.itertuples()) if at % 2 == side]
        with column:
            pressed = (
                image_tiles(
                    rows, atlas_key=pictures.key, key=f"data.pairs.{side}", size=PAIR_TILE, empty="No more pairs."
                )
                if rows
                else None
            )
        if pressed is not None:
            pair = shown.iloc[pressed // 2]
            chosen = spare if pair["first_label"] == pair["second_label"] else drop
            chosen.symmetric_difference_update({files[pressed]})
            st.rerun()


def pair_row(pair: Any, place: int, dropped: set[str], spare: set[str]) -> Row:
    def tile(number: int, file: str) -> Tile:
        fate = "goes" if file in dropped else "kept by you" if file in spare else "stays"
        undecided = not same and not {pair.first_file, pair.second_file} & dropped
        frame: Frame = "query" if undecided else "wrong" if file in dropped else "right"
        return Tile(number, number, frame, f"{file}: {'stays until you choose' if undecided else fate}")

    same = pair.first_label == pair.second_label
    labels = pair.first_label if same else f"{pair.first_label} and {pair.second_label}"
    note = f"{pair.distance} of 64 bits, {KINDS[pair.kind]}"
    return Row(labels, note, (tile(place, pair.first_file), tile(place + 1, pair.second_file)))


def find_rows(now: Now, files: list[str]) -> tuple[tuple[str, int], ...]:
    """Where images of an index lie: the id of the set, and the row there."""
    rows = now.index.drop_duplicates("file").set_index("file").loc[files]
    sets = rows["set"].tolist() if "set" in rows else [now.sources.ids[0]] * len(rows)
    return tuple(zip(sets, rows["row"].tolist(), strict=True))


def drop_form(now: Now) -> Step | None:
    """Images of one class after another; a press marks one."""
    marked: set[str] = st.session_state.setdefault(f"data.marked.{now.set_id}", set())
    marked &= set(now.index["file"])
    label = st.selectbox(
        "Class", sorted(now.index["label"].unique(), key=natural_key), key=f"data.drop.class.{now.set_id}"
    )
    rows = now.index[now.index["label"] == label].head(MOST_OF_A_CLASS)
    files = rows["file"].tolist()
    pictures = pictures_at(find_rows(now, files), DROP_TILE)
    atlas_carrier(pictures, key="data.drop.atlas")
    tiles = tuple(
        Tile(number, number, "wrong" if file in marked else "none", file) for number, file in enumerate(files)
    )
    pressed = image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key="data.drop", size=DROP_TILE)
    if pressed is not None:
        marked.symmetric_difference_update({files[pressed]})
        st.rerun()
    total = int((now.index["label"] == label).sum())
    if total > MOST_OF_A_CLASS:
        st.caption(f"The first {MOST_OF_A_CLASS} of {total:,}.")
    if not marked:
        st.caption("Press the images that should go.")
        return None
    return {"step": "drop", "files": sorted(marked)}


def split(now: Now) -> Step | None:
    official = bool((now.index["split"] != "").all())
    hows = {"split_classes": "Classes", "split_samples": "Images", "split_counts": "By images per class"}
    hows |= {"split_official": "The set's own split"} if official else {}
    how = st.segmented_control(
        "Hold out",
        list(hows),
        format_func=look_up_words(hows),
        default="split_classes",
        required=True,
        key="data.split.how",
        help="Classes: those searched are never trained on. Images: the same share of every class.",
    )
    if how == "split_official":
        return {"step": how}
    left, right = st.columns(2)
    if how == "split_counts":
        sizes = now.index["label"].value_counts()
        low = left.number_input(
            "Train on classes of at least (images)", 1, 10_000_000, int(sizes.median()), key="data.split.low"
        )
        high = right.number_input("and at most (images)", 1, 10_000_000, int(sizes.max()), key="data.split.high")
        return {"step": how, "low": int(low), "high": int(high)}
    usual = 0.5 if how == "split_classes" else 0.2
    share = left.slider("Share held out", 0.05, 0.95, usual, 0.05, key=f"data.split.{how}", format="%.2f")
    with right:
        return {"step": how, "held_out": share, "seed": seed_input("data.split.seed")}


def folds_form(now: Now) -> Step | None:
    left, middle, right = st.columns(3)
    number = left.number_input("Folds", 2, 1000, 5, key="data.folds.count")
    by = middle.segmented_control(
        "Deal out",
        ["sample", "class"],
        format_func=look_up_words({"sample": "Images", "class": "Classes"}),
        default="sample",
        required=True,
        key="data.folds.by",
        help="Images: each class's evenly over all folds. Classes: each whole class into one fold.",
    )
    with right:
        return {"step": "folds", "count": int(number), "by": by, "seed": seed_input("data.folds.seed")}


def query_gallery(now: Now) -> Step | None:
    if not (now.index["split"] != "").all():
        st.caption("Split first: queries are drawn from what is held out.")
        return None
    left, right = st.columns(2)
    queries = left.number_input("Queries of each class held out (images)", 1, 1000, 1, key="data.queries.count")
    with right:
        return {"step": "query_gallery", "queries": int(queries), "seed": seed_input("data.queries.seed")}


FORMS = {
    "duplicates": Form("Near-duplicates", "Pictures that are there twice, resized or saved again.", duplicates_form),
    "sides": Form("Image size", "Images that are too small to show anything, or far too large.", split_form),
    "counts": Form("Images per class", "Classes with too few images for a search, or far too many.", class_size_form),
    "drop": Form("Single images", "What does not belong there.", drop_form),
    "split": Form("Split", "Which images are trained on, and which are held out and searched.", split),
    "query_gallery": Form(
        "Query and gallery",
        "Which held-out images are searched for (queries), and which are searched (gallery).",
        query_gallery,
    ),
    "folds": Form("Folds", "Parts of equal size, each held out once.", folds_form),
}
