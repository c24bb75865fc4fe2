"""The left side of the Lab: choose data, backbone and loss, turn their knobs. Nothing here starts anything."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import streamlit as st

from app.lab.compare_losses import others_choice
from app.lab.step_preview import step_preview_button
from app.lab.teacher_form import teacher_form
from app.lab.timm_picker import CHOSEN_BEFORE, timm_choice
from app.shared.controls import (
    choice_setting,
    is_open,
    knob_label,
    knob_widget,
    lazy_expander,
    list_setting,
    number_setting,
    optional_number_setting,
    optional_part,
    part_choice,
    part_knobs,
    switch_setting,
)
from app.shared.data_split import HELD_OUT_HELP, SEED_HELP, SHARE_HELP, show_split, split_choice, split_ways
from app.shared.draft import LESSON, WIDGET, Draft, default_settings
from app.shared.lessons import LESSONS, Lesson, find_lesson
from app.shared.setting_search import is_searching, is_wanted, search_settings, setting_note
from app.shared.stored_widgets import NumberLook, stored_selectbox, value_widget
from app.shared.text import count, escape_markdown, look_up_words
from app.shared.view import view_run
from app.widgets.tiles import Row, Tile, atlas_carrier, image_tiles
from mlcore.catalogue import registry
from mlcore.data import ImageTable, load
from mlcore.data.thumbnails import Atlas, draw_atlas
from mlcore.declare import Param, PartSpec, Registry
from mlcore.spec.compatibility import fitting_keys, takes_shares
from mlcore.spec.data_split import build_split, count_classes_to_generalise
from mlcore.spec.defaults import VECTORS, learns_proxies
from mlcore.spec.learning_rates import base_rates, rate_scale
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import DataChoice
from mlcore.traits import BackboneTrait, MethodTrait

STRIP = 6
SIZES = (2, 3, 16, 32, 64, 128, 256, 512)
LENGTH_TO_BEGIN_WITH = 100  # steps


def draft_form(draft: Draft) -> None:
    """What is chosen first; everything else stands behind one fold, where it can be searched."""
    lesson_choice(draft)
    table = data_choice(draft)
    split_words = st.container()
    backbone_choice(draft)
    loss_choice(draft)
    leave_out_what_does_not_fit(draft)
    length_choice(draft)
    lazy_expander("All settings", all_settings, draft)
    if table is not None:
        with split_words:  # last, since the share is among all settings
            show_split(split_choice(table.key, draft.settings), table)


def all_settings(draft: Draft) -> None:
    groups: dict[str, Callable[[Draft], None]] = {
        "Held-out part": split_details,
        "Head" if draft.get("backbone") == VECTORS else "Backbone and head": backbone_form,
        "Loss, distance, regularisers, memory": loss_parts,
        "Miner, sampler, method": batch_choice,
        "Teacher": teacher_form,
        "Optimiser, seed": optimizer_choice,
    }
    words = st.text_input("Find a setting", key=SEARCH, placeholder="Name, or what it does", icon=":material/search:")
    if not words.strip():
        for title, draw in groups.items():
            lazy_expander(title, draw, draft)
        return
    with search_settings(words) as search:
        for draw in groups.values():
            draw(draft)
    above = [label for label, text in first_settings(draft).items() if search.matches(label, [text])]
    if above:
        st.caption(f"Above, among the first settings: {', '.join(above)}.")
    if not search.found:
        st.caption(
            f"No setting of these parts matches “{escape_markdown(words, 60)}”. Other losses, miners and methods have "
            "settings of their own: choose one first."
        )


SEARCH = "lab.setting_search"


def first_settings(draft: Draft) -> dict[str, str]:
    """What stands above all settings, by its label, and what is said of it."""
    loss = registry("losses")[draft.get("loss")]
    knobs = {param.title: param.knob.text for param in loss.params if f"loss.{param.name}" in first_knobs(loss)}
    return {
        "Data": "images data set",
        "Held out": HELD_OUT_HELP,
        "Backbone": "network model architecture",
        "Loss": "loss function",
        **knobs,
        "Compare with": "other losses",
        "Length (steps)": "steps epochs iterations budget",
    }


def leave_out_what_does_not_fit(draft: Draft) -> None:
    """Parts that do not go with the loss, and the mixing of images where the loss or the method takes none."""
    for section in OPTIONAL_PARTS:
        if draft.get(section) is not None and draft.get(section) not in fitting_keys(section, draft.get("loss")):
            draft.choose(section, None)
    if not can_mix_images(draft):
        draft.set("mix.kind", "none")


OPTIONAL_PARTS = {
    "distance": ("Distance", "The loss's own", "How alike two embeddings are. Only what fits the loss is offered."),
    "reducer": ("Reducer", "The loss's own", "How one number is made of many."),
    "embedding_regularizer": ("Regulariser of embeddings", "None", "Added to the loss."),
    "weight_regularizer": ("Regulariser of proxies", "None", "Added to the loss."),
    "second_loss": ("Second loss", "None", "Added to the first. Both see the same tuples."),
    "wrapper": ("Memory", "None", "What the loss sees beside the batch. It goes with losses without proxies."),
    "subset_miner": ("Subset miner", "None", "Looks at a batch without gradient and trains on a part of it."),
}


def loss_parts(draft: Draft) -> None:
    """The loss's rarer knobs, and what goes with it, each left out unless chosen."""
    part = registry("losses")[draft.get("loss")]
    part_knobs(draft, "loss", part, without=first_knobs(part))
    for section in OPTIONAL_PARTS:
        if section != "subset_miner":
            optional_part_form(draft, section)


