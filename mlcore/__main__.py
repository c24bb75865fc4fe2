"""The lab without a browser: `python -m mlcore list | import | data | prepare | train | runs | show | evaluate ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from mlcore.catalogue import ROOMS, parts
from mlcore.declare import Registry
from mlcore.runs.fitting import PART_ROOMS
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.runs.plain_yaml import plain_yaml
from mlcore.runs.process import identity
from mlcore.runs.spec import RunSpec
from mlcore.runs.states import RunState

METRICS = ("map_at_r", "recall_at_1", "r_precision", "nmi")
RUN_HELP = "the run's id, the end of its id, or its name"


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        code = options.act(options)
        sys.stdout.flush()
        return code
    except ValueError as error:
        print(f"mlcore: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"mlcore: {error}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlcore", description=__doc__)
    acts = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = acts.add_parser("list", help=f"what is declared: {', '.join(ROOMS)}")
    listing.add_argument("room", choices=list(ROOMS))
    listing.add_argument("--json", action="store_true", help="everything that is declared, as JSON")
    listing.set_defaults(act=show_list)

    training = acts.add_parser(
        "train",
        help="train one run, here and now",
        description="Train one run in this process; Ctrl-C stops it and keeps everything up to then.",
        epilog="Example: python -m mlcore train --dataset glyphs --loss arcface --set loss.margin=0.3 --steps 60",
    )
    training.add_argument("--config", type=Path, help="a YAML or JSON file with the settings; options here go over it")
    for section, room in PART_ROOMS.items():
        training.add_argument(option(section), metavar="KEY", help=f"one of: python -m mlcore list {room}")
    training.add_argument("--steps", type=int, help="optimizer steps")
    training.add_argument("--seed", type=int, help="of weights, batches and augmentation")
    training.add_argument("--seeds", type=int, metavar="N", help="N runs, of this seed and the next ones; their spread")
    training.add_argument("--name", help="what the run is called")
    training.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="any setting, such as loss.margin=0.3, head.embedding_size=2, optimizer.head_lr=0.01; may be repeated",
    )
    add_runs_option(training)
    training.add_argument("--json", action="store_true", help="no progress bar; the last line is the result as JSON")
    training.set_defaults(act=train_here)

    add_import(acts)
    add_prepare(acts)

    table = acts.add_parser("runs", help="all runs with their state and metrics")
    add_runs_option(table)
    table.add_argument("--json", action="store_true")
    table.set_defaults(act=show_runs)

    testing = acts.add_parser(
        "evaluate",
        help="a run's model again, from its last checkpoint, with every metric",
        description="Rebuild a run's model from its last checkpoint, embed a side of its split, print every metric.",
        epilog="Example: python -m mlcore evaluate gk3v --tester same_parent --untrained --per-class",
    )
    testing.add_argument("run", help=RUN_HELP)
    testing.add_argument(
        "--tester",
        default="global",
        help="global, same_parent (among classes of one parent), two_streams (the first half of each class among the "
        "second), or a key of: list testers",
    )
    testing.add_argument(
        "--reference", default="self", help="what is searched: self, sets_combined (both sides), training, gallery"
    )
    testing.add_argument("--side", default="held_out", help="of the split: held_out or train")
    testing.add_argument("--pca", type=int, metavar="N", help="reduce to N principal components first")
    testing.add_argument("--per-class", action="store_true", help="also each class, the worst first")
    testing.add_argument("--untrained", action="store_true", help="also the weights of step 0, beside")
    add_runs_option(testing)
    testing.add_argument("--json", action="store_true")
    testing.set_defaults(act=evaluate_again)

    spreading = acts.add_parser("spread", help="mean and standard deviation over runs that differ in their seed only")
    spreading.add_argument("run", nargs="+", help=RUN_HELP)
    add_runs_option(spreading)
    spreading.add_argument("--json", action="store_true")
    spreading.set_defaults(act=show_spread)

    for name, act, text in (
        ("show", show_run, "one run: state, metrics over time, settings"),
        ("stop", stop_run, "ask a run to stop; everything up to then is kept"),
        ("resume", resume_here, "go on with a stopped, failed or lost run, here and now"),
    ):
        command = acts.add_parser(name, help=text)
        command.add_argument("run", help=RUN_HELP)
        add_runs_option(command)
        command.add_argument("--json", action="store_true")
        command.set_defaults(act=act)
    return parser


def add_import(acts: Any) -> None:
    command = acts.add_parser(
        "import",
        help="your own images: a folder, a table, a zip archive, idx files",
        description="Read images once into the data root, where runs find them. Ctrl-C keeps what is read; the same "
        "command goes on.",
        epilog="Example: python -m mlcore import photos --title 'Product photos'",
    )
    command.add_argument(
        "path", help="a folder with a folder for each class, a .csv or .parquet table, a .zip, idx files"
    )
    command.add_argument("--source", metavar="KEY", help="what it is, if it is not seen: python -m mlcore list sources")
    command.add_argument("--level", type=int, help="which folder is the class (1); the one above is its parent")
    command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="any other of the source")
    command.add_argument(
        "--side", type=int, metavar="PX", help="of the stored squares (160, or less if all are smaller)"
    )
    command.add_argument("--fit", choices=["crop", "pad"], default="crop", help="cut what stands out, or keep all")
    command.add_argument("--title", help="what the set is called")
    command.add_argument("--json", action="store_true", help="no progress bar; the result as JSON")
    command.add_argument("--progress", action="store_true", help="progress as lines of JSON on standard error")
    command.set_defaults(act=import_images)

    table = acts.add_parser("data", help="the imported sets")
    table.add_argument("set", nargs="?", help="one set, by its id, the end of its id or its title")
    table.add_argument("--rename", metavar="TITLE", help="call this set so")
    table.add_argument("--delete", action="store_true", help="remove this set")
    table.add_argument("--features", action="store_true", help="the kept features of frozen backbones; or remove them")
    table.add_argument("--json", action="store_true")
    table.set_defaults(act=show_data)


def import_images(options: argparse.Namespace) -> int:
    from mlcore.data.command import import_images

    named = [assignment(text, "--option") for text in options.option]
    knobs = {name: plain_value(name, value, "--option") for name, value in named}
    return import_images(options, knobs | ({} if options.level is None else {"level": options.level}))


def show_data(options: argparse.Namespace) -> int:
    from mlcore.data.command import show_features, show_sets

    return show_features(options) if options.features else show_sets(options)


def assignment(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{option} takes NAME=VALUE, such as level=2; got '{text}'.")
    return name.strip(), value


def add_prepare(acts: Any) -> None:
    command = acts.add_parser(
        "prepare",
        help="statistics, filters, near-duplicates, splits and folds of a set: a table to train on",
        description="Say what a set holds and what each step would make of it. Only --out and --save write.",
        epilog="Done in this order: --plan, sides, duplicates, counts, split, folds, queries. Example: python -m "
        "mlcore prepare shoes --min-side 32 --duplicates drop --min-images 5 --split class:0.5 --out prepared.parquet",
    )
    command.add_argument("set", nargs="+", help="an imported set (id, title, folder) or a table; several are merged")
    command.add_argument("--labels", choices=["join", "apart"], default="join", help="classes of one name in two sets")
    command.add_argument("--min-images", type=int, metavar="N", help="leave out classes with fewer images")
    command.add_argument("--max-images", type=int, metavar="N", help="of classes with more images draw N")
    command.add_argument("--min-side", type=int, metavar="PX", help="leave out images with a shorter side")
    command.add_argument("--max-side", type=int, metavar="PX", help="leave out images with a longer side")
    command.add_argument("--duplicates", choices=["drop", "report", "keep"], default="report", help="near-duplicates")
    command.add_argument("--distance", type=int, default=6, metavar="BITS", help="near: how many of 64 bits differ")
    command.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="HOW",
        help="class:0.5, sample:0.2, counts:5-50, folds:5, class-folds:5 or official; may be repeated",
    )
    command.add_argument("--queries", type=int, metavar="N", help="of each class held out, N images are queries")
    command.add_argument("--seed", type=int, default=0, help="of draws, splits and folds")
    command.add_argument("--plan", type=Path, metavar="FILE", help="steps as YAML or JSON, done before the options'")
    command.add_argument("--out", type=Path, metavar="FILE", help="the prepared table, .parquet or .csv")
    command.add_argument("--save", metavar="TITLE", help="a new set of what is left, to train on")
    command.add_argument("--json", action="store_true", help="everything, near-duplicates too, as JSON")
    command.add_argument("--progress", action="store_true", help="progress of --save as lines of JSON on stderr")
    command.set_defaults(act=prepare_set)


def prepare_set(options: argparse.Namespace) -> int:
    from mlcore.data.prepare.command import prepare

    return prepare(options)


def option(section: str) -> str:
    return "--" + section.replace("_", "-")


def add_runs_option(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("LAB_RUNS", "runs"))
    parser.add_argument("--runs", type=Path, default=default, help="the runs folder (default: $LAB_RUNS, else ./runs)")


def show_list(options: argparse.Namespace) -> int:
    registry: Registry = parts(options.room)
    if options.json:
        print(json.dumps([spec.to_dict() for spec in registry.values()], indent=2, ensure_ascii=False))
        return 0
    width = max(map(len, registry))
    for spec in registry.values():
        print(f"{spec.key:{width}}  {spec.title}: {spec.text.splitlines()[0] if spec.text else ''}")
        for param in spec.params:
            print(f"{'':{width}}    {param.name} = {param.default} ({param.range_text()}) {param.knob.text}")
    return 0


def train_here(options: argparse.Namespace) -> int:
    spec = with_own_images(spec_from_options(options), as_json=options.json)
    if options.seeds is not None:
        return train_seeds(spec, options)
    run = Runs(options.runs).create(spec, state=RunState.DRAFT)
    return work(run, as_json=options.json)


def train_seeds(spec: RunSpec, options: argparse.Namespace) -> int:
    """One run a seed, one after the other; the last line is their spread. It ends early where a run does."""
    from mlcore.seeds import spread_of_runs

    if options.seeds < 2:
        raise ValueError(f"--seeds must be at least 2, for a spread over them; got {options.seeds}.")
    wanted = range(spec.seed, spec.seed + options.seeds)
    specs = [spec.changed({"seed": seed, "name": f"{spec.title()[:100]}, seed {seed}"}) for seed in wanted]
    done = []
    for one in specs:
        run = Runs(options.runs).create(one, state=RunState.DRAFT)
        code = work(run, as_json=options.json)
        if run.state != RunState.DONE:
            told = f"{run.title()} is {run.state}; {len(done)} of {len(specs)} seeds are done, so there is no spread."
            print(f"mlcore: {told}", file=sys.stderr)
            return code or 1
        done.append(run)
    tell_spread(spread_of_runs(done), as_json=options.json)
    return 0


def spec_from_options(options: argparse.Namespace) -> RunSpec:
    """The config file first, then the options, then every --set."""
    record: dict[str, Any] = {}
    if options.config:
        try:
            record = plain_yaml(options.config.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{options.config} cannot be read: {error}") from None
    settings: dict[str, Any] = {
        section: getattr(options, section) for section in PART_ROOMS if getattr(options, section)
    }
    if options.steps is not None:
        settings["budget.steps"] = options.steps
    settings |= {name: getattr(options, name) for name in ("seed", "name") if getattr(options, name) is not None}
    for text in options.set:
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes SETTING=VALUE, such as loss.margin=0.3; got '{text}'.")
        settings[path.strip()] = plain_value(path.strip(), value)
    if "dataset" in settings:
        settings["dataset"] = key_of_set(settings["dataset"])
    return RunSpec.read(record).changed(settings)


def key_of_set(text: str) -> str:
    """The key of a declared data set, a path or an id as it stands; of an imported set's title, or the end of its id,
    the id."""
    if text in parts("datasets"):
        return text
    from mlcore.data.store import find_set, own_key

    if own_key(text):
        return text
    try:
        return find_set(text).id
    except ValueError:
        return text


def with_own_images(spec: RunSpec, *, as_json: bool) -> RunSpec:
    """A path's images imported, and the set's id and fingerprint written down."""
    if spec.dataset.key in parts("datasets"):
        return spec
    from mlcore.data.command import import_with_bar
    from mlcore.data.store import SET_ID, find_set

    key = spec.dataset.key
    facts = find_set(key if SET_ID.fullmatch(key) else import_with_bar(key, quiet=as_json, as_it_is=True).name)
    return spec.changed({"dataset": facts.id, "dataset.fingerprint": facts.fingerprint})


def plain_value(path: str, text: str, option: str = "--set") -> Any:
    """A number, a word, true, false or null, as YAML has them."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(
            f"{option} {path}: '{text}' cannot be read as a number, a word, true, false or null."
        ) from None


