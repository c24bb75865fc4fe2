"""Testers against rankings by hand, and against pytorch-metric-learning."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import pytorch_metric_learning.testers as pml
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import TensorDataset

from mlcore.evaluation import ami, evaluate_retrieval, nmi, rank
from mlcore.evaluation.testers import (
    TESTERS,
    GlobalEmbeddingSpaceTester,
    GlobalTwoStreamEmbeddingSpaceTester,
    WithSameParentLabelTester,
)

NAMES = {"precision_at_1": "precision_at_1", "mean_average_precision": "map", "mean_reciprocal_rank": "mrr",
         "r_precision": "r_precision", "mean_average_precision_at_r": "map_at_r"}  # fmt: skip


def split(count, seed, levels=2):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(6, (count,), generator=generator)
    rows = torch.randn(6, 8, generator=torch.Generator().manual_seed(9))[labels]
    rows = rows + 1.5 * torch.randn(count, 8, generator=generator)
    return TensorDataset(rows, torch.stack([labels, labels // 3], 1)[:, :levels].squeeze(1))


SETS = {"train": split(70, 0), "val": split(50, 1)}
REFERENCES = [[("val", ["val"])], [("val", ["train"])], [("val", ["train", "val"])], [("train", ["val"])]]


def theirs_of(tester, splits, level):
    calculator = AccuracyCalculator(include=tuple(NAMES), device=torch.device("cpu"))
    logging.getLogger("PML").setLevel(logging.ERROR)
    other = tester(
        label_hierarchy_level=level,
        accuracy_calculator=calculator,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        end_of_testing_hook=lambda tester: None,
    )
    copied = [(query, list(references)) for query, references in splits]  # it reorders what it is given
    return other.test(SETS, 1, nn.Identity(), splits_to_eval=copied)


@pytest.mark.parametrize("splits", REFERENCES)
@pytest.mark.parametrize("level", [0, 1, "all"])
def test_global_figures_are_those_of_pytorch_metric_learning(splits, level):
    ours = GlobalEmbeddingSpaceTester(label_hierarchy_level=level).test(SETS, 1, nn.Identity(), splits_to_eval=splits)
    theirs = theirs_of(pml.GlobalEmbeddingSpaceTester, splits, level)
    for query, _ in splits:
        for key in (key for key in theirs[query] if key != "epoch"):
            start, name, end = key.rpartition("AVERAGE_")[1], key.removeprefix("AVERAGE_").split("_level")[0], key
            end = "_level" + end.split("_level")[1] if "_level" in end else ""
            assert ours[query][f"{start}{NAMES[name]}{end}"] == pytest.approx(theirs[query][key], abs=1e-5)


@pytest.mark.parametrize("splits", REFERENCES)
def test_same_parent_figures_are_those_of_pytorch_metric_learning(splits):
    ours = WithSameParentLabelTester().test(SETS, 1, nn.Identity(), splits_to_eval=splits)
    theirs = theirs_of(pml.WithSameParentLabelTester, splits, 0)
    for query, _ in splits:
        for name, our_name in NAMES.items():
            assert ours[query][f"{our_name}_level0"] == pytest.approx(theirs[query][f"{name}_level0"], abs=1e-5)


def test_each_split_is_compared_with_itself_unless_told_otherwise():
    results = GlobalEmbeddingSpaceTester().test(SETS, 4, nn.Identity())
    rows, labels = (tensor.numpy() for tensor in SETS["val"].tensors)
    expected = evaluate_retrieval(rows, labels[:, 0]) | {"nmi": nmi(rows, labels[:, 0]), "ami": ami(rows, labels[:, 0])}
    assert results["val"]["epoch"] == 4
    assert {name: results["val"][f"{name}_level0"] for name in expected} == pytest.approx(expected)
    assert set(results) == {"train", "val"}


def test_figures_per_class_and_averaged_over_classes():
    tester = GlobalEmbeddingSpaceTester(per_class=True, avg_of_avgs=True, with_clusters=False, depth=20)
    results = tester.test(SETS, 1, nn.Identity(), splits_to_eval=[("val", ["val"])])["val"]
    rows, labels = (tensor.numpy() for tensor in SETS["val"].tensors)
    expected = rank(rows, labels[:, 0], depth=20)
    assert results["per_class_level0"] == expected.per_class()
    assert results["map_level0"] == expected.mean_of_classes()["map"]


def test_the_model_is_embedded_in_evaluation_mode_and_left_as_it_was():
    trunk, embedder = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), nn.Linear(8, 4)
    trunk[1].eval()
    tester = GlobalEmbeddingSpaceTester(batch_size=7)
    embeddings, labels = tester.get_all_embeddings(SETS["val"], trunk, embedder)
    rows, expected = SETS["val"].tensors
    torch.testing.assert_close(embeddings, embedder(trunk[0](rows)).detach())
    assert torch.equal(labels, expected)
    assert (trunk.training, trunk[0].training, trunk[1].training, embedder.training) == (True, True, False, True)
    features, _ = GlobalEmbeddingSpaceTester(use_trunk_output=True).get_all_embeddings(SETS["val"], trunk, embedder)
    assert features.shape == (50, 8)


def test_pca_brings_all_splits_into_one_space():
    tester = GlobalEmbeddingSpaceTester(pca=8, normalize_embeddings=False, with_clusters=False)
    plain = GlobalEmbeddingSpaceTester(normalize_embeddings=False, with_clusters=False)
    splits = [("val", ["train"])]
    whole = plain.test(SETS, 1, nn.Identity(), splits_to_eval=splits)["val"]
    assert tester.test(SETS, 1, nn.Identity(), splits_to_eval=splits)["val"] == pytest.approx(whole, abs=1e-4)
    small = GlobalEmbeddingSpaceTester(pca=2).test(SETS, 1, nn.Identity(), splits_to_eval=splits)["val"]
    assert small["map_level0"] < whole["map_level0"]


def test_two_streams_search_the_other_stream():
    rows, labels = SETS["val"].tensors
    others = rows + torch.randn(rows.shape, generator=torch.Generator().manual_seed(5))
    data = {"val": TensorDataset(rows, others, labels[:, 0])}
    results = GlobalTwoStreamEmbeddingSpaceTester().test(data, 1, nn.Identity())["val"]
    numbers = labels[:, 0].numpy()
    expected = rank(rows.numpy(), numbers, others.numpy(), numbers).mean()
    assert {name: results[f"{name}_level0"] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tester", "splits", "words"),
    [
        (GlobalEmbeddingSpaceTester(), [("test", ["val"])], "must name splits of"),
        (GlobalEmbeddingSpaceTester(), [("val", [])], "at least one reference"),
        (GlobalEmbeddingSpaceTester(), [("val", ["val"]), ("val", ["train"])], "must come once"),
        (GlobalEmbeddingSpaceTester(label_hierarchy_level=2), None, "labels have levels 0 to 1; got 2"),
        (GlobalEmbeddingSpaceTester(label_hierarchy_level="every"), None, "a list of them or 'all'; got 'every'"),
        (WithSameParentLabelTester(label_hierarchy_level=1), None, "which has a parent"),
        (GlobalTwoStreamEmbeddingSpaceTester(), [("val", ["train"])], "tested within a split"),
        (GlobalTwoStreamEmbeddingSpaceTester(), None, "got one stream"),
    ],
)
def test_what_cannot_be_tested_is_refused(tester, splits, words):
    with pytest.raises(ValueError, match=words):
        tester.test(SETS, 1, nn.Identity(), splits_to_eval=splits)


def test_the_hook_sees_the_results_and_testers_are_declared():
    seen = []
    tester = GlobalEmbeddingSpaceTester(end_of_testing_hook=lambda tester: seen.append(tester.all_accuracies))
    assert tester.test(SETS, 1, nn.Identity()) is seen[0]
    assert all("What to expect: " in spec.description for spec in TESTERS.values())
    assert np.isfinite(seen[0]["val"]["ami_level0"])