def optional_part_form(draft: Draft, section: str) -> None:
    label, without, help = OPTIONAL_PARTS[section]
    keys = fitting_keys(section, draft.get("loss"))
    own_only = section == "distance" and len(keys) == 1 and draft.get(section) is None
    optional_part(draft, section, label, without, [] if own_only else keys, help=help)


def can_mix_images(draft: Draft) -> bool:
    """Whether there are images that a backbone sees, and the loss and the method take shares of two classes."""
    if draft.get("backbone") == VECTORS or draft.get("backbone.freeze") == "everything":
        return False
    method = registry("methods")[draft.get("method")]
    return MethodTrait.CLASS_SHARES in method.traits and takes_shares(draft.get("loss"))


def batch_choice(draft: Draft) -> None:
    part_knobs(draft, "miner", part_choice(draft, "miner", "Miner", help="Which tuples of a batch the loss sees."))
    sampling = st.container()  # drawn above the method, made after it: what is usual follows the method
    method = part_choice(draft, "method", "Training method", help="What a step does with the batch and the loss.")
    with sampling:
        sampler_choice(draft)
    if method.key != RunSpec.model_fields["method"].default.key:
        setting_note(method.description.split("\n\n")[0])
    part_knobs(draft, "method", method)
    augment_choice(draft)
    if not is_searching():
        step_preview_button(draft)


def sampler_choice(draft: Draft) -> None:
    sampler = part_choice(draft, "sampler", "Sampler", help="How batches are put together.")
    part_knobs(draft, "sampler", sampler)
    number_setting(draft, "sampler.batch_size", "Batch size (images)", 2, 4096, step=4)
    optional_part_form(draft, "subset_miner")


def augment_choice(draft: Draft) -> None:
    """How images are moved, and where the loss and the method take images of two classes, how they are mixed."""
    if draft.get("backbone") == VECTORS:
        return
    augment = part_choice(draft, "augment", "Augmentation", help="How each image is rendered anew in every step.")
    if augment.key != "none":
        setting_note(augment.description.split("\n\n")[0])
    part_knobs(draft, "augment", augment)
    if not can_mix_images(draft):
        draft.set("mix.kind", "none")
        return
    kinds = {"none": "Nothing", "mixup": "Mixup", "cutmix": "Cutmix"}
    if choice_setting(draft, "mix.kind", "Mix images", kinds, help=MIX_HELP) != "none":
        number_setting(
            draft, "mix.alpha", "Alpha", 0.01, 10.0, help="Small: most images are left nearly alone. 1: any share."
        )


MIX_HELP = "Pairs of images made one, with the shares of both classes. Mixup adds them, cutmix puts a rectangle in."


def lesson_choice(draft: Draft) -> None:
    """A lesson's settings instead of the present ones."""
    titles = {"": "Begin with a lesson"} | {item.key: item.title for item in LESSONS}
    before = draft.get(LESSON) or ""
    chosen = stored_selectbox("lab.lesson", "Lesson", list(titles), before, words=look_up_words(titles))
    lesson = find_lesson(chosen)
    if lesson is not None and chosen != before:
        draft.replace(lesson.settings)
        view_run(None)  # the picture before training, of which the lesson asks what will become
    draft.set(LESSON, chosen or None)
    if lesson is not None:
        lesson_words(lesson)


def lesson_words(lesson: Lesson) -> None:
    st.caption(f"{lesson.text}  \n*{lesson.look}*")


