"""What is particular to the two networks trained from scratch."""

import pytest
import torch
import torch.nn.functional as F

from mlcore.backbones import MLP, SmallConv
from mlcore.data import load
from mlcore.data.transforms import to_input


@pytest.mark.parametrize("side", [8, 16, 28, 40, 64])
def test_small_conv_never_shrinks_an_image_below_two_pixels(side):
    backbone = SmallConv((side, side), 1)
    last_map = backbone.blocks(torch.zeros(1, 1, side, side))
    assert 2 <= last_map.shape[-1] <= 4
    assert backbone.feature_size == 128


def test_small_conv_computes_the_same_in_training_and_in_evaluation():
    torch.manual_seed(0)
    backbone, images = SmallConv((16, 16), 1), torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(backbone.train()(images), backbone.eval()(images))


@pytest.mark.parametrize("width", [8, 12, 30, 128])
def test_small_conv_takes_any_width(width):
    assert SmallConv((8, 8), 3, width=width, feature_size=7)(torch.zeros(1, 3, 8, 8)).shape == (1, 7)


def test_perceptron_tells_images_apart_by_every_pixel():
    torch.manual_seed(0)
    backbone = MLP((4, 6), 3)
    base = torch.zeros(1, 3, 4, 6)
    for pixel in range(3 * 4 * 6):
        changed = base.clone()
        changed.view(-1)[pixel] = 1.0
        assert not torch.equal(backbone(changed), backbone(base))


@pytest.mark.parametrize("network", [MLP, SmallConv])
def test_learns_digits_it_has_not_seen_in_60_steps(network):
    torch.manual_seed(0)
    table = load("digits")
    backbone = network(table.image_size, table.channels)
    images = to_input(torch.tensor(table.pixels), backbone.input_format)
    labels = torch.tensor(table.labels)
    head = torch.nn.Linear(backbone.feature_size, 10)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=3e-3)
    for rows in torch.randperm(1200)[: 60 * 20].view(60, 20):
        optimizer.zero_grad()
        F.cross_entropy(head(backbone(images[rows])), labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        right = head(backbone(images[1200:])).argmax(dim=1) == labels[1200:]
    assert right.float().mean() > 0.7
