"""`python -m mlcore backbones`: timm's networks, searched, with size, weights and speed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd

from mlcore.timm_zoo.model_table import (
    HERE,
    HUB,
    find_model,
    installed_version,
    names_are_known,
    network_list,
    search,
    version_of_counts,
)
from mlcore.timm_zoo.speed import MachineSpeed, images_per_s, read_speed, speed_file, speed_words

ROWS = 40
LARGEST_SIDE = 4096
WEIGHTS = {HERE: "here", HUB: "hub", "none": "-"}
Place = Callable[[], tuple[str, int]]  # the device that runs take, and the threads


def list_backbones(options: argparse.Namespace, place: Place) -> int:
    """Print what is found; 1 where nothing is."""
    if not names_are_known():
        from mlcore.timm_zoo.installed_models import cache_names

        cache_names()
    size = None if options.side is None else parse_image_size(options.side)
    if options.max_params is not None and not options.max_params > 0:
        raise ValueError(f"--max-params must be above 0, in millions; got {options.max_params:g}.")
    if options.measure:
        return measure_one(options, place, size)
    if options.calibrate and not options.words:
        return tell_machine(read_or_measure_speed(place, anew=True), as_json=options.json)
    found = search(
        network_list(),
        " ".join(options.words),
        pretrained=options.pretrained,
        here=options.here,
        max_parameters=options.max_params,
    )
    known = None if options.no_speed else read_or_measure_speed(place, anew=options.calibrate)
    rows = with_speeds(found.rows, known, size)
    if options.json:
        print(json.dumps(plain_records(rows), allow_nan=False))
        return 0 if len(rows) else 1
    if rows.empty:
        hint = f" Did you mean: {found.meant}?" if found.meant else " Try fewer words, or other filters."
        print(f"mlcore: no network of timm has all of this.{hint}", file=sys.stderr)
        return 1
    print("\n".join([*table_lines(rows if options.all else rows.head(ROWS)), *footnotes(rows, known, options)]))
    return 0


def parse_image_size(text: str) -> tuple[int, int]:
    """(height, width) of '64' or '48x64'."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 1 <= int(part) <= LARGEST_SIDE for part in parts):
        raise ValueError(
            f"--side takes px from 1 to {LARGEST_SIDE}, such as 64 or 48x64 (height x width); got '{text}'."
        )
    return int(parts[0]), int(parts[-1])


def tell_machine(known: MachineSpeed | None, *, as_json: bool) -> int:
    if known is None:
        return 1
    told = json.dumps({"device": known.device, "threads": known.threads, "costs": known.costs})
    print(told if as_json else f"Measured on {known.in_words()}, kept in {speed_file()}.")
    return 0


def read_or_measure_speed(place: Place, *, anew: bool = False) -> MachineSpeed | None:
    """What is known of this machine, measured now if it never was."""
    found = read_speed()
    if found is not None and not anew:
        return found
    from mlcore.timm_zoo.calibration import calibrate

    print("Measuring this machine once, some seconds ...", file=sys.stderr)
    try:
        return calibrate(*place())
    except OSError as error:
        print(f"mlcore: the speed of this machine cannot be kept ({error}).", file=sys.stderr)
        return None


def with_speeds(rows: pd.DataFrame, known: MachineSpeed | None, size: tuple[int, int] | None) -> pd.DataFrame:
    """The rows with `training` and `forward` images a second, and whether those were `measured`."""
    rows = rows.assign(training=float("nan"), forward=float("nan"), measured=False)
    if known is not None and len(rows):
        training = images_per_s(rows, known, "training", size)
        forward = images_per_s(rows, known, "forward", size)
        rows = rows.assign(
            training=training.images_per_s, forward=forward.images_per_s, measured=training.measured.astype(bool)
        )
    return rows


def plain_records(rows: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The rows as plain data; None for what is not known."""
    plain = rows.reset_index().astype(object).where(rows.reset_index().notna(), None)
    return [row | {"fixed": bool(row["fixed"])} for row in plain.to_dict("records")]


def table_lines(rows: pd.DataFrame) -> list[str]:
    width, families = max(map(len, rows.index)), max(map(len, rows.family))
    head = f"{'name':{width}}  {'family':{families}}  {'params':>7}  {'input':>7}  weights  {'images/s':>12}  licence"
    return [head, *(table_line(str(name), row, width, families) for name, row in rows.iterrows())]


def table_line(name: str, row: Any, width: int, families: int) -> str:
    counted = "?" if pd.isna(row.parameters_m) else f"{row.parameters_m:,.1f} M"
    told = speed_words(row.training, row.measured)
    return (
        f"{name:{width}}  {row.family:{families}}  {counted:>7}  {input_words(row):>7}  {WEIGHTS[row.weights]:7}  "
        f"{told:>12}  {row.licence}"
    ).rstrip()


def input_words(row: Any) -> str:
    """'224' or '240x320'."""
    return f"{row.height}" if row.height == row.width else f"{row.height}x{row.width}"


def footnotes(rows: pd.DataFrame, known: MachineSpeed | None, options: argparse.Namespace) -> list[str]:
    """What the columns mean, and what is left out."""
    lines = []
    if len(rows) > ROWS and not options.all:
        lines.append(f"... and {len(rows) - ROWS:,} more: search by words, or --all.")
    if (rows if options.all else rows.head(ROWS)).parameters_m.isna().any():
        lines.append("?: not counted.")
    side = f"at {options.side} px where they take other sizes" if options.side else "at the input's size, px"
    if known is not None:
        lines.append(
            f"images/s: training steps on {known.in_words()}, {side}; 'about': estimated. Exactly: --measure with one "
            "name."
        )
    if not names_are_known():
        lines.append(f"Listed is timm {version_of_counts()}; installed is {installed_version() or 'none'}.")
    return lines


def measure_one(options: argparse.Namespace, place: Place, size: tuple[int, int] | None) -> int:
    if len(options.words) != 1:
        raise ValueError("--measure takes one network's name, such as: python -m mlcore backbones resnet18 --measure")
    name = options.words[0]
    if find_model(name) is None:
        nearly = search(network_list(), name).meant
        raise ValueError(f"timm: there is no model '{name}'.{f' Did you mean: {nearly}?' if nearly else ''}")
    from mlcore.timm_zoo.calibration import measure

    found = measure(name, *place(), size)
    measured_on = read_speed()
    if options.json:
        print(json.dumps({"name": name, **found}))
        return 0
    print(
        f"{name} at {found['height']} × {found['width']} px, batches of {found['batch']}, "
        f"on {measured_on.in_words() if measured_on else 'this machine'}: "
        f"{found['training']:,.3g} images/s in training steps, {found['forward']:,.3g} forward only."
    )
    return 0