@st.cache_resource(max_entries=4, show_spinner=False)
def dataset_strip(key: str) -> tuple[ImageTable, Atlas]:
    """A data set with an atlas of one image from each of a few classes."""
    table = load(key)
    firsts = [int(np.flatnonzero(table.labels == label)[0]) for label in range(min(STRIP, len(table.class_names)))]
    return table, draw_atlas(table.pixels[firsts], min(48, max(table.image_size)))


OWN_HELP = "Your own: python -m mlcore import FOLDER (a folder of images for each class, a zip, a table); then reload."


def data_choice(draft: Draft) -> ImageTable | None:
    """The data set; returns it, or None if it cannot be read, which is said."""
    if draft.part("dataset") is None:
        st.toast(
            f"The images “{escape_markdown(draft.get('dataset'), 60)}” are not here. "
            "Import them again, or choose others.",
            icon=":material/hide_image:",
            duration="long",
        )
        draft.choose("dataset", RunSpec.model_fields["dataset"].default.key)
    part = part_choice(draft, "dataset", "Data", help=OWN_HELP)
    part_knobs(draft, "dataset", part)
    try:
        table, pictures = dataset_strip(part.key)
    except (ValueError, OSError) as error:
        st.error(f"These images cannot be read: {escape_markdown(str(error), 300)}", icon=":material/broken_image:")
        return None
    atlas_carrier(pictures, key=f"lab.atlas.strip.{part.key}")
    tiles = tuple(Tile(place, place, "none", table.class_names[place]) for place in range(pictures.count))
    image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key="lab.strip", size=32)
    size = f"images, {len(table.class_names)} classes, {' × '.join(map(str, table.image_size))} px"
    if table.vectors is not None:
        size = f"vectors of {table.vectors.shape[1]:,} numbers, {len(table.class_names)} classes"
    st.caption(f"{len(table):,} {size}")
    split_form(draft, table)
    return table


def split_form(draft: Draft, table: ImageTable) -> None:
    """What is held out."""
    options = split_ways(table)
    if draft.get("dataset.split") not in options:
        draft.set("dataset.split", "class")
    choice_setting(draft, "dataset.split", "Held out", options, help=HELD_OUT_HELP)


def split_details(draft: Draft) -> None:
    """How much is held out, and which."""
    by, part = draft.get("dataset.split"), draft.part("dataset")
    if by == "official" or part is None:
        setting_note("The set's own split says what is held out.")
    elif by == "fold":
        folds = load(part.key).folds
        if folds is not None:
            number_setting(draft, "dataset.fold", "Fold that is held out", 0, int(folds.max()))
    else:
        number_setting(
            draft, "dataset.held_out", "Share held out", 0.05, 0.95, step=0.05, format="%.2f", help=SHARE_HELP
        )
        number_setting(draft, "dataset.split_seed", "Split seed", 0, 2**31 - 1, help=SEED_HELP)


def backbone_choice(draft: Draft) -> None:
    if draft.get("backbone") == VECTORS:
        st.caption("No backbone: these are feature vectors, and only a head trains on them.")
        return
    part_choice(draft, "backbone", "Backbone", without=(VECTORS,))
    timm_choice(draft)


def backbone_form(draft: Draft) -> None:
    if draft.get("backbone") == VECTORS:
        head_choice(draft)
        return
    part = registry("backbones")[draft.get("backbone")]
    part_knobs(draft, "backbone", part, without=CHOSEN_BEFORE)
    list_setting(
        draft,
        "backbone.freeze",
        "Freeze",
        {"nothing": "Nothing", "batch_norm": "Batch norm", "all_but_last": "All but last", "everything": "All"},
        help="All: only the head (and the loss's proxies) train; the backbone's features are computed once. All but "
        "last: all blocks but the last one. Batch norm: its statistics stay as loaded, which short fine-tuning needs.",
    )
    pooling_choice(draft, BackboneTrait.FEATURE_MAP in part.traits)
    head_choice(draft)


def head_start(draft: Draft) -> None:
    """Where a linear head begins; any other has a start of its own."""
    starts = {"components": "As the features' main directions", "random": "At random"}
    list_setting(draft, "head.start", "The head begins", starts, help=START_HELP)


HEADS = {"none": "None", "residual": "Residual", "linear": "Linear", "mlp": "MLP"}
HEAD_HELP = (
    "Residual: the features and what a linear layer adds to them, so that it begins as the features themselves. Linear "
    "and MLP: embeddings of the size that you choose. None: the features."
)
START_HELP = (
    "Main directions: the principal components of the training images' features, so that the first embeddings keep "
    "most of what the backbone knows. At random: much of it is lost first."
)


