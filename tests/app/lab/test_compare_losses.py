"""Several losses at once: one run each, with what is usual for it."""

from __future__ import annotations

from types import SimpleNamespace

from app.lab.compare_losses import OTHERS, specs_to_compare
from mlcore.spec.run_spec import RunSpec


def draft(*others):
    return SimpleNamespace(get={OTHERS: list(others)}.get)


def test_each_loss_has_its_own_batches_and_the_rest_in_common():
    base = RunSpec.read({"loss": "arcface", "seed": 7, "budget": {"steps": 40}})
    (first, second), faults = specs_to_compare(draft("triplet_margin"), base)
    assert faults == []
    assert first == base
    assert (second.loss.key, second.sampler.key) == ("triplet_margin", "m_per_class")
    assert (second.seed, second.budget, second.backbone) == (7, base.budget, base.backbone)


def test_a_loss_that_does_not_go_with_the_settings_is_told_and_the_others_run():
    base = RunSpec.read({"loss": "arcface", "mix": {"kind": "mixup"}})
    specs, faults = specs_to_compare(draft("triplet_margin", "cosface"), base)
    assert [spec.loss.key for spec in specs] == ["arcface", "cosface"]
    assert len(faults) == 1
    assert faults[0].startswith("Triplet margin: mix:")
