"""What there is to say of runs: `python -m mlcore runs`, `show`, `evaluate`, `spread`, `stop`, `trash`, `restore`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcore.data.sources.safe_folder import make_printable
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.disk_space import ROOM_BYTES, no_room_words
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History, warning_texts
from mlcore.runs.liveness import FAR_SILENT_S
from mlcore.runs.states import RunState
from mlcore.runs.trash import time_left_words
from mlcore.runs.unreadable_folders import OddFolders

if TYPE_CHECKING:
    from mlcore.analysis.seed_spread import SeedSpread


def show_runs(options: argparse.Namespace) -> int:
    runs = Runs(options.runs)
    rows = [run_row(run) for run in runs.all()]
    for told in [*odd_in_words(runs), *waiting_in_words(runs, rows)]:
        print(f"mlcore: {told}", file=sys.stderr)
    if options.json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    elif not rows:
        print(f"No runs in {options.runs}. Start one: python -m mlcore train --dataset digits --loss arcface")
    else:
        for item in rows:
            score = item["held_out"].get(PRIMARY)
            shown = "-" if score is None else f"{score:.3f}"
            none = item["no_training"].get(PRIMARY)
            untrained = "-" if none is None else f"{none:.3f}"
            print(
                f"{item['run_id'][-8:]}  {item['state']:10}  {METRICS[PRIMARY].title} {shown:>5}  "
                f"no training {untrained:>5}  step {item['step']:>5}  {item['name']}"
            )
    return 0


def odd_in_words(runs: Runs) -> list[str]:
    """The folders in the runs folder that are no run as they stand, a sentence each."""
    return [f"the folder '{make_printable(odd.name)}': {odd.trouble}" for odd in OddFolders(runs).read()]


def waiting_in_words(runs: Runs, rows: list[dict[str, Any]]) -> list[str]:
    """Why nothing of what waits is started, if a supervisor said so or there is no room."""
    if not any(row["state"] == RunState.QUEUED for row in rows):
        return []
    said, free = runs.read_helper_status("supervisor").get("waits"), runs.free_bytes()
    return [said] if said else [no_room_words(runs.root, free)] if free < ROOM_BYTES else []


def show_run(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    result = run_summary(run, History(run))
    if options.json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        print(in_words(result))
        print()
        print(run.spec.to_yaml().rstrip())
        if result["state"] in (RunState.FAILED, RunState.LOST):
            print(run.log_end(20))
    return 0


def evaluate_again(options: argparse.Namespace) -> int:
    from mlcore.analysis.evaluate_run import evaluate_run
    from mlcore.commands.report import evaluation_in_words

    question = {name: getattr(options, name) for name in ("tester", "reference", "side", "pca")}
    run = Runs(options.runs).find(options.run)
    result = evaluate_run(run, **question, per_class=options.per_class, untrained=options.untrained)
    print(json.dumps(result, indent=2, allow_nan=False) if options.json else evaluation_in_words(result))
    return 0


def find_by_words(options: argparse.Namespace) -> int:
    from mlcore.analysis.word_search import search_words
    from mlcore.commands.report import findings_in_words

    words = " ".join(options.words)
    how = {"count": options.count, "side": options.side, "untrained": options.untrained}
    result = search_words(Runs(options.runs).find(options.run), words, **how)
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else findings_in_words(result))
    return 0


def show_spread(options: argparse.Namespace) -> int:
    from mlcore.analysis.seed_spread import spread_of_runs

    runs = Runs(options.runs)
    tell_spread(spread_of_runs([runs.find(text) for text in options.run]), as_json=options.json)
    return 0


def tell_spread(result: SeedSpread, *, as_json: bool) -> None:
    from mlcore.commands.report import spread_in_words

    print(json.dumps(result, allow_nan=False) if as_json else spread_in_words(result))


def stop_run(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    if run.state.finished:
        raise ValueError(f"{run.title()} is {run.state}; there is nothing to stop.")
    run.stop()
    alone = not Runs(options.runs).read_helper_status("supervisor")["alive"]
    if alone and (machine := run.other_machine()):
        print(
            f"mlcore: {run.title()} is of another machine, {machine}; listening for {FAR_SILENT_S:.0f} s.",
            file=sys.stderr,
        )
        if not run.wait_for_sign_of_life(FAR_SILENT_S):
            run.take_over(FAR_SILENT_S)
    elif alone and run.state == RunState.QUEUED:
        run.move(RunState.CANCELLED, reason_code="stopped", reason_text="Stopped before it began.")
    print(json.dumps({"run_id": run.run_id, "asked": "stop"}) if options.json else f"Asked {run.title()} to stop.")
    return 0


def show_trash(options: argparse.Namespace) -> int:
    trashed = Runs(options.runs).trash()
    if options.json:
        rows = [run_row(item.run) | {"run_id": item.name, "seconds_left": round(item.seconds_left)} for item in trashed]
        print(json.dumps(rows, indent=2, allow_nan=False))
    elif not trashed:
        print(f"Nothing in the trash of {options.runs}.")
    else:
        for item in trashed:
            print(f"{item.name[-8:]}  {time_left_words(item.seconds_left):>14}  {item.run.title()}")
        print("Time while this machine is off does not count. To have one back: python -m mlcore restore RUN")
    return 0


def restore_run(options: argparse.Namespace) -> int:
    runs = Runs(options.runs)
    run = runs.restore(runs.find_in_trash(options.run).name)
    print(json.dumps({"run_id": run.run_id, "restored": True}) if options.json else f"{run.title()} is back.")
    return 0


def run_row(run: RunFolder) -> dict[str, Any]:
    status = run.status()
    return {
        "run_id": run.run_id,
        "name": run.title(),
        "state": status.state,
        "step": status.step,
        "total_steps": status.total_steps,
        "seconds": status.seconds,
        "held_out": status.metrics.get("held_out", {}),
        "no_training": status.metrics.get("no_training", {}),
        "reason": status.reason_text,
    }


def run_summary(run: RunFolder, history: History) -> dict[str, Any]:
    """A row, with the metrics before training, after it, and at every evaluation in between.

    `no_training`: of the backbone's own features, without a head.
    """
    history.refresh()
    first: Mapping[str, Any] = history.evaluations[0] if history.evaluations else {}
    last: Mapping[str, Any] = history.evaluations[-1] if history.evaluations else {}
    return run_row(run) | {
        "folder": str(run.path),
        "no_training": first.get("backbone") or {},
        "before": {side: first.get(side) for side in ("held_out", "train", "backbone")},
        "after": {side: last.get(side) for side in ("held_out", "train")},
        "looks": [{"step": e["step"], PRIMARY: e["held_out"].get(PRIMARY)} for e in history.evaluations],
        "steps": len(history.steps),
        "warnings": warning_texts(history.messages),
    }


def in_words(result: dict[str, Any]) -> str:
    from mlcore.commands.report import format_difference, format_number, no_training_in_words, primary_first

    lines = [f"{result['name']}: {result['state']} at step {result['step']} of {result['total_steps']}"]
    if result["reason"]:
        lines.append(result["reason"])
    lines += [f"Warning: {text}" for text in result["warnings"]]
    before, after = result["before"]["held_out"] or {}, result["after"]["held_out"] or {}
    told = [one.key for one in primary_first(after) if after[one.key] is not None and before.get(one.key) is not None]
    width = max(map(len, told), default=0)
    for key in told:
        change = format_difference(after[key] - before[key])
        lines.append(
            f"  {key:{width}}  held out  {format_number(before[key])} -> {format_number(after[key])} ({change})"
        )
    if of_backbone := no_training_in_words(result["no_training"]):
        lines.append(f"  {of_backbone}")
    lines.append(f"  {result['seconds']:.1f} s, in {result['folder']}")
    return "\n".join(lines)
