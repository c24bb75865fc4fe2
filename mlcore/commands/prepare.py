"""`python -m mlcore prepare`: options to a plan, its effects in words, and the prepared table."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pandas as pd

from mlcore.data.prepare.build_set import derive_set
from mlcore.data.prepare.duplicates import NearDuplicates, near_duplicates
from mlcore.data.prepare.index import read_index, write_index
from mlcore.data.prepare.merge import merge, shared_labels
from mlcore.data.prepare.plan import Plan
from mlcore.data.prepare.statistics import compute_statistics
from mlcore.data.prepare.steps import Effect
from mlcore.data.progress_lines import ProgressLines
from mlcore.data.store import find_set

SPLITS = "class:0.5, sample:0.2, counts:5-50, folds:5, class-folds:5 or official"
SHOWN = 10


def run_prepare(options: argparse.Namespace) -> int:
    """Read, say what is there, do the plan, say what it did, and write if asked to."""
    plan = read_plan(options)
    paths = resolve_set_paths(options.set)
    sets = {name: read_index(path) for name, path in paths.items()}
    index = next(iter(sets.values())) if len(sets) == 1 else merge(sets, same_labels=options.labels)
    done, effects = plan.apply(index)
    found = near_duplicates(done, options.distance) if options.duplicates == "report" and has_hashes(done) else None
    if options.out is not None:
        write_index(done, options.out)
    new = None
    if options.save is not None:
        seen = ProgressLines() if options.progress else None
        new = derive_set(done, resolve_set_folders(paths), options.save, plan=plan, progress=seen)
    if options.json:
        written = {
            "out": options.out and str(options.out),
            "set": new and new.name,
            "plan": plan.model_dump(mode="json"),
        }
        print(json.dumps(plain_record(index, done, effects, found) | written, ensure_ascii=False, allow_nan=False))
        return 0
    if len(sets) > 1:
        both = shared_labels(sets)
        joined = "joined" if options.labels == "join" else "kept apart"
        print(f"{len(sets)} sets merged; {len(both)} class names occur in more than one and are {joined}")
    print("\n".join(compute_statistics(index).lines()))
    for number, effect in enumerate(effects, 1):
        print(f"{number}. {effect.sentence()}")
    if effects:
        print("After that:")
        print("\n".join(f"  {line}" for line in compute_statistics(done).lines()))
    if found is not None:
        print("\n".join(duplicate_lines(found, done, options.distance)))
    elif options.duplicates == "report":
        print("Near-duplicates are not looked for: the table has no hashes.")
    if options.out is not None:
        print(f"Written: {options.out}")
    if new is not None:
        print(f"New set: {new.name}. Train on it: python -m mlcore train --dataset {new.name}{how_to_split(done)}")
    if options.out is None and new is None:
        print("Nothing is written; --out FILE writes the table, --save TITLE makes a set to train on.")
    return 0


def how_to_split(index: pd.DataFrame) -> str:
    """The option that makes a run keep to the splits or folds of an index, where it has them."""
    if (index["split"] != "").all():
        return " --set dataset.split=official"
    return " --set dataset.split=fold --set dataset.fold=0" if (index["fold"] >= 0).all() else ""


def resolve_set_paths(sets: list[str]) -> dict[str, Path]:
    """Each set's path by the name it is told by; what is no path is an imported set's id or title.

    Raises: ValueError if two have one name, or there is no such path and no such set.
    """
    paths = [Path(text) if os.path.exists(text) else found_set(text) for text in sets]
    stems = [path.parent if path.name == "index.parquet" else path for path in paths]
    names = [stem.stem if stem.suffix in (".csv", ".parquet") else stem.name for stem in stems]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"prepare: sets to merge need different names; two are called '{twice[0]}'. Rename one.")
    return dict(zip(names, paths, strict=True))


def found_set(text: str) -> Path:
    if text.endswith((".csv", ".parquet")) or "/" in text:
        raise ValueError(f"{text}: there must be a table or a set; there is nothing of that name.")
    return find_set(text).folder


def resolve_set_folders(paths: dict[str, Path]) -> dict[str, Path]:
    return {name: path.parent if path.name == "index.parquet" else path for name, path in paths.items()}


def read_plan(options: argparse.Namespace) -> Plan:
    """The plan in the file, and after it the steps that the options ask for."""
    steps: list[dict[str, object]] = []
    if options.plan is not None:
        try:
            steps += Plan.from_text(options.plan.read_text(encoding="utf-8")).model_dump()["steps"]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{options.plan} cannot be read: {error}") from None
    if options.min_side is not None or options.max_side is not None:
        steps.append({"step": "sides", "smallest": options.min_side, "largest": options.max_side})
    if options.duplicates == "drop":
        steps.append({"step": "duplicates", "distance": options.distance, "two_names": "ask"})
    if options.min_images is not None or options.max_images is not None:
        bounds = {"fewest": options.min_images, "most": options.max_images}
        steps.append({"step": "counts", **bounds, "seed": options.seed})
    steps += sorted(
        (split_step(text, options.seed) for text in options.split), key=lambda step: step["step"] == "folds"
    )
    if options.queries is not None:
        steps.append({"step": "query_gallery", "queries": options.queries, "seed": options.seed})
    return Plan.read({"steps": steps})


def split_step(text: str, seed: int) -> dict[str, object]:
    """'class:0.5' and its kin as a step; ValueError for anything else."""
    how, _, value = text.partition(":")
    try:
        if how == "class":
            return {"step": "split_classes", "held_out": float(value or 0.5), "seed": seed}
        if how == "sample":
            return {"step": "split_samples", "held_out": float(value or 0.2), "seed": seed}
        if how == "counts":
            low, high = value.split("-")
            return {"step": "split_counts", "low": int(low), "high": int(high)}
        if how in ("folds", "class-folds"):
            by = "sample" if how == "folds" else "class"
            return {"step": "folds", "count": int(value or 5), "by": by, "seed": seed}
        if text == "official":
            return {"step": "split_official"}
    except ValueError:
        pass
    raise ValueError(f"--split must be such as {SPLITS}; got '{text}'.")


def has_hashes(index: pd.DataFrame) -> bool:
    return bool((index["hash"] != "").any())


def duplicate_lines(found: NearDuplicates, index: pd.DataFrame, distance: int) -> list[str]:
    """How many near-duplicates there are, and the ones that matter most."""
    least = "" if found.complete else "at least "
    each = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in found.counts().items())
    said = [f"Near-duplicates within {distance} of 64 bits: {least}{len(found.pairs)} pairs ({each})"]
    shown = found.shown(index)
    for pair in shown.head(SHOWN).to_dict("records"):
        one, other = (f"{pair[f'{which}_file']} ({pair[f'{which}_label']})" for which in ("first", "second"))
        said.append(f"  {pair['kind'].replace('_', ' ')}, {pair['distance']} bits: {one} and {other}")
    if len(shown) > SHOWN:
        said.append(
            f"  and {len(shown) - SHOWN} more; --json lists them, --duplicates drop leaves one of each, "
            "and both where their classes differ"
        )
    return said


def plain_record(
    index: pd.DataFrame, done: pd.DataFrame, effects: list[Effect], found: NearDuplicates | None
) -> dict[str, object]:
    """What was found and done as plain data."""
    duplicates = None
    if found is not None:
        columns = ["kind", "distance", "first_file", "second_file", "first_label", "second_label"]
        pairs = found.shown(done)[columns].to_dict("records")
        duplicates = {"complete": found.complete, **found.counts(), "pairs": pairs}
    return {
        "before": compute_statistics(index).to_dict(),
        "steps": [effect.to_dict() | {"sentence": effect.sentence()} for effect in effects],
        "after": compute_statistics(done).to_dict(),
        "duplicates": duplicates,
    }
