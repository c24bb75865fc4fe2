"""What every declared loss owes its callers. A new loss is tested here without an edit."""

from __future__ import annotations

import inspect
import json
import math

import pytest
import pytorch_metric_learning.losses
import torch

from mlcore.distances import DISTANCES
from mlcore.losses import LOSSES
from mlcore.miners import MINERS
from mlcore.reducers import DoNothingReducer, MeanReducer
from mlcore.tuples import Pairs, Triplets, all_pairs

CLASSES, SIZE = 4, 6
SIZES = {"num_classes": CLASSES, "embedding_size": SIZE}

pytestmark = pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch(count=12, dtype=torch.float32):
    return torch.randn(count, SIZE, dtype=dtype), torch.arange(count) % CLASSES


def nothing():
    return torch.empty(0, dtype=torch.long)


def targets(loss):
    """(C, D): where the loss wants each class. Proxies where it has them, else axes."""
    if not hasattr(loss, "proxies"):
        return torch.eye(CLASSES, SIZE)
    proxies = loss.proxies.detach()
    return proxies if proxies.ndim == 2 else proxies[:, 0]


def excused(spec, attribute):
    """Skip a question that is not asked of this loss: its class attribute of that name holds the reason."""
    if reason := getattr(spec.load(), attribute, ""):
        pytest.skip(f"{attribute}: {reason}")


def settled(loss):
    """The loss; one that tracks the batches it sees has seen one, and tracks no more."""
    if getattr(loss, "tracks_batches", ""):
        loss(*batch(dtype=next(kept.dtype for kept in loss.state_dict().values() if kept.is_floating_point())))
        loss.eval()
    return loss


def test_the_family_says_whether_a_loss_learns_proxies(spec):
    assert hasattr(spec.build(SIZES), "proxies") == (spec.family == "proxy")


def is_built_with(spec, distance):
    try:
        spec.build(SIZES, {"distance": distance})
    except ValueError:
        return False
    return True


def test_the_distances_it_is_built_with_are_those_it_declares(spec):
    if "distance" in inspect.signature(spec.load()).parameters:
        built = tuple(key for key, distance in DISTANCES.items() if is_built_with(spec, distance.build()))
        assert built == spec.takes["distance"]


def test_value_is_a_finite_scalar(spec):
    value = spec.build(SIZES)(*batch())
    assert value.shape == ()
    assert torch.isfinite(value)


def test_order_of_the_batch_is_irrelevant(spec):
    excused(spec, "depends_on_order")
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    order = torch.randperm(len(labels))
    torch.testing.assert_close(loss(embeddings[order], labels[order]), loss(embeddings, labels))


def test_length_of_the_embeddings_is_irrelevant(spec):
    excused(spec, "depends_on_length")
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    torch.testing.assert_close(loss(7.0 * embeddings, labels), loss(embeddings, labels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copies", [2, 10], ids=["8 rows", "40 rows"])
@pytest.mark.parametrize("pose", ["aligned", "opposite", "identical"])
def test_gradient_is_finite_where_angles_are_0_or_pi(spec, pose, copies):
    loss = spec.build(SIZES)
    rows = {"aligned": targets(loss), "opposite": -targets(loss), "identical": torch.ones(CLASSES, SIZE)}[pose]
    embeddings = rows.repeat(copies, 1).requires_grad_()
    value = loss(embeddings, torch.arange(CLASSES).repeat(copies))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in loss.parameters())


def test_gradient_is_that_of_the_value(spec):
    excused(spec, "detached")
    loss = settled(spec.build(SIZES).double())
    embeddings, labels = batch(8, torch.float64)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings.requires_grad_())


def test_gradient_reaches_the_proxies(spec):
    loss = spec.build(SIZES)
    embeddings, labels = batch()
    loss(embeddings.requires_grad_(), labels).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    assert (spec.family == "proxy") == hasattr(loss, "proxies")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(spec, dtype):
    embeddings, labels = batch(dtype=dtype)
    assert spec.build(SIZES)(embeddings, labels).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_its_gradient_returned_in_half(spec, dtype):
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    half = embeddings.to(dtype).requires_grad_()
    value = loss(half, labels)
    value.backward()
    torch.testing.assert_close(value, loss(half.detach().float(), labels))
    assert half.grad.dtype == dtype


def test_autocast_does_not_change_the_value(spec):
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(embeddings, labels)
    torch.testing.assert_close(inside, loss(embeddings, labels), rtol=0, atol=0)


@pytest.mark.parametrize("tuples", [Triplets(*(nothing(),) * 3), Pairs(*(nothing(),) * 4)], ids=["triplets", "pairs"])
def test_empty_tuples_give_a_zero_on_the_graph(spec, tuples):
    embeddings, labels = batch()
    embeddings.requires_grad_()
    value = spec.build(SIZES)(embeddings, labels, tuples)
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


