"""What every declared training method owes its callers. A new method is tested here without an edit."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import pytorch_metric_learning.trainers
import torch
from torch import nn

from mlcore.losses import LOSSES
from mlcore.miners import MINERS
from mlcore.reducers import DoNothingReducer
from mlcore.text import ImageTexts
from mlcore.training.methods import METHODS, Outcome, TrainingMethod
from mlcore.traits import MethodTrait
from mlcore.tuples import Pairs, Triplets

CLASSES, INPUTS, FEATURES, SIZE, ROWS = 4, 7, 9, 8, 16
PLACES = np.arange(CLASSES)
TEXTS = ImageTexts(("a cat", "two dogs", "the sea", "nothing"), (), PLACES, PLACES, PLACES)
CHOSEN = {"texts": ("own",), "encoder": ("small",)}  # what these few texts, and what is installed, allow
LOSSES_AND_MINERS = [
    ("contrastive", "none"),
    ("triplet_margin", "triplet_margin"),
    ("supcon", "multi_similarity"),
    ("arcface", "none"),
]

pytestmark = pytest.mark.parametrize("spec", METHODS.values(), ids=METHODS.keys())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def fits(spec, loss_key):
    return LOSSES[loss_key].family != "proxy" or not {MethodTrait.OWN_LABELS, MethodTrait.NO_PROXIES} & set(spec.traits)


def build(spec, loss_key="supcon", miner_key="none", **knobs):
    def make_loss(size):
        return LOSSES[loss_key].build({"num_classes": CLASSES, "embedding_size": size})

    sizes = {
        "make_loss": make_loss,
        "miner": MINERS[miner_key].build(),
        "num_classes": CLASSES,
        "embedding_size": SIZE,
        "feature_size": FEATURES,
        "image_texts": TEXTS,
    }
    return spec.build(sizes, **knobs)


def network():
    return nn.Linear(INPUTS, FEATURES), nn.Linear(FEATURES, SIZE)


def images(method, rows=ROWS, labels=None):
    """Views of images (rows, INPUTS) whose classes overlap, and their labels."""
    labels = torch.arange(rows) % CLASSES if labels is None else labels
    centres = torch.eye(CLASSES, INPUTS)
    still = 2 * centres[labels % CLASSES] + 0.5 * torch.randn(len(labels), INPUTS)
    return [still + 0.5 * torch.randn_like(still) for _ in range(method.views)], labels


def outcome(method, backbone, head, views, labels) -> Outcome:
    """What it makes of a batch; the texts' places are numbered as the classes, so that labels are rows, too."""
    return method(head, tuple(backbone(view) for view in views), labels, labels if labels.ndim == 1 else None)


@pytest.fixture(params=LOSSES_AND_MINERS, ids=lambda pair: pair[0])
def pair(request, spec):
    if not fits(spec, request.param[0]):
        pytest.skip("its traits exclude losses with proxies")
    return request.param


def test_one_backward_pass_reaches_backbone_head_and_losses(spec, pair):
    method, (backbone, head) = build(spec, *pair), network()
    made = outcome(method, backbone, head, *images(method))
    made.loss.backward()
    assert made.loss.shape == ()
    for part in (backbone, head, *method.losses()):
        assert all(torch.isfinite(weight.grad).all() and weight.grad.abs().sum() > 0 for weight in part.parameters())


def test_a_miner_is_counted_and_its_absence_told(spec):
    method = build(spec, "triplet_margin", "batch_hard")
    made = outcome(method, *network(), *images(method))
    assert made.tuples == ROWS * (2 if spec.key == "unsupervised" else 1)
    assert outcome(build(spec), *network(), *images(method)).tuples is None
    method.miner = None
    assert outcome(method, *network(), *images(method)).tuples is None


def test_parts_are_what_the_loss_is_the_sum_of(spec, pair):
    method = build(spec, *pair)
    made = outcome(method, *network(), *images(method))
    assert len(made.parts) != 1
    if made.parts:
        assert sum(made.parts.values()) == pytest.approx(made.loss.item(), rel=1e-5)


def test_thirty_steps_lower_the_loss(spec, pair):
    method, (backbone, head) = build(spec, *pair), network()
    views, labels = images(method)
    modules = nn.ModuleList([method, backbone, head])
    optimizer = torch.optim.Adam(modules.parameters(), lr=0.01)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = outcome(method, backbone, head, views, labels).loss
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


