"""Pair margin mining against a loop, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import PairMarginMiner


@pytest.mark.parametrize(("margins"), [(0.2, 0.8), (0.9, 1.1), (0.0, 2.0), (0.8, 0.2)])
@pytest.mark.parametrize("similarity", [False, True])
def test_keeps_the_pairs_on_the_wrong_side(margins, similarity):
    torch.manual_seed(0)
    labels = torch.randint(4, (16,))
    embeddings = F.one_hot(labels, 6).double() + 0.5 * torch.randn(16, 6, dtype=torch.float64)
    ours, theirs = (
        (CosineSimilarity, pml_distances.CosineSimilarity)
        if similarity
        else (
            LpDistance,
            pml_distances.LpDistance,
        )
    )
    sign = -1.0 if similarity else 1.0
    mat = (sign * ours()(embeddings)).tolist()
    cells = [(i, j) for i in range(16) for j in range(16) if i != j]
    far = [(i, j) for i, j in cells if labels[i] == labels[j] and mat[i][j] > sign * margins[0]]
    close = [(i, j) for i, j in cells if labels[i] != labels[j] and mat[i][j] < sign * margins[1]]
    names = {"pos_margin": margins[0], "neg_margin": margins[1]}
    for mined in (
        PairMarginMiner(**names, distance=ours())(embeddings, labels),
        pml.PairMarginMiner(**names, distance=theirs())(embeddings, labels),
    ):
        columns = [column.tolist() for column in mined]
        assert sorted(zip(*columns[:2], strict=True)) == far
        assert sorted(zip(*columns[2:], strict=True)) == close
