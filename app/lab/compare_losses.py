"""Several losses at once: the same data, backbone, seed and length, a run for each, side by side afterwards."""

from __future__ import annotations

import streamlit as st

from app.shared.draft import OTHERS, Draft
from app.shared.stored_widgets import stored_multiselect
from app.shared.text import count, escape_markdown
from mlcore.catalogue import registry
from mlcore.runs.status import Label
from mlcore.spec.run_spec import RunSpec

MOST = 9
USUAL_FIVE = ("arcface", "proxy_anchor", "multi_similarity", "triplet_margin", "supcon")


def others_choice(draft: Draft) -> None:
    """Which other losses are to run beside the chosen one."""
    room = registry("losses")
    keys = sorted((key for key in room if key != draft.get("loss")), key=lambda key: room[key].title.lower())
    kept = [key for key in draft.get(OTHERS) or [] if key in keys]
    chosen = stored_multiselect(
        "lab.others",
        "Compare with",
        keys,
        kept,
        words=lambda key: room[key].title,
        max_selections=MOST,
        placeholder="Other losses",
        help="A run for each: same data, backbone, head, seed and length. What goes with a loss (its knobs, its way to "
        "make batches) is as usual for it.",
    )
    draft.set(OTHERS, chosen)


def specs_to_compare(draft: Draft, spec: RunSpec) -> tuple[list[RunSpec], list[str]]:
    """The run of the draft and one for each other loss; and why a loss cannot run with these settings."""
    specs, faults = [spec], []
    for key in draft.get(OTHERS) or []:
        try:
            specs.append(spec.changed({"loss": key}))
        except ValueError as error:
            faults.append(f"{registry('losses')[key].title}: {error}")
    return specs, faults


def group_words(label: Label) -> None:
    """Where the runs that were started together with the shown one stand side by side."""
    if together := label.started_together:
        words = f"{escape_markdown(together.split(',')[0])} side by side"
        query = {"runs.filter": together}
        st.page_link("../pages/runs.py", label=words, icon=":material/table_rows:", query_params=query)


def faults_words(faults: list[str]) -> None:
    if faults:
        several = "cannot run" if len(faults) == 1 else "cannot run with these settings"
        st.warning(
            f"{count(len(faults), 'loss', 'losses')} {several}: "
            + "  \n".join(escape_markdown(fault, 300) for fault in faults),
            icon=":material/info:",
        )
