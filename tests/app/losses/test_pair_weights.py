"""The weight of each pair, against losses whose gradient by each similarity is known in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from app.losses import loss_figures
from app.losses.pair_weights import (
    CLASSES,
    MATES,
    PairWeights,
    by_similarity,
    example_batch,
    pair_weights,
    summary_sentence,
    weighs_pairs,
)
from mlcore.distances import LpDistance
from mlcore.losses import (
    LOSSES,
    CircleLoss,
    ContrastiveLoss,
    MultiSimilarityLoss,
    NPairsLoss,
    NTXentLoss,
    TripletMarginLoss,
)
from mlcore.regularizers import LpRegularizer

WEIGHING = [spec for spec in LOSSES.values() if weighs_pairs(spec)]


@pytest.fixture(scope="module", params=[0.2, 0.6], ids=["mixed", "apart"])
def drawn(request):
    """Rows, labels, and the matrices of similarities, positives and negatives as plain lists."""
    rows, labels = (torch.from_numpy(table) for table in example_batch(request.param))
    similarities = (rows @ rows.T).tolist()
    same = (labels[:, None] == labels).tolist()
    return rows, labels, similarities, same


def both_ways(found: torch.Tensor, one_way: dict[tuple[int, int], float]) -> None:
    """`found` is, off its diagonal, what the directed weights of each pair add up to."""
    expected = torch.zeros_like(found)
    for (i, j), weight in one_way.items():
        expected[i, j] += weight
        expected[j, i] += weight
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def others(labels, same, a):
    """An anchor's positives and its negatives."""
    rest = [i for i in range(len(labels)) if i != a]
    return [i for i in rest if same[a][i]], [i for i in rest if not same[a][i]]