@pytest.mark.parametrize("labels", [[2], [0, 1, 2], [1, 1, 1]], ids=["one sample", "no positives", "no negatives"])
def test_a_batch_without_triplets_is_no_error(spec, labels):
    embeddings = torch.randn(len(labels), SIZE, requires_grad=True)
    value = spec.build(SIZES)(embeddings, torch.tensor(labels))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()
    if spec.family == "triplet":
        assert value.item() == 0.0


def test_a_plain_tuple_means_the_same_as_a_named_one(spec):
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    mined = MINERS["batch_hard"].build()(embeddings, labels)
    torch.testing.assert_close(loss(embeddings, labels, tuple(mined)), loss(embeddings, labels, mined))


def test_all_tuples_mean_the_same_as_none_given(spec):
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch(12)  # classes of one size, so that to a proxy loss all samples weigh the same
    torch.testing.assert_close(loss(embeddings, labels, all_pairs(labels)), loss(embeddings, labels))


def test_save_and_load_keep_the_value(spec, tmp_path):
    loss, other = spec.build(SIZES), spec.build(SIZES)
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    other.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    embeddings, labels = batch()
    assert other(embeddings, labels).item() == loss(embeddings, labels).item()


def test_a_better_separated_batch_scores_lower(spec):
    loss = spec.build(SIZES)
    labels = torch.arange(16) % CLASSES
    noise = torch.randn(16, SIZE)
    near, far = (loss(targets(loss)[labels] + spread * noise, labels).item() for spread in (0.05, 1.0))
    assert near < far


def separation(embeddings, labels):
    """Mean cosine of pairs of one class less that of pairs of two."""
    unit = torch.nn.functional.normalize(embeddings.detach())
    cosines, same = unit @ unit.T, labels[:, None] == labels
    return (cosines[same & ~torch.eye(len(labels), dtype=torch.bool)].mean() - cosines[~same].mean()).item()


def test_steps_down_the_gradient_separate_the_classes(spec):
    excused(spec, "needs_a_base_loss")
    excused(spec, "splits_classes")
    loss = spec.build(SIZES, **getattr(spec.load(), "separates_with", {}))
    embeddings, labels = batch(CLASSES * getattr(spec.load(), "samples_per_class", 4))
    before = separation(embeddings, labels)
    embeddings.requires_grad_()
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    assert separation(embeddings, labels) > before + 0.4


def test_each_knob_refuses_what_lies_outside_its_range(spec):
    for param in spec.params:
        knob = param.knob
        outside = [bound + step for bound, step in ((knob.low, -1e-3), (knob.high, 1e-3)) if bound is not None]
        for value in [*outside, math.nan] if param.kind in ("float", "int") else ["perhaps"]:
            with pytest.raises(ValueError, match=f"{spec.key}: {param.name} must be"):
                spec.build(SIZES, **{param.name: value})


def test_each_knob_works_at_both_ends(spec):
    for param in spec.params:
        ends = [False, True] if param.kind == "bool" else param.knob.choices or (param.knob.low, param.knob.high)
        for value in ends:
            loss = spec.build(SIZES, **{param.name: value})
            embeddings, labels = batch()
            loss(embeddings.requires_grad_(), labels).backward()
            assert torch.isfinite(embeddings.grad).all(), (param.name, value)


def test_misspelt_argument_is_refused_with_the_nearest_name(spec):
    name, value = (spec.params[0].name, spec.params[0].default) if spec.params else ("reducer", None)
    with pytest.raises(TypeError, match=f"Did you mean '{name}'"):
        spec.load()(**{size: SIZES[size] for size in spec.sizes}, **{name + "s": value})


def test_declaration_tells_formula_paper_and_what_to_expect(spec):
    assert spec.formula
    assert spec.paper
    first, *rest = spec.description.split("\n\n")
    assert first.replace("\n", " ").endswith(".")
    assert any(section.startswith("What to expect: ") for section in rest)
    assert spec.family in ("proxy", "pair", "triplet", "list", "views")


def test_symbols_of_the_knobs_stand_in_the_formula(spec):
    assert all(param.knob.symbol in spec.formula for param in spec.params)


def test_class_and_call_are_those_of_pytorch_metric_learning(spec):
    theirs = getattr(pytorch_metric_learning.losses, spec.load().__name__, None)
    known = inspect.signature(theirs.__init__).parameters if theirs else {}
    for param in spec.params:
        if param.name in known and known[param.name].default is not inspect.Parameter.empty:
            in_degrees = param.knob.unit == "rad"
            ours = pytest.approx(math.degrees(param.default), abs=0.15) if in_degrees else param.default
            assert ours == known[param.name].default, param.name
    assert list(inspect.signature(spec.load().forward).parameters)[1:] == [
        "embeddings",
        "labels",
        "indices_tuple",
        "ref_emb",
        "ref_labels",
    ]


