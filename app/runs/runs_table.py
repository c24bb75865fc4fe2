"""All runs as one table; a row is read again only when its run's files have changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from app.shared.setting_words import differing_words
from app.shared.text import STATE_WORDS
from mlcore.catalogue import registry
from mlcore.data.store import SET_ID, all_sets, full_titles, own_title
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.folder import RunFolder, Runs, RunVersion
from mlcore.runs.records import SpecParts
from mlcore.runs.status import Status
from mlcore.runs.trash import time_left_words

SCORE = METRICS[PRIMARY].title
COLUMNS = ["id", "name", "state", "data", "backbone", "loss", SCORE, "change", "curve", "settings"]
COLUMNS += ["started", "seconds", "note"]
COLUMNS += ["together", "group", "no training"]  # for `filter_rows` and `with_no_training`; no page shows them
TRASH_COLUMNS = ["id", "name", "goes", SCORE, "loss", "backbone", "data", "note"]
SEARCHED = ["name", "data", "backbone", "loss", "settings", "note", "together"]
SETTINGS_GAP = " · "
NO_TRAINING = "no-training-"
DAMAGED = "spec.json is missing or damaged"


Row = dict[str, object]  # by COLUMNS


class RunsTable:
    """Rows by run id, with the version of the run that they were read from."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._rows: dict[str, tuple[RunVersion, Row | None]] = {}
        self._lock = threading.Lock()

    def rows(self) -> pd.DataFrame:
        """One row a run, the newest first; previews are left out."""
        with self._lock:
            ids = self.runs.ids()
            for gone in self._rows.keys() - set(ids):
                del self._rows[gone]
            found = [row for run_id in reversed(ids) if (row := self._row(run_id)) is not None]
        table = with_titles_of_sets(pd.DataFrame(found, columns=COLUMNS))
        numbers = {name: pd.to_numeric(table[name]) for name in (SCORE, "change", "no training")}
        return table.assign(**numbers, started=pd.to_datetime(table["started"], utc=True))

    def _row(self, run_id: str) -> Row | None:
        run = RunFolder(self.runs.root / run_id)
        version = run.version()
        known = self._rows.get(run_id)
        if known is None or not version.is_same(known[0]):
            known = (version, read_row(run))
            self._rows[run_id] = known
        return known[1]


def read_row(run: RunFolder) -> Row | None:
    """A run in one line; None for a preview. A damaged run has a row whose note says so."""
    if run.purpose == "preview":
        return None
    status = run.status()
    label = run.label()
    common = {
        "id": run.run_id,
        "state": STATE_WORDS[status.state][0],
        "note": label.note,
        "together": label.started_together,
        "seconds": status.seconds,
    }
    record = run.stored_record()
    if record is None:
        return dict.fromkeys(COLUMNS) | common | {"name": label.name or "damaged run", "note": DAMAGED, "curve": []}
    spec = record["spec"]
    data = spec["dataset"]["key"]
    loss = part_title("losses", spec["loss"]["key"])
    score, before = last_and_first_score(status)
    return common | {
        "name": label.name
        or spec.get("name")
        or f"{loss} on {data if data in registry('datasets') else own_title(data)}",
        "data": data if SET_ID.fullmatch(data) or data in registry("datasets") else own_title(data),
        "backbone": part_title("backbones", spec["backbone"]["key"]),
        "loss": loss,
        SCORE: score,
        "change": None if score is None or before is None else round(score - before, 3) + 0.0,  # never -0
        "curve": [point[1] for point in status.metrics.get("curve", [])],
        "settings": settings_of(run),
        "started": pd.to_datetime(status.started_utc or record["created_utc"], errors="coerce", utc=True),
        "group": comparison_group(spec),
        "no training": status.metrics.get("no_training", {}).get(PRIMARY),
    }


def settings_of(run: RunFolder) -> str:
    """What sets a run apart, in words; "" of one that this version cannot read."""
    try:
        return SETTINGS_GAP.join(differing_words(run.spec))
    except ValueError:
        return ""