def head_choice(draft: Draft) -> None:
    """What makes embeddings of features."""
    head = choice_setting(draft, "head.kind", "Head", HEADS, help=HEAD_HELP)
    if head == "linear":
        head_start(draft)
    if head in ("linear", "mlp"):
        draft.set("head.embedding_size", embedding_size(draft.get("head.embedding_size")))
    lazy_expander("More of the head", head_details, draft)


def head_details(draft: Draft) -> None:
    norms = {"none": "None", "batch": "Batch", "layer": "Layer"}
    choice_setting(draft, "head.norm", "Norm", norms, help="After the linear layer, before an activation.")
    number_setting(draft, "head.dropout", "Dropout", 0.0, 0.9, step=0.1, help="Before the last layer.")
    switch_setting(draft, "head.normalize", "Embeddings at length 1", help="For losses that look at lengths.")


def embedding_size(size: int) -> int:
    """One of the usual sizes, or the one that is set."""
    help = "2 and 3 can be drawn as they are, without projection."

    if not is_wanted("Embedding size", "head.embedding_size", help):
        return size

    def draw(start: int, key: str) -> int:
        return st.select_slider("Embedding size", sorted({*SIZES, size, start}), start, key=key, help=help)

    return value_widget(draw, f"{WIDGET}head.embedding_size", size)


def pooling_choice(draft: Draft, has_map: bool) -> None:
    """What makes a vector of the backbone's last map, where it has one."""
    if not has_map:
        return
    poolings = {
        "own": "The backbone's own",
        "avg": "Average",
        "max": "Largest value",
        "avg_max": "Average and largest",
        "gem": "Generalised mean (GeM), learned",
    }
    list_setting(
        draft, "backbone.pooling", "Pooling", poolings, help="How features are made of the backbone's last map."
    )


def optimizer_details(draft: Draft) -> None:
    number_setting(
        draft,
        "optimizer.accumulate",
        "Batches per step",
        1,
        1024,
        help="Their gradients are added up. Pairs and triplets are found within each batch only.",
    )
    optional_number_setting(
        draft,
        "optimizer.clip_norm",
        "Clip gradients",
        1e-3,
        1e6,
        1.0,
        help="Gradients that are longer are shortened to this.",
        format="%.2g",
        step=None,
    )
    optional_number_setting(
        draft,
        "optimizer.ema",
        "Average the weights (EMA)",
        0.5,
        0.99999,
        0.99,
        help="A moving average of the weights is what is evaluated. The nearer to 1, the longer it remembers.",
        format="%.5g",
        step=None,
    )
    precisions = {"fp32": "Full", "auto": "Mixed where it is fast", "bf16": "Mixed, bfloat16", "fp16": "Mixed, float16"}
    list_setting(
        draft, "precision", "Precision", precisions, help="Mixed: the network in half precision, the loss in full."
    )


SCALINGS = {"classes": "On", "none": "Off"}
SCALING_HELP = (
    "A pretrained network forgets what few classes do not ask for. On: where there are few training classes, the rates "
    "of the backbone, and of a head that begins at its features, are lowered: the whole run moves them no further than "
    "C³/1000 steps at the full rate would, with C classes. Where every class is trained on, nothing is lowered."
)


def show_scaled_rates(draft: Draft) -> None:
    """The rates that the draft's classes leave, where they are lower than those that are set."""
    if draft.get("optimizer.lr_scaling") == "none":
        return
    try:
        spec = draft.spec()
        classes = classes_to_generalise(spec.dataset)
    except (ValueError, OSError):
        return  # said where the fault lies
    scale = rate_scale(spec.optimizer, classes, spec.budget.steps)
    if scale == 1.0:
        why = "Every class is trained on" if classes is None else f"{classes} training classes"
        setting_note(f"{why}: the rates stay as they are set.")
        return
    rates = base_rates(spec.optimizer, spec.head, classes, spec.budget.steps)
    named = {"backbone": spec.backbone.freeze != "everything", "head": spec.head.kind != "none"}
    said = " and ".join(f"{rates[name]:.2g} ({name})" for name, trains in named.items() if trains)
    setting_note(
        f"With {classes} training classes in {count(spec.budget.steps, 'step')}: {said}, the same for all losses."
    )


@st.cache_data(max_entries=64, show_spinner=False)
def classes_to_generalise(choice: DataChoice) -> int | None:
    """How many classes a choice of data trains on, None where no others are held out."""
    table = load(choice.key, **choice.params)
    return count_classes_to_generalise(table, build_split(choice, table))


MOST_FIRST_KNOBS = 3


def first_knobs(part: PartSpec) -> tuple[str, ...]:
    """The names of the loss's knobs that stand beside it; the others are among all settings."""
    return tuple(f"loss.{param.name}" for param in part.params if not param.knob.rare)[:MOST_FIRST_KNOBS]


