"""What a run does before its first step, told as progress: features, a head's start, a teacher, a method's own work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch

from mlcore.data.feature_cache import DamagedFeatures, open_kept
from mlcore.training.cached_features import kept_features, request_features
from mlcore.training.events import Event, Progress
from mlcore.training.feature_source import FeatureSource, PixelSource, Source, row_chunks
from mlcore.training.pca_init import begin_with_components, spread_rows
from mlcore.training.prepare import Prepared

Stopped = Callable[[], bool]


def before_first_step(prepared: Prepared, step: int, stopped: Stopped) -> Iterator[Event]:
    """Everything, in order, for a run that has done `step` steps; it ends early where `stopped` says so."""
    if computes_features(prepared):
        yield from compute_features(prepared, step, stopped)
    if not stopped() and step == 0:
        yield from start_head(prepared, stopped)
    if prepared.distillation is not None:
        source: Source = prepared.features.source
        if prepared.table.vectors is None:
            source = PixelSource(prepared.table, prepared.device)
        yield from prepared.distillation.ask(source, prepared.split, step, stopped)
    for text, done, total in prepared.method.before_first_step():
        if stopped():
            return
        yield Progress(step, text, done, total)


def computes_features(prepared: Prepared) -> bool:
    """Whether a frozen backbone's features are still to be put in the place of the images."""
    return prepared.spec.backbone.freeze == "everything" and isinstance(prepared.features.source, PixelSource)


def compute_features(prepared: Prepared, step: int, stopped: Stopped) -> Iterator[Event]:
    """Take the features of the frozen backbone, computed once for this and all other runs."""
    wanted = request_features(prepared.table, prepared.spec.backbone, prepared.model, prepared.device)
    compute = prepared.features.read_frozen
    features = yield from kept_features(wanted, prepared.table.title, compute, stopped, step)
    if features is not None:
        prepared.features.source = FeatureSource(features, prepared.device)


def open_computed_features(prepared: Prepared) -> None:
    """Take a frozen backbone's features that are on the disk, if they are; nothing is computed."""
    if not computes_features(prepared):
        return
    with suppress(DamagedFeatures):
        wanted = request_features(prepared.table, prepared.spec.backbone, prepared.model, prepared.device)
        features = open_kept(wanted)
        if features is not None:
            prepared.features.source = FeatureSource(features, prepared.device)


def start_head(prepared: Prepared, stopped: Stopped) -> Iterator[Event]:
    """Put a head that is to begin at the features' principal components there."""
    if prepared.spec.head.start != "components":
        return
    rows = spread_rows(prepared.split.train, prepared.features.source)
    features = []
    for part in row_chunks(len(rows)):
        if stopped():
            return
        features.append(prepared.features.read_frozen(rows[part]))
        yield Progress(0, "Looking at the features' main directions", int(part[-1]) + 1, len(rows))
    begin_with_components(prepared.model.head, torch.from_numpy(np.concatenate(features)))
    if prepared.average is not None:
        prepared.average.module.load_state_dict(prepared.model.state_dict())