def test_any_function_of_similarities_is_told_apart_pair_by_pair_also_behind_scaling_to_length_1():
    rows, labels = (torch.from_numpy(table) for table in example_batch(0.4))
    slant = torch.randn(len(rows), len(rows), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(embeddings, _):
        unit = F.normalize(embeddings)
        return (slant * torch.tanh(unit @ unit.T)).sum() + embeddings.square().sum()

    expected = slant * (1 - torch.tanh(rows @ rows.T) ** 2)
    torch.testing.assert_close(by_similarity(loss, rows, labels), (expected + expected.T).fill_diagonal_(0.0))


def test_what_is_no_function_of_similarities_has_no_weights():
    rows, labels = (torch.from_numpy(table) for table in example_batch(0.4))
    assert by_similarity(lambda embeddings, _: embeddings.abs().sum(), rows, labels) is None
    assert by_similarity(lambda embeddings, _: embeddings.sum(), rows, labels) is None


def test_a_regularizer_of_lengths_is_no_pairs_business():
    rows, labels = (torch.from_numpy(table) for table in example_batch(0.4))
    plain = by_similarity(NTXentLoss(), rows, labels)
    torch.testing.assert_close(
        by_similarity(NTXentLoss(embedding_regularizer=LpRegularizer()), rows, labels), plain, rtol=1e-7, atol=1e-10
    )


def test_contrastive_on_squared_distances_pulls_alike_on_all_pairs_beyond_their_margin(drawn):
    rows, labels, s, same = drawn
    loss = ContrastiveLoss(pos_margin=0.3, neg_margin=1.2, distance=LpDistance(power=2))
    pairs = list(itertools.permutations(range(len(labels)), 2))
    far = [(i, j) for i, j in pairs if same[i][j] and 2 - 2 * s[i][j] > 0.3]
    close = [(i, j) for i, j in pairs if not same[i][j] and 2 - 2 * s[i][j] < 1.2]
    assert 0 < len(far) < len(pairs)
    assert close
    both_ways(
        by_similarity(loss, rows, labels), dict.fromkeys(far, -2 / len(far)) | dict.fromkeys(close, 2 / len(close))
    )


def test_multi_similarity_weighs_as_general_pair_weighting_says(drawn):
    rows, labels, s, same = drawn
    alpha, beta, base = 2.0, 20.0, 0.5
    weights = {}
    for a in range(len(labels)):
        positives, negatives = others(labels, same, a)
        for i in positives:
            crowd = sum(math.exp(-alpha * (s[a][k] - s[a][i])) for k in positives)
            weights[a, i] = -1 / (math.exp(-alpha * (base - s[a][i])) + crowd) / len(labels)
        for i in negatives:
            crowd = sum(math.exp(beta * (s[a][k] - s[a][i])) for k in negatives)
            weights[a, i] = 1 / (math.exp(beta * (base - s[a][i])) + crowd) / len(labels)
    both_ways(by_similarity(MultiSimilarityLoss(alpha=alpha, beta=beta, base=base), rows, labels), weights)


@pytest.mark.parametrize("power", [1, 2])
def test_triplets_weigh_a_pair_by_how_many_of_them_it_violates(drawn, power):
    rows, labels, s, same = drawn
    far = [[math.sqrt(max(0.0, 2 - 2 * entry)) ** power for entry in row] for row in s]
    slope = [[-1 / entry if power == 1 and entry > 1e-6 else -2.0 for entry in row] for row in far]
    counts: dict[tuple[int, int], int] = {}
    total = 0
    for a in range(len(labels)):
        for p, n in itertools.product(*others(labels, same, a)):
            if far[a][p] - far[a][n] + 0.2 > 0:
                total += 1
                for pair in ((a, p), (a, n)):
                    counts[pair] = counts.get(pair, 0) + 1
    weights = {(i, j): (1 if same[i][j] else -1) * slope[i][j] * times / total for (i, j), times in counts.items()}
    loss = TripletMarginLoss(margin=0.2, distance=LpDistance(power=power))
    both_ways(by_similarity(loss, rows, labels), weights)


def test_nt_xent_shares_out_a_softmax(drawn):
    rows, labels, s, same = drawn
    temperature = 0.2
    weights: dict[tuple[int, int], float] = {}
    asked = 0
    for a in range(len(labels)):
        positives, negatives = others(labels, same, a)
        for p in positives:
            asked += 1
            whole = sum(math.exp(s[a][i] / temperature) for i in (p, *negatives))
            for i in (p, *negatives):
                share = math.exp(s[a][i] / temperature) / whole - (i == p)
                weights[a, i] = weights.get((a, i), 0.0) + share / temperature
    weights = {pair: weight / asked for pair, weight in weights.items()}
    both_ways(by_similarity(NTXentLoss(temperature=temperature), rows, labels), weights)


def test_n_pairs_shares_out_a_softmax_over_the_first_pair_of_each_class(drawn):
    rows, labels, s, _ = drawn
    anchors = range(0, CLASSES * MATES, MATES)
    weights = {}
    for a in anchors:
        whole = sum(math.exp(s[a][b + 1]) for b in anchors)
        for b in anchors:
            weights[a, b + 1] = (math.exp(s[a][b + 1]) / whole - (a == b)) / CLASSES
    both_ways(by_similarity(NPairsLoss(), rows, labels), weights)


def test_circle_weighs_each_pair_by_its_distance_from_the_ideal_and_its_share_of_the_worst(drawn):
    rows, labels, s, same = drawn
    m, gamma = 0.3, 10.0
    weights = {}
    for a in range(len(labels)):
        positives, negatives = others(labels, same, a)
        pull = {p: gamma * max(0.0, 1 + m - s[a][p]) for p in positives}
        push = {n: gamma * max(0.0, s[a][n] + m) for n in negatives}
        pulls = {p: math.exp(pull[p] * (1 - m - s[a][p])) for p in positives}
        pushes = {n: math.exp(push[n] * (s[a][n] - m)) for n in negatives}
        product = sum(pulls.values()) * sum(pushes.values())
        lost = product / (1 + product) / len(labels)
        weights |= {(a, p): -lost * pulls[p] / sum(pulls.values()) * pull[p] for p in positives}
        weights |= {(a, n): lost * pushes[n] / sum(pushes.values()) * push[n] for n in negatives}
    both_ways(by_similarity(CircleLoss(m=m, gamma=gamma), rows, labels), weights)


@pytest.mark.parametrize("apart", [0.0, 0.5, 0.9])
def test_the_batch_is_the_same_each_time_of_length_1_mean_0_and_no_sample_made_of_others(apart):
    rows, labels = example_batch(apart)
    np.testing.assert_array_equal(rows, example_batch(apart)[0])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0)
    np.testing.assert_allclose(rows.mean(axis=1), 0.0, atol=1e-15)
    assert np.linalg.matrix_rank(rows) == len(rows) == CLASSES * MATES < rows.shape[1]
    assert np.linalg.cond(rows) < 100
    np.testing.assert_array_equal(np.bincount(labels), [MATES] * CLASSES)


