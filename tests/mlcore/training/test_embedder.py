"""What of a backbone trains, what its map becomes, and how the head is put together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlcore.backbones import MLP, SmallConv, TimmModel, Vectors
from mlcore.backbones.backbone import Backbone
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import HeadChoice
from mlcore.training.embedder import Embedder, Pooling, build_head


def images(count=5):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def embedder(freeze="nothing", pooling="own", backbone=None, **head):
    torch.manual_seed(0)
    return Embedder(backbone or SmallConv((16, 16), 1), HeadChoice(**head), freeze, pooling)


def names(layers):
    return [type(layer).__name__ for layer in (layers if isinstance(layers, nn.Sequential) else [layers])]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({}, ["Linear"]),
        ({"kind": "none"}, ["Identity"]),
        ({"kind": "mlp"}, ["Linear", "ReLU", "Linear"]),
        ({"norm": "batch", "dropout": 0.1}, ["Dropout", "Linear", "BatchNorm1d"]),
        (
            {"kind": "mlp", "norm": "layer", "dropout": 0.1, "normalize": True},
            ["Linear", "LayerNorm", "ReLU", "Dropout", "Linear", "LengthOne"],
        ),
        ({"kind": "none", "norm": "batch"}, ["BatchNorm1d"]),
        ({"kind": "none", "normalize": True}, ["LengthOne"]),
    ],
)
def test_a_head_is_its_layers_in_their_order(head, expected):
    layers, size = build_head(HeadChoice(embedding_size=6, **head), 12)
    assert names(layers) == expected
    assert layers(torch.randn(4, 12)).shape == (4, size)
    assert size == (12 if head.get("kind") == "none" else 6)


def test_embeddings_have_length_one_when_asked():
    lengths = embedder(normalize=True)(images()).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(5))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("avg", lambda x: x.mean(dim=(2, 3))),
        ("max", lambda x: x.amax(dim=(2, 3))),
        ("avg_max", lambda x: x.mean(dim=(2, 3)) + x.amax(dim=(2, 3))),
        ("gem", lambda x: x.clamp_min(1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)),
    ],
)
def test_pooling_is_what_it_is_called(kind, expected):
    maps = torch.rand(3, 4, 5, 6) - 0.2
    torch.testing.assert_close(Pooling(kind)(maps), expected(maps))


def test_a_generalised_mean_lies_between_the_average_and_the_largest_value():
    maps, pooling = torch.rand(3, 4, 5, 6), Pooling("gem")
    for power, kind, tolerance in ((1.0, "avg", 1e-5), (300.0, "max", 0.02)):
        with torch.no_grad():
            pooling.power.fill_(power)
        torch.testing.assert_close(pooling(maps), Pooling(kind)(maps), atol=tolerance, rtol=0)


def test_the_power_of_a_generalised_mean_gets_a_finite_gradient_also_from_empty_maps():
    pooling, maps = Pooling("gem"), torch.zeros(2, 3, 4, 4, requires_grad=True)
    pooling(maps).sum().backward()
    assert torch.isfinite(pooling.power.grad).all()
    assert torch.isfinite(maps.grad).all()


def test_an_average_of_the_map_is_what_these_backbones_do_by_themselves():
    own, pooled = embedder(), embedder(pooling="avg")
    torch.testing.assert_close(own(images()), pooled(images()))


@pytest.mark.parametrize(("freeze", "learned"), [("nothing", True), ("everything", False)])
def test_a_learned_pooling_trains_unless_everything_is_kept(freeze, learned):
    model = embedder(freeze, "gem")
    assert model.pooling.power.requires_grad is learned
    assert any(parameter is model.pooling.power for parameter in model.feature_parameters())


def test_all_but_the_last_block_stays_as_it_is():
    model = embedder("all_but_last")
    model(images()).square().sum().backward()
    blocks = model.backbone.weights_by_block()
    assert all(parameter.grad is None for block in blocks[:-1] for parameter in block)
    assert all(parameter.grad is not None for parameter in blocks[-1])
    assert sum(len(block) for block in blocks) == len(list(model.backbone.parameters()))


def test_statistics_stay_too_and_what_is_kept_is_in_evaluation_mode():
    model = embedder("all_but_last", backbone=TimmModel((32, 32), model="resnet18"))
    network = model.train().backbone.network
    assert not network.layer3.training
    assert network.layer4.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    assert {name.split(".")[0] for name, weight in network.named_parameters() if weight.requires_grad} == {"layer4"}


def test_the_last_block_of_two_layers_is_the_second():
    model = embedder("all_but_last", backbone=MLP((16, 16), 1))
    assert [parameter.requires_grad for parameter in model.backbone.parameters()] == [False, False, True, True]


def test_a_network_without_a_map_is_refused_in_words():
    with pytest.raises(ValueError, match="VisionTransformer has no last map"):
        embedder(pooling="max", backbone=TimmModel((32, 32), model="vit_tiny_patch16_224"))
    with pytest.raises(ValueError, match=r"MLP has no last map.*Set pooling to 'own'"):
        embedder(pooling="max", backbone=MLP((16, 16), 1))
    with pytest.raises(ValueError, match=r"Two-layer perceptron has no last map.*Set pooling to 'own'"):
        RunSpec.read({"backbone": {"key": "mlp", "pooling": "gem"}})


def test_a_network_without_blocks_is_refused_in_words():
    with pytest.raises(ValueError, match="Vectors has no blocks"):
        embedder("all_but_last", backbone=Vectors(12, (8, 8), 1))


def test_a_backbone_of_ones_own_that_names_no_blocks_is_refused_in_words():
    class Mine(MLP):
        weights_by_block = Backbone.weights_by_block

    with pytest.raises(ValueError, match=r"Mine has no blocks.*Set freeze to 'nothing' or 'everything'"):
        embedder("all_but_last", backbone=Mine((16, 16), 1))


def test_pooling_takes_the_maps_own_width():
    backbone = TimmModel((32, 32), model="mobilenetv3_small_050")
    model = embedder(pooling="avg_max", backbone=backbone)
    assert model.feature_size == 288 != backbone.feature_size
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 64)


def test_a_residual_head_on_very_long_features_is_refused_with_a_cure():
    with pytest.raises(ValueError, match=r"at most 8,192 numbers; these have 20,000. Set head.embedding_size"):
        build_head(HeadChoice(kind="residual"), 20_000)