def test_saved_and_loaded_it_goes_on_as_if_it_had_not_stopped(spec, pair, tmp_path):
    torch.manual_seed(1)
    method, (backbone, head) = build(spec, *pair), network()
    views, labels = images(method)
    for _ in range(3):
        outcome(method, backbone, head, views, labels)
    torch.save(method.state_dict(), tmp_path / "method.pt")
    other = build(spec, *pair)
    other.load_state_dict(torch.load(tmp_path / "method.pt", weights_only=True))
    for _ in range(3):
        ours, theirs = (outcome(each, backbone, head, views, labels) for each in (method, other))
        assert ours.loss.item() == theirs.loss.item()
        assert (ours.tuples, ours.parts) == (theirs.tuples, theirs.parts)


def test_no_tensor_stands_twice_in_what_is_saved(spec, pair):
    places = [tensor.data_ptr() for tensor in build(spec, *pair).state_dict().values() if tensor.numel()]
    assert len(set(places)) == len(places)


def test_evaluation_mode_changes_nothing_in_it(spec, pair):
    method, (backbone, head) = build(spec, *pair).eval(), network()
    before = copy.deepcopy(method.state_dict())
    views, labels = images(method)
    values = [outcome(method, backbone, head, views, labels).loss.item() for _ in range(2)]
    assert values[0] == values[1]
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_the_global_random_state_is_left_alone(spec, pair):
    method, (backbone, head) = build(spec, *pair), network()
    views, labels = images(method)
    state = torch.get_rng_state()
    outcome(method, backbone, head, views, labels)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("labels", [[2], [0, 1, 2], [1, 1, 1]], ids=["one sample", "no positives", "no negatives"])
def test_a_batch_without_triplets_is_no_error(spec, pair, labels):
    method, (backbone, head) = build(spec, *pair), network()
    made = outcome(method, backbone, head, *images(method, labels=torch.tensor(labels)))
    made.loss.backward()
    assert torch.isfinite(made.loss)
    assert all(torch.isfinite(weight.grad).all() for weight in [*backbone.parameters(), *head.parameters()])


NOTHING = torch.empty(0, dtype=torch.long)
FINDING_NOTHING = (Triplets(NOTHING, NOTHING, NOTHING), Pairs(NOTHING, NOTHING, NOTHING, NOTHING))


@pytest.mark.parametrize("tuples", FINDING_NOTHING, ids=["triplets", "pairs"])
def test_a_miner_that_finds_nothing_is_no_error_with_any_loss(spec, tuples):
    for loss_key in LOSSES:
        if not fits(spec, loss_key):
            continue
        method, (backbone, head) = build(spec, loss_key), network()
        method.miner = lambda *_: tuples
        made = outcome(method, backbone, head, *images(method))
        made.loss.backward()
        assert torch.isfinite(made.loss), loss_key
        assert made.tuples == 0, loss_key
        metric = made.parts or {"loss": made.loss.item()}
        told = {name: share for name, share in metric.items() if name in ("loss", "metric") or "stage" in name}
        assert all(share == pytest.approx(0, abs=1e-6) for share in told.values()), (loss_key, told)


@pytest.mark.parametrize("labels", [[2], [0, 1, 2], [1, 1, 1]], ids=["one sample", "no positives", "no negatives"])
def test_no_miner_and_proxies_stop_at_a_batch_without_triplets(spec, labels):
    if not fits(spec, "arcface"):
        pytest.skip("its traits exclude losses with proxies")
    for miner_key in MINERS:
        method, (backbone, head) = build(spec, "arcface", miner_key), network()
        if miner_key == "packaged_triplets" and len(labels) % 3:
            continue
        made = outcome(method, backbone, head, *images(method, labels=torch.tensor(labels)))
        made.loss.backward()
        assert torch.isfinite(made.loss), miner_key


