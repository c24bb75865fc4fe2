"""Normalized linear and fixed AdaCos: a softmax over cosines with the scale that the classes ask for."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import FixedAdaCosLoss, NormalizedLinearLoss


@pytest.mark.parametrize(
    ("options", "scale"),
    [({}, math.sqrt(2) * math.log(5)), ({"scale": 7.0}, 7.0), ({"scale": 7.0, "times_root_of_size": True}, 14.0)],
)
def test_matches_the_formula(options, scale):
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 6
    loss = NormalizedLinearLoss(6, 4, **options).double()
    cosines = F.cosine_similarity(embeddings[:, None], loss.proxies[None], dim=2)
    torch.testing.assert_close(loss(embeddings, labels), F.cross_entropy(scale * cosines, labels))


def test_fixed_adacos_is_the_paper_s_scale():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 6
    loss = FixedAdaCosLoss(6, 4).double()
    cosines = F.cosine_similarity(embeddings[:, None], loss.proxies[None], dim=2)
    expected = F.cross_entropy(math.sqrt(2) * math.log(5) * cosines, labels)
    torch.testing.assert_close(loss(embeddings, labels), expected)
