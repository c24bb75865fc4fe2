"""Matches and neighbours of a trained model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance as TheirLpDistance
from pytorch_metric_learning.utils.inference import MatchFinder as TheirMatchFinder
from torch import nn
from torch.utils.data import TensorDataset

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.inference import FaissIndex, InferenceModel, MatchFinder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def nearest_by_hand(queries, gallery, k, metric):
    if metric == "cosine":
        queries, gallery = torch.nn.functional.normalize(queries), torch.nn.functional.normalize(gallery)
    return torch.cdist(queries, gallery).argsort(dim=1)[:, :k].numpy()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_index_finds_the_nearest_and_survives_a_trip_through_a_file(kind, metric, tmp_path):
    gallery, queries = torch.randn(300, 8), torch.randn(20, 8)
    index = FaissIndex(kind, metric, lists=10 if kind == "ivf" else None, probes=10, effort=300)
    index.train(gallery[:200])
    index.add(gallery[200:])
    values, places = index(queries, 5)
    np.testing.assert_array_equal(places, nearest_by_hand(queries, gallery, 5, metric))
    index.save(tmp_path / "gallery.index")
    loaded = FaissIndex(probes=10, effort=300)
    loaded.load(tmp_path / "gallery.index")
    assert (loaded.kind, loaded.metric, len(loaded)) == (kind, metric, 300)
    for ours, expected in zip(loaded(queries, 5), (values, places), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.index"]


def test_training_again_starts_anew():
    index = FaissIndex()
    index.add(torch.randn(5, 3))
    index.train(torch.randn(7, 3))
    assert len(index) == 7


def test_an_index_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of flat, ivf, hnsw"):
        FaissIndex("hash")
    index = FaissIndex()
    with pytest.raises(ValueError, match="nothing to search"):
        index(torch.randn(1, 3), 1)
    with pytest.raises(ValueError, match="nothing to save"):
        index.save(tmp_path / "x")
    with pytest.raises(ValueError, match="there is no file"):
        index.load(tmp_path / "x")
    index.train(torch.randn(4, 3))
    with pytest.raises(ValueError, match="between 1 and the 4 rows; got 5"):
        index(torch.randn(1, 3), 5)
    with pytest.raises(ValueError, match="must have 3 columns; got 2"):
        index.add(torch.randn(4, 2))
    with pytest.raises(ValueError, match="must be finite"):
        index(torch.full((1, 3), torch.nan), 1)


def test_matches_are_on_the_near_side_of_the_threshold():
    x, y = torch.randn(6, 3), torch.randn(5, 3)
    for ours, theirs, threshold in [(LpDistance(), TheirLpDistance(), 0.9)]:
        finder, other = MatchFinder(ours, threshold), TheirMatchFinder(theirs, threshold)
        np.testing.assert_array_equal(finder.get_matching_pairs(x, y), other.get_matching_pairs(x, y))
        assert finder.get_matching_pairs(x, y, return_tuples=True) == other.get_matching_pairs(x, y, return_tuples=True)
    cosine = MatchFinder(CosineSimilarity(), 0.5)
    np.testing.assert_array_equal(
        cosine.is_match(x[:5], y), torch.nn.functional.cosine_similarity(x[:5], y).numpy() >= 0.5
    )
    assert cosine.is_match(x[:1], x[:1], threshold=0.99) is True
    with pytest.raises(ValueError, match="threshold must be given"):
        MatchFinder(LpDistance()).is_match(x, x)


def test_a_model_finds_neighbours_and_matches_and_keeps_its_mode(tmp_path):
    trunk, embedder = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5)), nn.Linear(8, 4)
    model = InferenceModel(trunk, embedder)
    gallery = torch.randn(40, 6)
    model.train_knn(TensorDataset(gallery[:30], torch.zeros(30)), batch_size=8)
    model.add_to_knn(gallery[30:], batch_size=3)
    values, places = model.get_nearest_neighbors(gallery, 1)
    assert places[:, 0].tolist() == list(range(40))
    np.testing.assert_allclose(values, 1.0, atol=1e-5)
    assert trunk.training
    assert trunk[1].training
    assert model.get_matches(list(gallery[:4])).diagonal().all()
    assert model.is_match(gallery[:1], gallery[:1]) is True
    model.save_knn_func(tmp_path / "gallery.index")
    other = InferenceModel(trunk, embedder)
    other.load_knn_func(tmp_path / "gallery.index")
    np.testing.assert_array_equal(other.get_nearest_neighbors(gallery[:5], 3)[1][:, 0], np.arange(5))
