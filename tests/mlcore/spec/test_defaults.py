"""What follows from a choice: one function for the app, the command line and notebooks."""

from __future__ import annotations

from mlcore.spec.defaults import FINE_TUNING, follow
from mlcore.spec.run_spec import RunSpec

PRETRAINED = "efficientnet_lite0"


def settings(**change):
    return RunSpec.read({}).changed(change).settings()


def test_nothing_follows_from_a_knob():
    assert follow(settings(), {"loss.margin": 0.2, "budget.steps": 5}) == {}


def test_a_loss_brings_its_sampler_unless_somebody_chose_one():
    assert follow(settings(), {"loss": "contrastive"}) == {"sampler": "m_per_class"}
    assert follow(settings(), {"loss": "contrastive", "sampler.batch_size": 8}) == {}
    assert follow(settings(sampler="balanced"), {"loss": "contrastive"}) == {}
    assert follow(settings(), {"loss": "contrastive", "sampler": "shuffle"}) == {}


def test_a_method_of_two_views_brings_an_augmentation():
    assert follow(settings(), {"method": "unsupervised"})["augment"] == "light"
    assert "augment" not in follow(settings(augment="strong"), {"method": "unsupervised"})


def test_what_is_usual_with_a_backbone_is_exchanged_and_what_was_chosen_stays():
    followed = follow(settings(**{"optimizer.schedule": "plateau"}), {"backbone": PRETRAINED})
    assert followed["head.kind"] == "residual"
    assert followed["optimizer.lr_scaling"] == FINE_TUNING["lr_scaling"]
    assert "optimizer.schedule" not in followed
    assert follow(settings(backbone=PRETRAINED), {"backbone.pretrained": False})["head.kind"] == "linear"


def test_a_head_of_a_given_size_begins_where_it_keeps_most():
    grown = {"head.kind": "linear", "head.start": "components"}
    assert follow(settings(backbone=PRETRAINED), {"head.embedding_size": 32}) == grown
    assert settings(**{"backbone": PRETRAINED, "head.embedding_size": 32}).items() >= grown.items()
    assert follow(settings(backbone=PRETRAINED), {"head.kind": "mlp"}) == {"head.start": "random"}


def test_a_pooled_map_goes_with_the_backbone_that_had_one():
    pooled = settings(**{"backbone": PRETRAINED, "backbone.pooling": "gem"})
    assert follow(pooled, {"backbone": "mlp"})["backbone.pooling"] == "own"