def test_bfloat16_autocast_gives_a_finite_loss_and_gradient(spec, pair):
    method, (backbone, head) = build(spec, *pair), network()
    views, labels = images(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = outcome(method, backbone, head, views, labels)
    made.loss.backward()
    assert torch.isfinite(made.loss)
    assert all(torch.isfinite(weight.grad).all() for weight in backbone.parameters())


def test_features_that_are_not_finite_give_a_loss_that_says_so_and_no_error(spec):
    method = build(spec)
    views, labels = images(method)
    views[-1][0, 0] = math.inf
    made = outcome(method, *network(), views, labels)
    assert math.isnan(made.loss.item())
    assert made.tuples is None


@pytest.mark.parametrize("loss_key", LOSSES.keys())
def test_every_loss_that_fits_can_be_trained_with_it(spec, loss_key):
    if not fits(spec, loss_key):
        with pytest.raises(ValueError, match=r"with its proxies\. Choose"):
            build(spec, loss_key)
        return
    method, (backbone, head) = build(spec, loss_key), network()
    made = outcome(method, backbone, head, *images(method))
    made.loss.backward()
    assert torch.isfinite(made.loss)
    assert all(torch.isfinite(weight.grad).all() for weight in backbone.parameters())


@pytest.mark.parametrize("miner_key", [key for key, miner in MINERS.items() if miner.family != "given"])
def test_every_miner_can_be_used_with_it(spec, miner_key):
    method, (backbone, head) = build(spec, "contrastive", miner_key), network()
    made = outcome(method, backbone, head, *images(method))
    made.loss.backward()
    assert torch.isfinite(made.loss)


def test_a_wrong_number_of_views_or_rows_is_refused_with_the_cure(spec):
    method, (_, head) = build(spec), network()
    features, labels = torch.randn(ROWS, FEATURES), torch.zeros(ROWS, dtype=torch.long)
    name = spec.load().__name__
    with pytest.raises(ValueError, match=f"{name}: features must hold one .* got one tensor. Pass a tuple"):
        method(head, features, labels)
    with pytest.raises(ValueError, match=rf"each of {method.views} view\(s\); got {3 - method.views}"):
        method(head, (features,) * (3 - method.views), labels)
    with pytest.raises(ValueError, match="with one label per row"):
        method(head, (features,) * method.views, labels[1:])


def test_a_loss_that_gives_no_single_number_is_refused(spec):
    method = build(spec)
    method.loss.reducer = DoNothingReducer()
    with pytest.raises(ValueError, match="SupConLoss: must give one number to train on; got dict"):
        outcome(method, *network(), *images(method))


def test_traits_say_what_the_class_does(spec):
    assert spec.load().views == (2 if MethodTrait.TWO_VIEWS in spec.traits else 1)
    assert issubclass(spec.load(), TrainingMethod)
    if fits(spec, "arcface"):
        assert (MethodTrait.SLICES in spec.traits) == (build(spec, "arcface").loss.proxies.shape[1] < SIZE)


def test_each_knob_refuses_what_lies_outside_its_range(spec):
    for param in spec.params:
        knob = param.knob
        for value in ["perhaps"] if param.kind in ("bool", "str") else [knob.low - 1, knob.high + 1]:
            with pytest.raises(ValueError, match=f"{spec.key}: {param.name} must be"):
                build(spec, **{param.name: value})


def test_each_knob_works_at_both_ends(spec):
    for param in spec.params:
        high = min(param.knob.high or 0, {"stages": SIZE // 2}.get(param.name, math.inf))
        ends = {"bool": (False, True), "str": CHOSEN.get(param.name, param.knob.choices)}
        for value in ends.get(param.kind, (param.knob.low, high)):
            method, (backbone, head) = build(spec, **{param.name: value}), network()
            made = outcome(method, backbone, head, *images(method))
            made.loss.backward()
            assert torch.isfinite(made.loss), (param.name, value)


def test_declaration_tells_formula_paper_and_what_to_expect(spec):
    assert spec.formula
    assert spec.paper
    assert spec.family == "training method"
    assert any(section.startswith("What to expect: ") for section in spec.description.split("\n\n"))
    assert all(param.knob.symbol in spec.formula for param in spec.params)
    assert set(spec.sizes) <= {"make_loss", "miner", "num_classes", "embedding_size", "feature_size", "image_texts"}


def test_class_has_the_name_of_pytorch_metric_learnings_trainer(spec):
    name = spec.load().__name__
    if MethodTrait.TEXTS in spec.traits:
        assert not hasattr(pytorch_metric_learning.trainers, name)
        return
    assert any(known.startswith(name) for known in spec.aliases)
    assert "before" in spec.aliases[0] or hasattr(pytorch_metric_learning.trainers, name)


def test_a_method_that_says_so_trains_on_shares_of_classes(spec):
    if MethodTrait.CLASS_SHARES not in spec.traits:
        return
    method, (backbone, head) = build(spec, "arcface"), network()
    views, labels = images(method)
    shares = torch.nn.functional.one_hot(labels, CLASSES).float()
    hard, soft = (outcome(method, backbone, head, views, given).loss for given in (labels, shares))
    torch.testing.assert_close(soft, hard)