def loss_choice(draft: Draft) -> None:
    part = part_choice(draft, "loss", "Loss")
    first = first_knobs(part)
    part_knobs(
        draft,
        "loss",
        part,
        without=tuple(f"loss.{param.name}" for param in part.params if f"loss.{param.name}" not in first),
    )
    others_choice(draft)
    box = st.popover("Formula and paper", icon=":material/function:", width="stretch", key=PAPER, on_change="rerun")
    if is_open(box):
        with box:
            formula_and_paper(part)


def formula_and_paper(part: PartSpec) -> None:
    st.markdown(part.description.split("\n\n")[0])
    st.latex(part.formula)
    st.caption(part.paper)
    st.page_link(PAGES_LOSSES, label="See what it does", icon=":material/functions:", query_params={"loss": part.key})


PAPER = "lab.fold.paper"
PAGES_LOSSES = "../pages/losses.py"


def part_titles(room: Registry) -> dict[str, str]:
    """What each part of a room is called, by its key."""
    return {spec.key: spec.title for spec in room.values()}


def part_summaries(room: Registry) -> str:
    """A line for each part of a room: what it does, and what to expect."""
    texts = {spec.title: spec.description.split("\n\n") for spec in room.values()}
    lines = {title: f"{text[0]} {text[-1].removeprefix('What to expect: ')}" for title, text in texts.items()}
    return "\n".join(f"- **{title}**: {' '.join(line.split())}" for title, line in lines.items())


def schedule_knob(draft: Draft, param: Param) -> None:
    """A widget for one of the chosen schedule's knobs, which is a setting of the optimizer."""
    name, knob = f"optimizer.{param.name}", param.knob
    if knob.none:
        low, high = (int(bound) for bound in (knob.low, knob.high) if bound is not None)
        label = f"Choose the {knob_label(param, None).lower()}"
        optional_number_setting(
            draft, name, label, low, high, LENGTH_TO_BEGIN_WITH, help=f"{knob.text} Off: {knob.none}."
        )
        return
    draft.set(name, knob_widget(param, draft.get(name), f"{WIDGET}{name}"))


def length_choice(draft: Draft) -> None:
    number_setting(draft, "budget.steps", "Length (steps)", 1, 100_000, step=20)


def optimizer_choice(draft: Draft) -> None:
    number_setting(draft, "seed", "Seed", 0, 2**31 - 1, help="Of weights, batches and augmentation.")
    optimizers = registry("optimizers")
    list_setting(draft, "optimizer.name", "Optimiser", part_titles(optimizers), help=part_summaries(optimizers))

    def rates(name: str) -> NumberLook:
        """One step is a power of ten below the usual value: .001 for .003."""
        usual = default_settings().get(name)
        return {
            "format": "%.2g",
            "step": 10.0 ** math.floor(math.log10(usual)) if isinstance(usual, float) and usual else 1e-3,
        }

    if draft.get("backbone.freeze") != "everything":
        number_setting(
            draft, "optimizer.backbone_lr", "Learning rate of the backbone", 0.0, 10.0, **rates("optimizer.backbone_lr")
        )
    if draft.get("head.kind") != "none":
        number_setting(draft, "optimizer.head_lr", "Learning rate of the head", 0.0, 10.0, **rates("optimizer.head_lr"))
    if learns_proxies(draft.get("loss")):
        number_setting(
            draft, "optimizer.proxies_lr", "Learning rate of the proxies", 0.0, 10.0, **rates("optimizer.proxies_lr")
        )
    choice_setting(draft, "optimizer.lr_scaling", "Fewer classes, smaller steps", SCALINGS, help=SCALING_HELP)
    show_scaled_rates(draft)
    schedules = registry("schedules")
    schedule = choice_setting(
        draft, "optimizer.schedule", "Schedule", part_titles(schedules), help=part_summaries(schedules)
    )
    for param in schedules[schedule].params:
        schedule_knob(draft, param)
    number_setting(draft, "optimizer.warm_up_steps", "Warm-up (steps)", 0, 100_000)
    number_setting(draft, "optimizer.weight_decay", "Weight decay", 0.0, 10.0, **rates("optimizer.weight_decay"))
    lazy_expander("More of the optimiser", optimizer_details, draft)
    optional_number_setting(
        draft,
        "watch.evaluate_every",
        "Evaluate at fixed steps",
        1,
        100_000,
        20,
        help="On: every so many steps. Off: 10 to 20 times over the run, as the evaluator is free.",
    )