def test_positives_and_negatives_cover_the_range_and_move_apart():
    found = [pair_weights(LOSSES["contrastive"], {}, apart) for apart in (0.0, 0.5, 0.9)]
    for side in (found[1].positive, ~found[1].positive):
        angles = np.sort(found[1].degrees[side])
        assert angles[0] < 25
        assert angles[-1] > 110
        assert np.diff(angles).max() < 20
    nearer = [float(np.median(one.degrees[~one.positive]) - np.median(one.degrees[one.positive])) for one in found]
    assert abs(nearer[0]) < 20
    assert nearer[0] < nearer[1] < nearer[2]


def ends_of_every_knob(spec):
    for param in spec.params:
        ends = param.knob.choices or (param.knob.low, param.knob.high)
        for end in [not param.default] if param.kind == "bool" else ends:
            if end is not None:
                yield {param.name: end}


@pytest.mark.parametrize("spec", WEIGHING, ids=lambda spec: spec.key)
def test_every_loss_of_pairs_weighs_them_or_looks_at_more_than_similarities(spec):
    usual = pair_weights(spec, {}, 0.5)
    if usual is None:
        assert spec.unpictured
        return
    assert usual.share.any()
    assert len(usual.share) == math.comb(CLASSES * MATES, 2)
    assert usual.positive.sum() == CLASSES * math.comb(MATES, 2)
    for values in ends_of_every_knob(spec):
        found = pair_weights(spec, values, 0.5)
        assert np.isfinite(found.share).all(), values
        assert np.abs(found.share).sum() == pytest.approx(1.0) or not found.share.any(), values
        assert summary_sentence(found).endswith(".")


def test_a_batch_at_rest_has_no_weights_and_says_so():
    found = pair_weights(LOSSES["circle"], {"m": 1.0}, 0.9)
    assert not found.share.any()
    assert summary_sentence(found) == "No pair of this batch is pulled on."
    assert all(math.isfinite(end) for end in loss_figures.weights_figure(found, "light").layout.yaxis.range)


def test_a_loss_of_single_dimensions_has_no_weights_of_pairs():
    assert pair_weights(LOSSES["vicreg"], {}, 0.5) is None


def test_a_loss_with_proxies_weighs_no_pairs():
    assert not weighs_pairs(LOSSES["arcface"])
    assert weighs_pairs(LOSSES["histogram"])


def test_a_wider_margin_pulls_on_more_pairs():
    pulled = [
        int((pair_weights(LOSSES["triplet_margin"], {"margin": margin}, 0.9).share > 0).sum())
        for margin in (0.05, 0.5, 1.0)
    ]
    assert pulled[0] < pulled[1] < pulled[2]


def test_margins_are_lines_at_the_losses_own_angles():
    found = pair_weights(LOSSES["contrastive"], {}, 0.5)
    assert [at for at, _ in found.lines] == pytest.approx([0.0, 60.0])
    (relative,) = pair_weights(LOSSES["triplet_margin"], {}, 0.5).lines
    assert relative[0] > np.median(found.degrees[found.positive])
    assert relative[1].endswith("at the median")


def weights_of(positives, negatives):
    shares = np.array([*positives, *negatives])
    degrees = np.linspace(10, 100, len(shares))
    return PairWeights(degrees, np.arange(len(shares)) < len(positives), shares, ())


@pytest.mark.parametrize(
    ("positives", "negatives", "words"),
    [
        ([0, 0], [0, 0], "No pair of this batch is pulled on."),
        (
            [0.4, 0.2],
            [0, 0, 0, 0.4],
            "All 2 positive pairs are pulled in, with 60 % of all weight, the heaviest (10 degrees) with 40 %; only "
            "1 of 4 negative pairs is pushed away, with 40 % of all weight.",
        ),
        (
            [-0.3, 0],
            [0.35, 0.35, 0.0001],
            "No positive pair is pulled in; 2 of 3 negative pairs are pushed away, with 70 % of all weight, all alike; "
            "1 pair is moved the wrong way, with 30 %.",
        ),
    ],
)
def test_a_sentence_says_what_the_numbers_say(positives, negatives, words):
    assert summary_sentence(weights_of(positives, negatives)) == words


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_tells_positives_and_negatives_apart_by_more_than_colour(theme):
    found = pair_weights(LOSSES["circle"], {}, 0.5)
    figure = loss_figures.weights_figure(found, theme)
    assert {trace.marker.symbol for trace in figure.data} == {"circle", "x"}
    assert sum(len(trace.x) for trace in figure.data) == len(found.share)
    assert len(figure.layout.shapes) == len(found.lines) == 2
    assert figure.to_json() == loss_figures.weights_figure(found, theme).to_json()
