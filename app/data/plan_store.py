"""The preparation that a person is making of a set: its steps, kept on the disk, and what they make of the set."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import streamlit as st

from mlcore.data.store import data_root
from mlcore.disk.atomic import make_folders, read_json, replace_json

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.data.prepare.statistics import Statistics
    from mlcore.data.prepare.steps import Effect

Step = dict[str, object]  # as a plan's file has it: the key of a step and its settings
StoredPlan = TypedDict("StoredPlan", {"steps": list[Step], "with": list[str], "apart": bool})
LATER = "data.undone"
CHANGING = threading.Lock()


@dataclass(frozen=True)
class Sources:
    """What is prepared: a set's id, and the sets merged into it; `apart`: classes of one name are not one."""

    ids: tuple[str, ...]
    apart: bool = False


@dataclass(frozen=True, eq=False)
class Now:
    """Where a preparation stands: its sets with their fingerprints, its steps as JSON, and the index after them."""

    set_id: str
    sources: Sources
    stamps: tuple[str, ...]
    plan: str
    index: pd.DataFrame


class PlanInMaking:
    """The plan of one set. Every change is written at once, so that a closed tab loses nothing.

    A change counts for the plan as it was shown: if another tab changed it since, that is told and nothing is written.
    """

    def __init__(self, set_id: str) -> None:
        self.set_id = set_id
        self.path = data_root() / ".plans" / f"{set_id}.json"
        self.record = self.stored()

    def stored(self) -> StoredPlan:
        record = read_json(self.path)
        found = record if isinstance(record, dict) else {}
        return {"steps": found.get("steps", []), "with": found.get("with", []), "apart": found.get("apart", False)}

    @property
    def steps(self) -> list[Step]:
        return self.record["steps"]

    @property
    def sources(self) -> Sources:
        there = {folder.name for folder in data_root().glob("set-*")}
        return Sources((self.set_id, *(other for other in self.record["with"] if other in there)), self.record["apart"])

    @property
    def later(self) -> list[Step]:
        """Steps that were undone, the last undone first."""
        return st.session_state.setdefault(f"{LATER}.{self.set_id}", [])

    def add(self, step: Step) -> None:
        if self.take_steps([*self.steps, step]):
            self.later.clear()

    def undo(self) -> None:
        if self.steps:
            *rest, last = self.steps
            if self.take_steps(rest):
                self.later.append(last)

    def redo(self) -> None:
        if self.later and self.take_steps([*self.steps, self.later[-1]]):
            self.later.pop()

    def clear(self) -> None:
        """All steps undone; they can be done again one by one."""
        steps = self.steps
        if self.take_steps([]):
            self.later.extend(reversed(steps))

    def merge_with(self, others: list[str]) -> None:
        self.write({**self.record, "with": others})

    def keep_apart(self, apart: bool) -> None:
        self.write({**self.record, "apart": apart})

    def take_steps(self, steps: list[Step]) -> bool:
        return self.write({**self.record, "steps": steps})

    def write(self, record: StoredPlan) -> bool:
        """Write the plan as it is now; whether it was still the one that was shown."""
        with CHANGING:
            if self.stored() != self.record:
                st.toast("This plan was changed in another tab. Look at it, and do it again.", icon=":material/info:")
                return False
            self.record = json.loads(json.dumps(record))
            make_folders(self.path.parent)
            replace_json(self.path, self.record)
            return True


def forget_plan(set_id: str) -> None:
    (data_root() / ".plans" / f"{set_id}.json").unlink(missing_ok=True)


@st.cache_resource(max_entries=4, show_spinner="Reading the table of images …")
def read_index(sources: Sources, stamps: tuple[str, ...]) -> pd.DataFrame:
    """The index that the steps start from; `row` (and with several sets `set`) say which image of which set."""
    from mlcore.data.prepare import merge, read_index

    sets = {set_id: read_index(set_folder(set_id)) for set_id in sources.ids}
    if len(sets) == 1:
        return next(iter(sets.values()))
    return merge(sets, same_labels="apart" if sources.apart else "join")


@st.cache_resource(max_entries=24, show_spinner="Looking at what the steps make of it …")
def prepare_index(sources: Sources, stamps: tuple[str, ...], plan_json: str) -> tuple[pd.DataFrame, list[Effect]]:
    """The index after the steps, and each step's effect. Raises: ValueError naming the step that cannot be done."""
    from mlcore.data.prepare import Plan

    index = read_index(sources, stamps)
    return Plan.from_text(plan_json).apply(index)


@st.cache_resource(max_entries=8, show_spinner="Comparing every image with every other …")
def near_duplicate_table(
    sources: Sources, stamps: tuple[str, ...], plan_json: str, distance: int
) -> tuple[pd.DataFrame, bool]:
    """The near-duplicates that are there after the steps, as a table to look at, and whether those are all."""
    from mlcore.data.prepare import near_duplicates

    index, _ = prepare_index(sources, stamps, plan_json)
    found = near_duplicates(index, distance, limit=MOST_PAIRS)
    return found.shown(index), found.complete


MOST_PAIRS = 20_000


@st.cache_resource(max_entries=8, show_spinner=False)
def plan_statistics(sources: Sources, stamps: tuple[str, ...], plan_json: str) -> Statistics:
    from mlcore.data.prepare import compute_statistics

    return compute_statistics(prepare_index(sources, stamps, plan_json)[0])


def set_folder(set_id: str) -> Path:
    return data_root() / set_id