def test_reducer_none_gives_the_items_that_the_mean_is_made_of(spec):
    embeddings, labels = batch()
    torch.manual_seed(1)
    parts = spec.load()(**{name: SIZES[name] for name in spec.sizes}, reducer=DoNothingReducer())(embeddings, labels)
    torch.manual_seed(1)
    mean = spec.load()(**{name: SIZES[name] for name in spec.sizes}, reducer=MeanReducer())(embeddings, labels)
    torch.testing.assert_close(sum(items.mean() for items in parts.values()), mean)


def test_margin_lines_fall_inside_the_histogram(spec):
    loss = spec.build(SIZES)
    for line in getattr(loss, "margin_lines", tuple)():
        assert 0.0 <= line.place(0.7) <= math.pi
        assert json.loads(json.dumps(vars(line))) == vars(line)


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.full((4, SIZE), math.nan), torch.arange(4), "must be finite; got NaN or infinity in 4 of 4 rows"),
        (torch.full((4, SIZE), math.inf), torch.arange(4), "must be finite"),
        (torch.empty(0, SIZE), torch.empty(0, dtype=torch.long), "must not be empty"),
        (torch.randn(SIZE), torch.arange(1), "must be a float tensor of shape"),
        (torch.ones(4, SIZE, dtype=torch.long), torch.arange(4), "must be a float tensor of shape"),
        (torch.randn(4, SIZE), torch.arange(3), "one class number per row"),
        (torch.randn(4, SIZE), torch.eye(4, dtype=torch.long), r"labels.argmax\(1\)"),
        (torch.randn(4, SIZE), torch.rand(4), r"Pass labels.long\(\)"),
        (torch.randn(4, SIZE), None, "must be given"),
    ],
    ids=["nan", "inf", "empty", "1-d", "whole", "short labels", "one-hot", "float labels", "no labels"],
)
def test_input_check_refuses_with_a_cure(spec, embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        spec.build(SIZES)(embeddings, labels)


def test_very_large_finite_embeddings_are_let_in(spec):
    excused(spec, "overflows")
    embeddings, labels = batch()
    assert torch.isfinite(spec.build(SIZES)(embeddings.sign() * 1e18, labels))


def test_tuples_of_wrong_make_are_refused(spec):
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="must be 3 tensors of one length"):
        spec.build(SIZES)(embeddings, labels, (torch.arange(2), torch.arange(2)))


def test_reference_belongs_to_pair_and_triplet_losses(spec):
    loss = spec.build(SIZES)
    embeddings, labels = batch()
    reference, ref_labels = batch(20)
    if spec.family == "proxy":
        with pytest.raises(ValueError, match="takes no ref_emb"):
            loss(embeddings, labels, ref_emb=reference, ref_labels=ref_labels)
        return
    leaf = reference.requires_grad_()
    value = loss(embeddings, labels, ref_emb=leaf, ref_labels=ref_labels)
    value.backward()
    assert leaf.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="ref_labels must be given"):
        loss(embeddings, labels, ref_emb=reference)
    with pytest.raises(ValueError, match="as wide as embeddings"):
        loss(embeddings, labels, ref_emb=reference[:, 1:], ref_labels=ref_labels)


def test_batch_passed_as_its_own_reference_is_no_reference(spec):
    loss = settled(spec.build(SIZES))
    embeddings, labels = batch()
    torch.testing.assert_close(loss(embeddings, labels, None, embeddings, labels), loss(embeddings, labels))


def test_proxy_losses_tell_classes_by_logits_without_margin(spec):
    if spec.family != "proxy":
        assert not hasattr(spec.load(), "get_logits")
        return
    loss = spec.build(SIZES)
    logits = loss.get_logits(targets(loss))
    assert logits.shape == (CLASSES, CLASSES)
    assert logits.argmax(dim=1).tolist() == list(range(CLASSES))
    if "margin" in spec.defaults():
        loss.margin = 0.0
        torch.testing.assert_close(loss.get_logits(targets(loss)), logits)


def test_proxy_losses_refuse_labels_and_sizes_that_do_not_fit(spec):
    if spec.family != "proxy":
        spec.build(SIZES)(torch.randn(4, SIZE + 1), torch.tensor([-7, -7, 99, 99]))  # any class number will do
        return
    loss = spec.build(SIZES)
    for wrong in (-1, CLASSES):
        with pytest.raises(ValueError, match=rf"labels must lie in \[0, {CLASSES}\).*got {wrong}"):
            loss(torch.randn(2, SIZE), torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match=f"embedding_size={SIZE + 1}"):
        loss(torch.randn(2, SIZE + 1), torch.tensor([0, 1]))
