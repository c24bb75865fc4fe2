"""The lab without a browser: `python -m mlcore list | backbones | import | prepare | train | runs | find ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from mlcore.catalogue import ROOMS, registry
from mlcore.commands.runs import (
    evaluate_again,
    find_by_words,
    restore_run,
    show_run,
    show_runs,
    show_spread,
    show_trash,
    stop_run,
)
from mlcore.commands.training import resume_here, spec_from_options, train_here
from mlcore.commands.words import plain_value, section_option, split_assignment
from mlcore.spec.defaults import PART_ROOMS

__all__ = ["build_parser", "main", "spec_from_options"]
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

    add_backbones(acts)

    training = acts.add_parser(
        "train",
        help="train one run, here and now",
        description="Train one run in this process; Ctrl-C stops it and keeps everything up to then.",
        epilog="Example: python -m mlcore train --dataset glyphs --loss arcface --set loss.margin=0.3 --steps 60. "
        "To learn from a finished run: --set teacher.run=ID (or teacher.backbone=efficientnet_lite0), with "
        "teacher.measure=cosine or mse, teacher.weight=1, teacher.alone=true for that alone.",
    )
    training.add_argument("--config", type=Path, help="a YAML or JSON file with the settings; options here go over it")
    for section, room in PART_ROOMS.items():
        training.add_argument(section_option(section), metavar="KEY", help=f"one of: python -m mlcore list {room}")
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

    trash = acts.add_parser("trash", help="deleted runs, which can be restored for a day")
    add_runs_option(trash)
    trash.add_argument("--json", action="store_true")
    trash.set_defaults(act=show_trash)

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

    finding = acts.add_parser(
        "find",
        help="images by typed words, in a run that was trained on texts",
        description="The watched images nearest to some words, by the run's newest picture and checkpoint.",
        epilog='Example: python -m mlcore find gk3v "thumbs up" --count 5',
    )
    finding.add_argument("run", help=RUN_HELP)
    finding.add_argument("words", nargs="+", help="what to look for")
    finding.add_argument("--count", type=int, default=10, help="how many images (10)")
    finding.add_argument("--side", default="held_out", help="of the split: held_out, train or all")
    finding.add_argument("--untrained", action="store_true", help="as it was before the first step")
    add_runs_option(finding)
    finding.add_argument("--json", action="store_true")
    finding.set_defaults(act=find_by_words)

    spreading = acts.add_parser("spread", help="mean and standard deviation over runs that differ in their seed only")
    spreading.add_argument("run", nargs="+", help=RUN_HELP)
    add_runs_option(spreading)
    spreading.add_argument("--json", action="store_true")
    spreading.set_defaults(act=show_spread)

    for name, act, text in (
        ("show", show_run, "one run: state, metrics over time, settings"),
        ("stop", stop_run, "ask a run to stop; everything up to then is kept"),
        ("resume", resume_here, "go on with a stopped, failed or lost run, here and now"),
        ("restore", restore_run, "bring a deleted run back from the trash"),
    ):
        command = acts.add_parser(name, help=text)
        command.add_argument("run", help=RUN_HELP)
        add_runs_option(command)
        command.add_argument("--json", action="store_true")
        command.set_defaults(act=act)
    return parser


def add_backbones(acts: Any) -> None:
    command = acts.add_parser(
        "backbones",
        help="timm's networks: size, weights, images a second here",
        description="Networks of timm that have every word in their name, family or tags. Train on one: --backbone "
        "timm --set backbone.model=NAME",
        epilog="Example: python -m mlcore backbones vit tiny --pretrained --side 64",
    )
    command.add_argument("words", nargs="*", help="such as: resnet, vit tiny, dinov2")
    command.add_argument("--pretrained", action="store_true", help="with published weights")
    command.add_argument("--here", action="store_true", help="with weights in the local Hugging Face cache")
    command.add_argument("--max-params", type=float, metavar="M", help="at most so many millions of parameters")
    command.add_argument("--side", metavar="PX", help="speed at this size, as 64 or 48x64 (default: its own)")
    command.add_argument("--measure", action="store_true", help="train one network for some steps and keep its speed")
    command.add_argument("--calibrate", action="store_true", help="measure this machine anew")
    command.add_argument("--no-speed", action="store_true", help="measure nothing, and leave images/s empty")
    command.add_argument("--all", action="store_true", help="every row")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=list_backbones)


def list_backbones(options: argparse.Namespace) -> int:
    from mlcore.commands.backbones import list_backbones

    def place() -> tuple[str, int]:
        from mlcore.training.device import default_threads, pick_device

        return pick_device("auto").type, default_threads()

    return list_backbones(options, place)


def add_import(acts: Any) -> None:
    command = acts.add_parser(
        "import",
        help="your own images: a folder, a table, a zip archive, idx files",
        description="Read images once into the data root, where runs find them. Ctrl-C keeps what is read; the same "
        "command goes on.",
        epilog="Example: python -m mlcore import photos --title 'Product photos'. Folders called train, test and the "
        "like are the official split; if they are your classes: --option official_split=false",
    )
    command.add_argument(
        "path", help="a folder with a folder for each class, a .csv or .parquet table, a .zip, idx files"
    )
    command.add_argument("--source", metavar="KEY", help="what it is, if it is not seen: python -m mlcore list sources")
    command.add_argument(
        "--level", type=int, help="how many folders down the class is (1); the one above is its parent"
    )
    command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="any other of the source")
    command.add_argument(
        "--side", type=int, metavar="PX", help="of the stored squares (160, or less if all are smaller)"
    )
    command.add_argument("--fit", choices=["crop", "pad"], default="crop", help="cut what stands out, or keep all")
    command.add_argument("--title", help="what the set is called")
    command.add_argument("--yes", action="store_true", help="do not ask before very many images are imported")
    command.add_argument("--look", action="store_true", help="only say what would be read, and how; import nothing")
    command.add_argument("--json", action="store_true", help="no progress bar; the result as JSON")
    command.add_argument("--progress", action="store_true", help="progress as lines of JSON on standard error")
    command.set_defaults(act=import_images)

    table = acts.add_parser("data", help="the imported sets")
    table.add_argument("set", nargs="?", help="one set, by its id, the end of its id or its title")
    table.add_argument("--rename", metavar="TITLE", help="call this set so")
    table.add_argument("--delete", action="store_true", help="remove this set")
    table.add_argument("--features", action="store_true", help="the kept features of frozen backbones; or remove them")
    table.add_argument("--clean", action="store_true", help="remove what imports left that were stopped")
    table.add_argument("--json", action="store_true")
    table.set_defaults(act=show_data)


def import_images(options: argparse.Namespace) -> int:
    from mlcore.commands.data import import_images, look_before_import

    named = [split_assignment(text, "--option") for text in options.option]
    knobs = {name: plain_value(name, value, "--option") for name, value in named}
    knobs |= {} if options.level is None else {"level": options.level}
    return (look_before_import if options.look else import_images)(options, knobs)


def show_data(options: argparse.Namespace) -> int:
    from mlcore.commands.data import show_features, show_sets

    return show_features(options) if options.features else show_sets(options)


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
    from mlcore.commands.prepare import run_prepare

    return run_prepare(options)


def add_runs_option(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("LAB_RUNS", "runs"))
    parser.add_argument("--runs", type=Path, default=default, help="the runs folder (default: $LAB_RUNS, else ./runs)")


def show_list(options: argparse.Namespace) -> int:
    parts = registry(options.room)
    if options.json:
        print(json.dumps([spec.to_dict() for spec in parts.values()], indent=2, ensure_ascii=False))
        return 0
    width = max(map(len, parts))
    for spec in parts.values():
        print(f"{spec.key:{width}}  {spec.title}: {spec.description.splitlines()[0] if spec.description else ''}")
        for param in spec.params:
            print(f"{'':{width}}    {param.name} = {param.default} ({param.range_text()}) {param.knob.text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
