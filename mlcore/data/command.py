"""`python -m mlcore import` and `data`: an import with its progress, and the sets that there are."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlcore.data.features import Kept, all_kept, features_root, remove_kept
from mlcore.data.importing import Progress, import_path
from mlcore.data.progress import ProgressLines
from mlcore.data.store import SetFacts, all_sets, data_root, delete_set, find_set, read_left_out, rename_set

REASONS = 10
NAMES = 100


def import_images(options: argparse.Namespace, knobs: dict[str, Any]) -> int:
    """Import and tell what came of it; 130 after Ctrl-C."""
    chosen = {"source": options.source, "title": options.title, "side": options.side, "fit": options.fit}
    try:
        seen = ProgressLines() if options.progress else None
        folder = import_with_bar(options.path, quiet=options.json, seen=seen, knobs=knobs, **chosen)
    except KeyboardInterrupt:
        print("mlcore: stopped. What was read is kept; the same command goes on.", file=sys.stderr)
        return 130
    facts = find_set(folder.name)
    left = read_left_out(folder)
    if options.json:
        print(json.dumps(record(facts) | {"left_out": left.head(NAMES).to_dict("records")}, ensure_ascii=False))
    else:
        print("\n".join([*in_words(facts), *left_in_words(left)]))
    return 0


def import_with_bar(path: str | Path, *, quiet: bool = False, seen: Progress | None = None, **how: Any) -> Path:
    """`import_path` with a progress bar on a terminal, or telling `seen`."""
    if seen is not None:
        return import_path(path, progress=seen, **how)
    with tqdm(unit=" images", disable=quiet or not sys.stderr.isatty(), desc=f"Listing {Path(path).name}") as bar:

        def show(done: int, total: int | None, seconds_left: float | None) -> None:
            if total is not None and bar.total is None:
                bar.reset(total)
                bar.set_description(f"Importing {Path(path).name}")
            bar.update(done - bar.n)

        return import_path(path, progress=show, **how)


def show_sets(options: argparse.Namespace) -> int:
    """One set or all of them; a title given or a set removed before."""
    if (options.rename or options.delete) and not options.set:
        raise ValueError("Name the set to rename or delete: python -m mlcore data SET --rename TITLE")
    renamed = rename_set(options.set, options.rename) if options.rename else None
    if options.delete:
        gone = delete_set(options.set)
        print(json.dumps({"deleted": gone.id}) if options.json else f"Deleted '{gone.title}' ({gone.id}).")
        return 0
    sets = [renamed or find_set(options.set)] if options.set else all_sets()
    if options.json:
        print(json.dumps([record(facts) for facts in sets], indent=2, ensure_ascii=False))
    elif not sets:
        print(f"No imported sets in {data_root()}. Import one: python -m mlcore import path/to/folder")
    elif options.set:
        print("\n".join([*in_words(sets[0]), *left_in_words(read_left_out(sets[0].folder))]))
    else:
        for facts in sets:
            print(
                f"{facts.id}  {facts.counts['images']:>7,} images  {facts.counts['classes']:>5,} classes  {facts.title}"
            )
    return 0


def show_features(options: argparse.Namespace) -> int:
    """The kept features of frozen backbones, the last used first; with `--delete` all are removed."""
    if options.set or options.rename:
        raise ValueError("Kept features have no titles: python -m mlcore data --features, or --features --delete")
    found = all_kept()
    if options.delete:
        for kept in found:
            remove_kept(kept.digest)
    if options.json:
        print(json.dumps([features_record(kept) | {"deleted": options.delete} for kept in found], ensure_ascii=False))
        return 0
    if not found:
        print(f"No kept features in {features_root()}. A run with backbone.freeze=everything makes some.")
    for kept in found:
        facts = features_record(kept)
        print(
            f"{facts['digest'][:12]}  {facts['bytes'] / 2**20:8.1f} MB  used {facts['used'][:16]}  "
            f"{facts['backbone'] or 'damaged'} on {facts['title'] or '?'}{', deleted' if options.delete else ''}"
        )
    return 0


def features_record(kept: Kept) -> dict[str, Any]:
    of = kept.record.get("of", {})
    return {
        "digest": kept.digest,
        "bytes": kept.bytes,
        "used": datetime.fromtimestamp(kept.used, UTC).isoformat(timespec="seconds"),
        "title": kept.record.get("title", ""),
        "shape": kept.record.get("shape"),
        **{name: of.get(name) for name in ("backbone", "params", "pooling", "table", "device")},
    }


def record(facts: SetFacts) -> dict[str, Any]:
    return asdict(facts) | {"folder": str(facts.folder)}


def in_words(facts: SetFacts) -> list[str]:
    counts = facts.counts
    size = f"vectors in {counts['classes']:,} classes" if facts.has_vectors else in_pixels(facts)
    return [
        f"{facts.title}: {counts['images']:,} {size}; {counts['left_out']:,} left out",
        *(f"  {note}" for note in facts.notes),
        f"  {facts.id}, in {facts.folder}",
        f"  Train on it: python -m mlcore train --dataset {facts.id}",
    ]


def in_pixels(facts: SetFacts) -> str:
    return f"images in {facts.counts['classes']:,} classes, {facts.side} px, {facts.mode}"


def left_in_words(left: Any) -> list[str]:
    """What was left out, the most frequent reasons first, each with its first file."""
    counts = Counter(left.reason)
    firsts = dict(zip(reversed(left.reason.tolist()), reversed(left.file.tolist()), strict=True))
    lines = [f"  left out {count:,}: {reason} ({firsts[reason]})" for reason, count in counts.most_common(REASONS)]
    if len(counts) > REASONS:
        lines.append(f"  and {len(counts) - REASONS} more reasons; all are in left_out.parquet")
    return lines