def resume_here(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    run.resume(RunState.STARTING, **identity())
    return work(run, as_json=options.json)


def work(run: RunFolder, *, as_json: bool) -> int:
    """Run the folder in this process, with a progress bar or without; the last line is the result."""
    from tqdm import tqdm

    from mlcore.session import run_folder

    total = run.status().total_steps
    with tqdm(total=total, unit="step", disable=as_json or not sys.stderr.isatty(), desc=run.title()) as bar:
        facts: dict[str, str] = {}

        def seen(event: dict[str, Any]) -> None:
            if event["kind"] == "progress":
                bar.set_description(f"{event['text']} {event['done']}/{event['total']}")
            elif event["kind"] == "step":
                bar.update(event["step"] - bar.n)
                facts["loss"] = "not a number" if event["loss"] is None else f"{event['loss']:.3f}"
            elif event["kind"] == "evaluated" and event["held_out"]["map_at_r"] is not None:
                facts["MAP@R"] = f"{event['held_out']['map_at_r']:.3f}"
            bar.set_postfix(facts)

        code = run_folder(run, seen=seen)
    result = summary(run, History(run))
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(in_words(result))
    return code


def show_runs(options: argparse.Namespace) -> int:
    runs = Runs(options.runs).all()
    rows = [row(run) for run in runs]
    if options.json:
        print(json.dumps(rows, indent=2, allow_nan=False))
    elif not rows:
        print(f"No runs in {options.runs}. Start one: python -m mlcore train --dataset digits --loss arcface")
    else:
        for item in rows:
            score = item["held_out"].get("map_at_r")
            shown = "-" if score is None else f"{score:.3f}"
            none = item["no_training"].get("map_at_r")
            untrained = "-" if none is None else f"{none:.3f}"
            print(
                f"{item['run_id'][-8:]}  {item['state']:10}  MAP@R {shown:>5}  no training {untrained:>5}  "
                f"step {item['step']:>5}  {item['name']}"
            )
    return 0


def show_run(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    result = summary(run, History(run))
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
    from mlcore.again import evaluate_run
    from mlcore.telling import evaluation_in_words

    question = {name: getattr(options, name) for name in ("tester", "reference", "side", "pca")}
    run = Runs(options.runs).find(options.run)
    result = evaluate_run(run, **question, per_class=options.per_class, untrained=options.untrained)
    print(json.dumps(result, indent=2, allow_nan=False) if options.json else evaluation_in_words(result))
    return 0


def show_spread(options: argparse.Namespace) -> int:
    from mlcore.seeds import spread_of_runs

    runs = Runs(options.runs)
    tell_spread(spread_of_runs([runs.find(text) for text in options.run]), as_json=options.json)
    return 0


def tell_spread(result: dict[str, Any], *, as_json: bool) -> None:
    from mlcore.telling import spread_in_words

    print(json.dumps(result, allow_nan=False) if as_json else spread_in_words(result))


def stop_run(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    if run.state.finished:
        raise ValueError(f"{run.title()} is {run.state}; there is nothing to stop.")
    run.stop()
    if run.state == RunState.QUEUED and not Runs(options.runs).heard("supervisor")["alive"]:
        run.move(RunState.CANCELLED, reason_code="stopped", reason_text="Stopped before it began.")
    print(json.dumps({"run_id": run.run_id, "asked": "stop"}) if options.json else f"Asked {run.title()} to stop.")
    return 0


def row(run: RunFolder) -> dict[str, Any]:
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


def summary(run: RunFolder, history: History) -> dict[str, Any]:
    """A row, with the metrics before training, after it, and at every look in between.

    `no_training`: of the backbone's own features, without a head.
    """
    history.refresh()
    first = history.evaluations[0] if history.evaluations else {}
    last = history.evaluations[-1] if history.evaluations else {}
    return row(run) | {
        "folder": str(run.path),
        "no_training": first.get("backbone") or {},
        "before": {side: first.get(side) for side in ("held_out", "train", "backbone")},
        "after": {side: last.get(side) for side in ("held_out", "train")},
        "looks": [{"step": e["step"], "map_at_r": e["held_out"]["map_at_r"]} for e in history.evaluations],
        "steps": len(history.steps),
    }


def in_words(result: dict[str, Any]) -> str:
    from mlcore.telling import no_training_in_words

    lines = [f"{result['name']}: {result['state']} at step {result['step']} of {result['total_steps']}"]
    if result["reason"]:
        lines.append(result["reason"])
    before, after = result["before"]["held_out"] or {}, result["after"]["held_out"] or {}
    for metric in METRICS:
        if before.get(metric) is not None and after.get(metric) is not None:
            change = after[metric] - before[metric]
            lines.append(f"  {metric:12} held out  {before[metric]:.3f} -> {after[metric]:.3f} ({change:+.3f})")
    if told := no_training_in_words(result["no_training"]):
        lines.append(f"  {told}")
    lines.append(f"  {result['seconds']:.1f} s, in {result['folder']}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
