"""Mixed images hold their classes in the shares that the labels say."""

from __future__ import annotations

import pytest
import torch

from mlcore.catalogue import registry
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import MixChoice
from mlcore.training.loop import Trainer
from mlcore.training.mixup import mix_images
from mlcore.training.prepare import prepare
from mlcore.traits import LossTrait

TAKE_SHARES = [key for key, spec in registry("losses").items() if LossTrait.CLASS_SHARES in spec.traits]


def flat_images(labels, side=16):
    """Each image is one value, its class number."""
    return labels.float().view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(5))
def test_an_images_mean_is_the_mean_of_its_classes_by_their_shares(kind, seed):
    labels = torch.arange(6) % 4
    images, shares = mix_images(
        flat_images(labels), labels, 4, MixChoice(kind=kind), torch.Generator().manual_seed(seed)
    )
    assert images.shape == (6, 3, 16, 16)
    assert shares.shape == (6, 4)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), shares @ torch.arange(4.0), atol=1e-4, rtol=1e-4)


def test_cutmix_keeps_pixels_whole_and_mixup_does_not():
    labels = torch.tensor([0, 8, 0, 8])
    for kind, whole in (("cutmix", True), ("mixup", False)):
        images, _ = mix_images(flat_images(labels), labels, 9, MixChoice(kind=kind), torch.Generator().manual_seed(1))
        found = set(images.unique().tolist())
        assert (found <= {0.0, 8.0}) is whole


def test_the_generator_decides_and_the_global_one_is_left_alone():
    labels = torch.arange(8)
    choice = MixChoice(kind="mixup")
    state = torch.get_rng_state()
    first, again, other = (
        mix_images(flat_images(labels), labels, 8, choice, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_partners_are_drawn_and_not_the_neighbours():
    labels = torch.arange(16) // 4  # as m per class lays them out
    _, shares = mix_images(flat_images(labels), labels, 4, MixChoice(kind="mixup"), torch.Generator().manual_seed(0))
    assert int(((shares > 0).sum(dim=1) == 2).sum()) >= 8


@pytest.mark.parametrize("loss", TAKE_SHARES)
def test_every_loss_that_says_it_takes_shares_trains_on_mixed_images(quick_spec, loss):
    spec = quick_spec.changed({"loss": loss, "mix.kind": "mixup", "budget.steps": 2, "watch.evaluate_every": 1000})
    losses = [event.loss for event in Trainer(prepare(spec)).events() if event.kind == "step"]
    assert len(losses) == 2
    assert all(torch.isfinite(torch.tensor(losses)))


def test_losses_that_do_not_say_so_refuse_shares():
    shares = torch.full((4, 4), 0.25)
    refusing = [spec for spec in registry("losses").values() if spec.family == "proxy" and spec.key not in TAKE_SHARES]
    assert refusing
    for spec in refusing:
        with pytest.raises(ValueError, match="one class number per row"):
            spec.build({"num_classes": 4, "embedding_size": 8})(torch.randn(4, 8), shares)


PER_ITEM = {"class_weighted", "per_anchor"}  # want one class for each item


@pytest.mark.parametrize("reducer", sorted({*registry("losses")["arcface"].takes["reducer"]} - PER_ITEM))
def test_every_reducer_of_such_a_loss_goes_with_shares(quick_spec, reducer):
    settings = {"reducer": reducer, "mix.kind": "cutmix", "budget.steps": 1, "watch.evaluate_every": 1000}
    if reducer == "threshold":
        settings["reducer.low"] = 0.0
    spec = quick_spec.changed(settings)
    assert [event.kind for event in Trainer(prepare(spec)).events()].count("step") == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "contrastive"}, "Contrastive does not take images of two classes"),
        ({"loss": "manifold"}, "does not take images of two classes"),
        ({"second_loss": "contrastive"}, "does not take images of two classes"),
        ({"miner": "batch_hard"}, "Leave miner out"),
        ({"subset_miner": "maximum_loss"}, "Leave subset_miner out"),
        ({"method": "with_classifier"}, "wants one class for each image"),
        ({"loss": "ntxent", "method": "unsupervised"}, "wants one class for each image"),
        ({"backbone.freeze": "everything"}, "mix.kind must be 'none'"),
        ({"mix.kind": "mixcut"}, "mix.kind"),
        ({"mix.alpha": 0.0}, "mix.alpha"),
    ],
)
def test_where_images_cannot_be_mixed_it_is_said(settings, words):
    with pytest.raises(ValueError, match=words):
        RunSpec.read({}).changed({"mix.kind": "mixup"} | settings)