def comparison_group(spec: SpecParts) -> str:
    """What runs share whose backbone gives the same features of the same held-out images."""
    data: Mapping[str, object] = spec["dataset"]
    backbone: Mapping[str, object] = spec["backbone"]
    held_out = {"official": (), "fold": ("fold",)}.get(str(data.get("split")), ("held_out", "split_seed"))
    shared: list[object] = [{name: data.get(name) for name in ("key", "params", "split", *held_out)}]
    shared += [backbone["key"], backbone.get("params"), backbone.get("pooling", "own")]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]


def with_no_training(table: pd.DataFrame) -> pd.DataFrame:
    """The runs, and below the newest of each data set, split and backbone what its features do without training.

    Such a row is no run: its id begins with NO_TRAINING. The figure is that of the newest run that has one.
    """
    known = table.dropna(subset=["group", "no training"]).drop_duplicates("group").set_index("group")["no training"]
    newest = table[table["group"].isin(known.index)].drop_duplicates("group")
    if newest.empty:
        return table
    score = newest["group"].map(known).astype(float)
    changed: dict[str, Any] = {
        "id": NO_TRAINING + newest["group"],
        "name": "No training · " + newest["backbone"],
        "state": "",
        "loss": None,
        "settings": "",
        SCORE: score,
        "change": None,
        "curve": [[value, value] for value in score],
        "started": newest["started"].where(newest["id"].isna()),
        "seconds": None,
        "note": "",
        "together": "",
    }
    rows = newest.assign(**changed)
    both = pd.concat([table, rows.set_axis(newest.index + 0.5).astype(table.dtypes)])
    return both.sort_index().reset_index(drop=True)


def with_titles_of_sets(table: pd.DataFrame) -> pd.DataFrame:
    """The column `data` with what imported sets are called now, no two the same."""
    titles = full_titles(all_sets())
    return table.assign(data=table["data"].map(lambda key: titles.get(key, key)))


def trash_rows(runs: Runs) -> pd.DataFrame:
    """The deleted runs that can still be restored, the last deleted first. `id` is the name in the trash."""
    found = []
    for trashed in runs.trash():
        row = read_row(trashed.run) or {"name": trashed.run.title()}
        found.append(row | {"id": trashed.name, "goes": time_left_words(trashed.seconds_left)})
    table = with_titles_of_sets(pd.DataFrame(found, columns=TRASH_COLUMNS))
    return table.assign(**{SCORE: pd.to_numeric(table[SCORE])})


def part_title(room: str, key: str) -> str:
    """A part's title; the key itself for a part that this version no longer has."""
    parts = registry(room)
    return parts[key].title if key in parts else key


def last_and_first_score(status: Status) -> tuple[float | None, float | None]:
    """The score on held-out images: the last, and the first."""
    curve = status.metrics.get("curve", [])
    return status.metrics.get("held_out", {}).get(PRIMARY), curve[0][1] if curve else None


def filter_rows(table: pd.DataFrame, text: str, states: list[str]) -> pd.DataFrame:
    """The rows that hold every typed word in their name, data, backbone, loss, settings, note or what they were started
    with, in one of the states."""
    kept = table[table["state"].isin(states)] if states else table
    texts = pd.Series(
        [" ".join(words).lower() for words in kept[SEARCHED].fillna("").to_numpy()], kept.index, dtype=str
    )
    for word in text.lower().split():
        texts = texts[texts.str.contains(word, regex=False)]
    return kept.loc[texts.index]


def without_shared_settings(table: pd.DataFrame) -> pd.DataFrame:
    """The column `settings` without what all runs of the table with the same data, backbone and loss share."""
    kinds = table.groupby(["data", "backbone", "loss"], dropna=False)["settings"]

    def own_words(texts: pd.Series) -> pd.Series:
        words = [text.split(SETTINGS_GAP) if text else [] for text in texts.fillna("")]
        runs = [set(each) for each in words if each]
        shared = set.intersection(*runs) if len(runs) > 1 else set()
        return pd.Series(
            [SETTINGS_GAP.join(word for word in each if word not in shared) for each in words], texts.index
        )

    return table.assign(settings=kinds.transform(own_words)) if len(table) else table


def state_counts(table: pd.DataFrame) -> Counter[str]:
    return Counter(table["state"])
