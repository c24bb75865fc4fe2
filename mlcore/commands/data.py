"""`python -m mlcore import` and `data`: an import with its progress, and the sets that there are."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlcore.data.feature_cache import Kept, all_kept, features_root, remove_kept
from mlcore.data.import_preview import LookedAt, look_at_path
from mlcore.data.importing import Ahead, Progress, import_path
from mlcore.data.progress_lines import ProgressLines
from mlcore.data.sources import SOURCES, Reading
from mlcore.data.splits import official_split
from mlcore.data.store import (
    SetFacts,
    all_sets,
    data_root,
    delete_set,
    find_set,
    full_titles,
    read_index,
    read_left_out,
    rename_set,
)
from mlcore.data.unfinished_imports import UnfinishedImport, list_unfinished, remove_unfinished

REASONS = 10
NAMES = 100
UNANSWERED = 3  # an exit code


class UnansweredQuestion(ValueError):
    """Somebody has to say whether so many images are meant, and nobody is there to be asked."""


def import_images(options: argparse.Namespace, knobs: dict[str, Any]) -> int:
    """Import and tell what came of it; 130 after Ctrl-C, UNANSWERED where very many images need `--yes`."""
    chosen = {"source": options.source, "title": options.title, "side": options.side, "fit": options.fit}
    try:
        seen = ProgressLines() if options.progress else None
        ask = None if options.yes else ask_on_terminal
        folder = import_with_bar(options.path, quiet=options.json, seen=seen, knobs=knobs, ask=ask, **chosen)
    except UnansweredQuestion as question:
        told = json.dumps({"question": str(question)}) if options.progress else f"mlcore: {question} Then add --yes."
        print(told, file=sys.stderr)
        return UNANSWERED
    except KeyboardInterrupt:
        print("mlcore: stopped. What was read is kept; the same command goes on.", file=sys.stderr)
        return 130
    facts = find_set(folder.name)
    left = read_left_out(folder)
    if options.json:
        print(json.dumps(plain_record(facts) | {"left_out": left.head(NAMES).to_dict("records")}, ensure_ascii=False))
    else:
        print("\n".join([*in_words(facts), *left_in_words(left)]))
    return 0


def ask_on_terminal(ahead: Ahead) -> None:
    """Ask whether an import of very many images is meant.

    Raises: ValueError if it is not; Unanswered where there is no terminal to ask on.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UnansweredQuestion(f"{ahead.in_words()}. Is that what you mean?")
    print(f"\n{ahead.in_words()}. Import them all? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ValueError("not imported. What was read is kept; to remove it: python -m mlcore data --clean")


def tell_readings(readings: list[Reading]) -> None:
    """What a source made out by itself, before its images are read."""
    for reading in readings:
        print(f"mlcore: {reading.in_words()}", file=sys.stderr)


def look_before_import(options: argparse.Namespace, knobs: dict[str, Any]) -> int:
    """What an import of a path would read, and nothing imported."""
    seen = look_at_path(options.path, options.source, knobs)
    print(json.dumps(asdict(seen), ensure_ascii=False) if options.json else "\n".join(seen_in_words(seen)))
    return 0


def seen_in_words(seen: LookedAt) -> list[str]:
    """What was seen at a path, the classes with most images first."""
    at_least = "" if seen.complete else "at least "
    what = "vectors" if seen.source == "vectors" else "images"
    lines = [f"{SOURCES[seen.source].title}: {at_least}{seen.images:,} {what} in {len(seen.classes):,} classes"]
    lines += ["  by their names: none was opened; an import leaves out those that cannot be read"] * (what == "images")
    lines += [f"  {reading.in_words()}" for reading in seen.readings]
    lines += [f"  {side}: {count:,} images" for side, count in seen.sides.items()]
    lines += [f"  {name}: {count:,}" for name, count in list(seen.classes.items())[:REASONS]]
    if len(seen.classes) > REASONS:
        lines.append(f"  and {len(seen.classes) - REASONS:,} more classes")
    lines += [f"  left out {count:,}: {reason}" for reason, count in list(seen.left_out.items())[:REASONS]]
    return lines


def import_with_bar(path: str | Path, *, quiet: bool = False, seen: Progress | None = None, **how: Any) -> Path:
    """`import_path` with a progress bar on a terminal, or telling `seen`."""
    if seen is not None:
        return import_path(path, progress=seen, **how)
    how["listener"] = tell_readings
    with tqdm(unit=" images", disable=quiet or not sys.stderr.isatty(), desc=f"Listing {Path(path).name}") as bar:

        def show(done: int, total: int | None, seconds_left: float | None) -> None:
            if total is not None and bar.total is None:
                bar.reset(total)
                bar.set_description(f"Importing {Path(path).name}")
            bar.update(done - bar.n)

        return import_path(path, progress=show, **how)


def show_sets(options: argparse.Namespace) -> int:
    """One set or all of them; a title given or a set removed before. Or what unfinished imports left, removed."""
    if options.clean:
        return clean_up_imports(options)
    if (options.rename or options.delete) and not options.set:
        raise ValueError("Name the set to rename or delete: python -m mlcore data SET --rename TITLE")
    renamed = rename_set(options.set, options.rename) if options.rename else None
    if options.delete:
        gone = delete_set(options.set)
        print(json.dumps({"deleted": gone.id}) if options.json else f"Deleted '{gone.title}' ({gone.id}).")
        return 0
    sets = [renamed or find_set(options.set)] if options.set else all_sets()
    if options.json:
        print(json.dumps([plain_record(facts) for facts in sets], indent=2, ensure_ascii=False))
    elif not sets:
        print(f"No imported sets in {data_root()}. Import one: python -m mlcore import path/to/folder")
    elif options.set:
        print("\n".join([*in_words(sets[0]), *left_in_words(read_left_out(sets[0].folder))]))
    else:
        titles = full_titles(sets)
        for facts in sets:
            images, classes = facts.counts["images"], facts.counts["classes"]
            print(f"{facts.id}  {images:>7,} images  {classes:>5,} classes  {titles[facts.id]}")
    if not options.json and not options.set:
        print("".join(f"{line}\n" for line in unfinished_lines(list_unfinished(data_root()))), end="")
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


def clean_up_imports(options: argparse.Namespace) -> int:
    """Remove what unfinished imports left, but for those that go on."""
    if options.set or options.rename or options.delete:
        raise ValueError("--clean takes no set: it removes what unfinished imports left. See: python -m mlcore data")
    removed = remove_unfinished(data_root())
    freed = sum(begun.bytes for begun in removed)
    if options.json:
        print(json.dumps({"removed": [asdict(begun) for begun in removed], "bytes": freed}, default=str))
        return 0
    for begun in removed:
        print(f"Removed the unfinished import of {begun.path or 'images that are not known any more'}.")
    print(f"{freed / 2**20:,.1f} MB are free again." if removed else "There was nothing to remove.")
    return 0


def unfinished_lines(imports: list[UnfinishedImport]) -> list[str]:
    lines = []
    for begun in imports:
        whose = begun.path or "images that are not known any more"
        lines.append(f"Unfinished: {whose}, {begun.bytes / 2**20:,.1f} MB{', goes on now' if begun.held else ''}")
        if begun.path and not begun.held:
            lines.append(f"  To go on: {shlex.join(same_import(begun, begun.path))}")
    if any(not begun.held for begun in imports):
        lines.append("  To remove what is unfinished: python -m mlcore data --clean")
    return lines


def same_import(begun: UnfinishedImport, path: str) -> list[str]:
    """The command that goes on with an import."""
    usual = SOURCES[begun.key].check({}) if begun.key in SOURCES else {}
    command = ["python", "-m", "mlcore", "import", path]
    command += ["--source", begun.key] if begun.key else []
    for name, value in begun.knobs.items():
        if value != usual.get(name):
            command += ["--option", f"{name}={value}"]
    if begun.options.get("side"):
        command += ["--side", str(begun.options["side"])]
    if begun.options.get("fit", "crop") != "crop":
        command += ["--fit", begun.options["fit"]]
    if begun.title not in ("", Path(path).stem):
        command += ["--title", begun.title]
    return command


def plain_record(facts: SetFacts) -> dict[str, Any]:
    return asdict(facts) | {"folder": str(facts.folder)}


def in_words(facts: SetFacts) -> list[str]:
    counts = facts.counts
    size = f"vectors in {counts['classes']:,} classes" if facts.has_vectors else in_pixels(facts)
    return [
        f"{facts.title}: {counts['images']:,} {size}; {counts['left_out']:,} left out",
        *(f"  {note}" for note in facts.notes),
        f"  {facts.id}, in {facts.folder}",
        f"  Train on it: python -m mlcore train --dataset {facts.id}{official_option(facts)}",
    ]


def official_option(facts: SetFacts) -> str:
    """The option that keeps to the split that a set came with, where it did."""
    try:
        official_split(read_index(facts.folder)["split"].fillna(""))
    except (ValueError, OSError):
        return ""
    return " --set dataset.split=official"


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
