"""The untrained preview of a run: the same images through the same network, as it is before the first step.

One preview stands for all runs that begin alike, whatever their loss and length: their pictures of step 0 are its own.
"""

from __future__ import annotations

import functools
import json

from mlcore.runs.folder import RunFolder, Runs
from mlcore.spec.run_spec import RunSpec

BEFORE_TRAINING = ("dataset", "backbone", "head", "watch", "seed", "deterministic", "device", "threads")


def preview_spec(spec: RunSpec) -> RunSpec:
    """A run of no steps with those sections of `spec` which are all that matters before training."""
    return _preview_spec(spec.model_dump_json(include=set(BEFORE_TRAINING)))


@functools.lru_cache(maxsize=64)
def _preview_spec(sections: str) -> RunSpec:
    record = json.loads(sections)
    keeps = record["backbone"]["freeze"] == "everything" and record["head"]["kind"] != "none"  # features for later runs
    record["backbone"] |= {"freeze": "everything" if keeps else "nothing"}
    record["watch"] |= {"evaluate_every": None}
    plain = {"budget": {"steps": 0}, "loss": "contrastive", "sampler": {"key": "shuffle", "batch_size": 2}}
    return RunSpec.read(record | plain)


def preview_nonce(bare: RunSpec) -> str:
    """The nonce under which the preview of this spec, made by `preview_spec`, is stored."""
    return f"preview-{bare.digest()[:40]}"


def find_preview(runs: Runs, spec: RunSpec) -> RunFolder | None:
    """The preview of what this run begins as, if it was made here."""
    return runs.made(preview_nonce(preview_spec(spec)))
