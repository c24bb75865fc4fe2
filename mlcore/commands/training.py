"""`python -m mlcore train` and `resume`: options to a spec, and a run in this process."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from mlcore.catalogue import registry
from mlcore.commands.runs import in_words, run_summary, tell_spread
from mlcore.commands.words import plain_value
from mlcore.data import load
from mlcore.disk.plain_yaml import plain_yaml
from mlcore.disk.process import process_identity
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.checkpoints import with_teacher
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.concerns import find_concerns, refusal_sentence
from mlcore.spec.data_split import build_split
from mlcore.spec.defaults import PART_ROOMS
from mlcore.spec.run_spec import RunSpec
from mlcore.training.events import Evaluated, Event, Progress, StepDone, Warned


def train_here(options: argparse.Namespace) -> int:
    spec = with_own_images(spec_from_options(options), as_json=options.json)
    spec = with_teacher(spec, Runs(options.runs))
    refuse_hopeless(spec)
    if options.seeds is not None:
        return train_seeds(spec, options)
    run = Runs(options.runs).create(spec, state=RunState.DRAFT)
    return run_attempt(run, as_json=options.json)


def refuse_hopeless(spec: RunSpec) -> None:
    """ValueError where nothing could be learned, before there is a run."""
    table = load(spec.dataset.key, **spec.dataset.params)
    if spec.budget.steps and (text := refusal_sentence(find_concerns(spec, table, build_split(spec.dataset, table)))):
        raise ValueError(text)


def train_seeds(spec: RunSpec, options: argparse.Namespace) -> int:
    """One run a seed, one after the other; the last line is their spread. It ends early where a run does."""
    from mlcore.analysis.seed_spread import spread_of_runs

    if options.seeds < 2:
        raise ValueError(f"--seeds must be at least 2, for a spread over them; got {options.seeds}.")
    wanted = range(spec.seed, spec.seed + options.seeds)
    specs = [spec.changed({"seed": seed, "name": f"{spec.title()[:100]}, seed {seed}"}) for seed in wanted]
    done: list[RunFolder] = []
    for one in specs:
        run = Runs(options.runs).create(one, state=RunState.DRAFT)
        code = run_attempt(run, as_json=options.json)
        if run.state != RunState.DONE:
            told = f"{run.title()} is {run.state}; {len(done)} of {len(specs)} seeds are done, so there is no spread."
            print(f"mlcore: {told}", file=sys.stderr)
            return code or 1
        done.append(run)
    tell_spread(spread_of_runs(done), as_json=options.json)
    return 0


def resume_here(options: argparse.Namespace) -> int:
    run = Runs(options.runs).find(options.run)
    run.resume(RunState.STARTING, **process_identity())
    return run_attempt(run, as_json=options.json)


def run_attempt(run: RunFolder, *, as_json: bool) -> int:
    """Run the folder in this process, with a progress bar or without; the last line is the result."""
    from tqdm import tqdm

    from mlcore.engines.attempt_runner import run_folder

    total = run.status().total_steps
    with tqdm(total=total, unit="step", disable=as_json or not sys.stderr.isatty(), desc=run.title()) as bar:
        facts: dict[str, str] = {}

        def on_event(event: Event) -> None:
            if isinstance(event, Progress):
                bar.set_description(f"{event.text} {event.done}/{event.total}")
            elif isinstance(event, StepDone):
                bar.update(event.step - bar.n)
                facts["loss"] = f"{event.loss:.3f}" if math.isfinite(event.loss) else "not a number"
            elif isinstance(event, Evaluated) and (score := event.held_out[PRIMARY]) is not None:
                facts[METRICS[PRIMARY].title] = f"{score:.3f}"
            elif isinstance(event, Warned) and not as_json:
                tqdm.write(f"Warning: {event.text}", file=sys.stderr)
            bar.set_postfix(facts)

        code = run_folder(run, on_event=on_event)
    result = run_summary(run, History(run))
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(in_words(result))
    return code


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
        path = path.strip()
        settings[path] = value.strip() if path == "teacher.run" else plain_value(path, value)
    if isinstance(settings.get("dataset"), str):
        settings["dataset"] = key_of_set(settings["dataset"])
    return RunSpec.read(record).changed(settings)


def key_of_set(text: str) -> str:
    """The key of a declared data set, a path or an id as it stands; of an imported set's title, or the end of its id,
    the id."""
    if text in registry("datasets"):
        return text
    from mlcore.data.store import SetNotFound, find_set, own_key

    if own_key(text):
        return text
    try:
        return find_set(text).id
    except SetNotFound:
        return text


def with_own_images(spec: RunSpec, *, as_json: bool) -> RunSpec:
    """A path's images imported, and the set's id and fingerprint written down."""
    if spec.dataset.key in registry("datasets"):
        return spec
    from mlcore.commands.data import UnansweredQuestion, ask_on_terminal, import_with_bar
    from mlcore.data.store import SET_ID, find_set

    key = spec.dataset.key
    try:
        if not SET_ID.fullmatch(key):
            key = import_with_bar(key, quiet=as_json, ask=ask_on_terminal, as_it_is=True).name
        facts = find_set(key)
    except UnansweredQuestion as question:
        raise ValueError(f"{question} Then import them first: python -m mlcore import {key} --yes") from None
    return spec.changed({"dataset": facts.id, "dataset.fingerprint": facts.fingerprint})
