"""A good run's folder, and everything that may befall a file in it."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ulid import ULID

from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.spec.run_spec import RunSpec
from mlcore.worker import run_folder

Damage = tuple[str, bytes | None]  # what it is called, and the file's bytes then; None: the file is gone
ODD_VALUES = (None, [], {}, "odd", -1, 1e308, True, [None, "odd"], {"odd": []})
ODD_FILES = (None, [], {}, "odd", 3, [[]], {"a": {"b": [1, {}]}})
TOO_DEEP = b'{"a":' * 100_000
SPEC = {
    "name": "a good run",
    "dataset": "digits",
    "backbone": "mlp",
    "head": {"embedding_size": 8},
    "loss": {"key": "arcface", "params": {"scale": 16.0}},
    "sampler": {"key": "m_per_class", "batch_size": 20},
    "budget": {"steps": 4},
    "watch": {"evaluate_every": 2, "points": 40},
}


def trained_run(root: Path) -> RunFolder:
    """A finished run whose snapshots are laid out."""
    run = Runs(root).create(RunSpec.read(SPEC))
    assert run_folder(run) == 0
    run.set_label(note="worth keeping")
    past = History(run)
    past.refresh()
    for step, (attempt, entry) in past.snapshots.items():
        writer = attempt.layout_writer()
        points = attempt.read_arrays(entry)["embeddings"][:, :2]
        proxies = np.zeros((len(attempt.read_arrays(entry)["proxy_labels"]), 2))
        writer.layout("umap-2d", step, np.vstack([points, proxies]), {"knn_kept": 0.5, "trustworthiness": 0.9}, 0.1)
        writer.close()
    return run


def copied(run: RunFolder, root: Path) -> RunFolder:
    """The run once more, under an id of its own."""
    root.mkdir(exist_ok=True)
    run_id = str(ULID()).lower()
    shutil.copytree(run.path, root / run_id)
    return RunFolder(root / run_id)


def files_of(run: RunFolder) -> list[str]:
    """Every file of a run, by its path in the folder."""
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())


def spoil(run: RunFolder, file: str, data: bytes | None) -> None:
    if data is None:
        (run.path / file).unlink()
    else:
        (run.path / file).write_bytes(data)


def damages(path: Path) -> Iterator[Damage]:
    """What may befall a whole file."""
    data = path.read_bytes()
    yield "gone", None
    yield "empty", b""
    yield "cut", data[: len(data) // 2]
    if data:
        middle = len(data) // 2
        yield "flipped", data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
    yield "deep", TOO_DEEP + b"\n"
    for odd in ODD_FILES:
        yield f"odd {json.dumps(odd)}", json.dumps(odd).encode() + b"\n"
    for odd in ODD_VALUES:
        if path.suffix == ".json":
            yield f"all {json.dumps(odd)}", json.dumps(dict.fromkeys(json.loads(data), odd)).encode()
        if path.suffix == ".jsonl":
            yield f"all {json.dumps(odd)}", lines([spoilt(record, odd) for record in records(data)])


def spoilt(record: dict[str, Any], odd: Any) -> dict[str, Any]:
    """Every value odd but what says what the record is, so that it is looked at at all."""
    return {name: value if name in ("kind", "file", "step") else odd for name, value in record.items()}


def field_damages(path: Path) -> Iterator[Damage]:
    """Every single field, and every field of a field, missing or odd: of a JSON file, or of a line of each kind."""
    data = path.read_bytes()
    if path.suffix == ".json":
        for name, record in mutants(json.loads(data)):
            yield name, json.dumps(record).encode()
    if path.suffix == ".jsonl":
        all_lines = records(data)
        firsts = {str(record.get("kind", sorted(record))): at for at, record in reversed(list(enumerate(all_lines)))}
        for kind, at in firsts.items():
            for name, record in mutants(all_lines[at]):
                yield f"{kind}: {name}", lines([*all_lines[:at], record, *all_lines[at + 1 :]])


def mutants(record: Any, depth: int = 2) -> Iterator[tuple[str, Any]]:
    keys = list(record) if isinstance(record, dict) else list(range(min(1, len(record))))
    for key in keys:
        if isinstance(record, dict):
            yield f"{key} missing", {name: value for name, value in record.items() if name != key}
        for odd in (None, [], "odd", -1, {"odd": []}):
            yield f"{key} {json.dumps(odd)}", with_value(record, key, odd)
        if depth > 1 and isinstance(record[key], dict | list):
            for name, value in mutants(record[key], depth - 1):
                yield f"{key}.{name}", with_value(record, key, value)


def with_value(record: Any, key: Any, value: Any) -> Any:
    changed = copy.copy(record)
    changed[key] = value
    return changed


def records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def lines(all_records: list[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in all_records)
