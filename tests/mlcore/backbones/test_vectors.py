"""The backbone that is none."""

import torch

from mlcore.backbones import BACKBONES


def test_vectors_pass_as_they_are_and_nothing_trains():
    backbone = BACKBONES["vectors"].build({"image_size": (16, 16), "channels": 1, "vector_size": 7})
    rows = torch.randn(3, 7)
    assert backbone(rows) is rows
    assert backbone.feature_size == 7
    assert not list(backbone.parameters())
    assert backbone.weights_by_block() == []
    assert backbone.input_format.adapted((16, 16), 1) == ""
    assert not backbone.pretrained
