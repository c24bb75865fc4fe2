"""Distillation: the distance to a teacher, what may teach, and that a student comes near."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlcore.analysis.evaluate_run import evaluate_run
from mlcore.data import load
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.checkpoints import with_teacher
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import HeadChoice, TeacherChoice
from mlcore.training.embedder import build_head
from mlcore.training.events import TrainingFault
from mlcore.training.loop import Trainer, train
from mlcore.training.methods import METHODS, Outcome
from mlcore.training.prepare import prepare
from mlcore.training.step import read_views
from mlcore.training.teacher import Distillation, Teacher, own_features
from mlcore.traits import MethodTrait


@pytest.fixture(autouse=True)
def torch_as_before():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def taught(runs, quick_spec):
    """A finished run that can teach."""
    run = runs.create(quick_spec.changed({"name": "the teacher"}))
    assert run_folder(run) == 0
    return run


def sized(size: int) -> Teacher:
    model = nn.Module()
    model.embedding_size = size
    return Teacher(model, "ab" * 32, np.zeros(0, dtype=np.int64))


def distillation(size: int = 4, **settings) -> Distillation:
    """One whose teacher has said something already, with embeddings as long as the student's."""
    found = Distillation(TeacherChoice(backbone="mlp", **settings), size, sized(size))
    found.targets = F.normalize(torch.randn(9, size, generator=torch.Generator().manual_seed(1)), dim=1)
    return found


def events_of(spec, **options):
    return list(train(spec, **options))


def test_distances_are_those_by_hand():
    rows = np.array([2, 0, 5])
    embeddings = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    cosine, squared = distillation(), distillation(measure="mse")
    by_hand, by_hand_squared = [], []
    for embedding, row in zip(embeddings, rows, strict=True):
        target = cosine.targets[row]
        by_hand.append(1 - float(embedding @ target) / float(embedding.norm()))
        by_hand_squared.append(float(((embedding - target) ** 2).sum()))
    assert cosine(embeddings, rows).item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)
    assert squared(embeddings, rows).item() == pytest.approx(sum(by_hand_squared) / 3, rel=1e-5)


def test_at_length_one_the_squared_distance_is_twice_the_cosines():
    rows = np.arange(9)
    units = F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(3)), dim=1)
    torch.testing.assert_close(distillation(measure="mse")(units, rows), 2 * distillation()(units, rows))


def test_a_map_leads_to_a_teacher_of_another_length_and_none_to_one_of_the_same():
    choice = TeacherChoice(backbone="mlp")
    assert isinstance(Distillation(choice, 8, sized(8)).map, nn.Identity)
    assert Distillation(choice, 8, sized(5)).map.weight.shape == (5, 8)


@pytest.mark.parametrize("key", METHODS)
def test_beside_any_method_the_first_views_embeddings_are_compared(key):
    settings = {"dataset": "digits", "backbone": "mlp", "head.embedding_size": 16, "loss": "contrastive", "method": key}
    if MethodTrait.TEXTS in METHODS[key].traits:
        pytest.skip("wants texts")
    spec = RunSpec.read({}).changed(settings | {"teacher.backbone": "small_conv", "augment": "light"})
    trainer = Trainer(prepare(spec))
    taught = trainer.prepared.distillation
    taught.targets = F.normalize(torch.randn(len(trainer.prepared.split.train), taught.targets.shape[1]), dim=1)
    rows = trainer.prepared.batches.rows(0)
    labels = torch.from_numpy(trainer.prepared.train_labels[rows])
    features = read_views(trainer.prepared, rows, step=0, number=0)
    alone = trainer.prepared.method(trainer.prepared.model.head, features, labels)
    outcome = taught.outcome(trainer.prepared.method, trainer.prepared.model.head, features, labels, rows)
    expected = taught(trainer.prepared.model.head(features[0]), rows)
    assert outcome.parts["teacher"] == pytest.approx(expected.item(), rel=1e-5)
    assert outcome.tuples == alone.tuples
    assert sum(outcome.parts.values()) == pytest.approx(outcome.loss.item(), rel=1e-4)
    assert len(outcome.embeddings) == trainer.prepared.method.views


def test_the_head_is_asked_once_so_that_its_dropout_and_statistics_are_the_methods_own():
    head, _ = build_head(HeadChoice(norm="batch", embedding_size=4), 6)

    def method(head, features, labels, rows=None):
        embeddings = head(features[0])
        return Outcome(embeddings.sum(), None, {}, (embeddings,))

    batch = head[-1] if isinstance(head, nn.Sequential) else head
    distillation().outcome(method, head, (torch.randn(3, 6),), torch.arange(3), np.arange(3))
    assert batch.num_batches_tracked == 1


def nearest(embeddings: torch.Tensor, count: int = 10) -> list[set[int]]:
    units = F.normalize(embeddings, dim=1)
    similar = (units @ units.T).fill_diagonal_(-2)
    return [set(row) for row in similar.topk(count).indices.tolist()]


@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_a_student_taught_alone_comes_nearer_to_the_teachers_neighbours(measure):
    settings = {"dataset": "digits", "backbone": "mlp", "budget.steps": 60, "watch.evaluate_every": 60, "seed": 3}
    teaching = {"teacher.backbone": "small_conv", "teacher.alone": True, "teacher.measure": measure}
    trainer = Trainer(prepare(RunSpec.read({}).changed(settings | teaching)))
    rows = np.arange(300)
    teacher = own_features(trainer.prepared.spec.teacher, trainer.prepared.table).eval()
    with torch.no_grad():
        wanted = nearest(trainer.prepared.features.source.features(teacher, trainer.prepared.split.train[rows]))
    before = nearest(trainer.prepared.features.embed(rows))
    proxies = trainer.prepared.method.loss.proxies.detach().clone()
    losses = [event.loss for event in trainer.events() if event.kind == "step"]
    after = nearest(trainer.prepared.features.embed(rows))

    def shared(found):
        return np.mean([len(one & other) for one, other in zip(wanted, found, strict=True)])

    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    assert shared(after) > shared(before) + 0.5
    assert torch.equal(trainer.prepared.method.loss.proxies, proxies)


def test_what_has_been_learned_starts_from_the_same_weights_with_and_without_a_teacher(quick_spec):
    weights = []
    for settings in ({}, {"teacher.backbone": "small_conv"}):
        trainer = Trainer(prepare(quick_spec.changed(settings)))
        weights.append([*trainer.prepared.model.state_dict().values(), trainer.prepared.method.loss.proxies])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_the_teacher_sees_every_training_image_and_a_wish_to_stop_is_heard_meanwhile(quick_spec):
    trainer = Trainer(prepare(quick_spec.changed({"teacher.backbone": "small_conv"})))
    said = []
    for event in trainer.events():
        said.append(event)
        if event.kind == "progress" and event.text == "Asking the teacher":
            trainer.stop()
    assert [event.kind for event in said] == ["started", "progress", "finished"]
    assert said[1].total == said[0].train_images
    assert said[-1].reason == "stopped"


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_teaches_what_it_shows(runs, quick_spec, ema):
    run = runs.create(quick_spec.changed({"optimizer.ema": ema}))
    assert run_folder(run) == 0
    spec = with_teacher(quick_spec.changed({"teacher.run": run.run_id[-6:], "loss": "contrastive"}), runs)
    assert spec.teacher.run == run.run_id
    assert len(spec.teacher.sha256) == 64
    trainer = Trainer(prepare(spec, runs=runs.root))
    taught = Trainer(prepare(run.spec))
    list(taught.events())
    rows = np.arange(20)
    source, model = taught.prepared.features.source, taught.prepared.eval_model.eval()
    with torch.no_grad():
        shown = model.head(source.features(model, rows))
        said = trainer.prepared.distillation.teacher.model.eval()
        torch.testing.assert_close(said.head(source.features(said, rows)), shown)
    events = events_of(spec, runs=runs.root)
    assert {"metric", "teacher"} == set([event for event in events if event.kind == "step"][-1].parts)


def test_a_session_finds_the_teacher_beside_its_run_and_its_model_outlives_the_teacher(runs, quick_spec, taught):
    student = runs.create(with_teacher(quick_spec.changed({"teacher.run": taught.run_id}), runs))
    assert run_folder(student) == 0
    runs.delete(taught.run_id)
    result = evaluate_run(student)
    last = student.status().metrics["held_out"]["map_at_r"]
    assert result["figures"]["map_at_r"] == pytest.approx(last, abs=2e-3)


def test_a_deleted_teacher_is_a_plain_fault(runs, quick_spec, taught):
    spec = with_teacher(quick_spec.changed({"teacher.run": taught.run_id}), runs)
    student = runs.create(spec)
    runs.delete(taught.run_id)
    with pytest.raises(ValueError, match=r"is not in .* restore it"):
        with_teacher(spec, runs)
    assert run_folder(student) == 1
    assert student.stored_status().reason_code == "teacher_unfit"
    assert "restore it" in student.stored_status().reason_text


def test_a_teacher_that_was_trained_on_is_a_plain_fault(runs, quick_spec, taught):
    spec = quick_spec.changed({"teacher.run": taught.run_id, "teacher.sha256": "0" * 64})
    with pytest.raises(ValueError, match="has been trained on since"):
        with_teacher(spec, runs)
    with pytest.raises(TrainingFault, match="has been trained on since"):
        events_of(spec, runs=runs.root)


def test_a_resumed_run_knows_its_teacher_again(runs, quick_spec, taught):
    spec = quick_spec.changed({"teacher.run": taught.run_id})
    saved = [event.data for event in events_of(spec, runs=runs.root) if event.kind == "checkpoint"]
    trainer = Trainer(prepare(spec, runs=runs.root), resume_from=saved[0])
    trainer.prepared.distillation.sha256 = "0" * 64
    with pytest.raises(TrainingFault, match="since this run was begun"):
        trainer.prepared.distillation.load_state_dict(Distillation(spec.teacher, 8, sized(8)).state_dict())


def test_other_images_unfinished_runs_and_unknown_ones_do_not_teach(runs, quick_spec, taught):
    with pytest.raises(ValueError, match="trained on other images"):
        with_teacher(quick_spec.changed({"dataset": "glyphs", "teacher.run": taught.run_id}), runs)
    waiting = runs.create(quick_spec)
    with pytest.raises(ValueError, match=r"is queued\. Wait for its end"):
        with_teacher(quick_spec.changed({"teacher.run": waiting.run_id}), runs)
    with pytest.raises(ValueError, match="is not in"):
        with_teacher(quick_spec.changed({"teacher.run": "nobody"}), runs)


def test_a_teacher_that_has_seen_what_is_held_out_is_warned_of(runs, quick_spec, taught):
    spec = quick_spec.changed({"teacher.run": taught.run_id, "dataset.split_seed": 5, "budget.steps": 1})
    warnings = [event.text for event in events_of(spec, runs=runs.root) if event.kind == "warning"]
    assert any("held-out metrics flatter" in text for text in warnings)
    same = events_of(spec.changed({"dataset.split_seed": 0}), runs=runs.root)
    assert not [event for event in same if event.kind == "warning"]


def test_a_teacher_is_a_run_or_a_backbone_with_its_own_values():
    spec = RunSpec.read({}).changed({"teacher.backbone": "efficientnet_lite0", "teacher.side": 64})
    assert spec.teacher.params["pretrained"] is True
    assert spec.teacher.params["side"] == 64
    assert spec.changed({"teacher": None}) == RunSpec.read({})
    for settings, fault in (
        ({"teacher.measure": "cosine"}, "got neither"),
        ({"teacher.run": "a", "teacher.backbone": "mlp"}, "got both"),
        ({"teacher.backbone": "mlpp"}, "Did you mean"),
        ({"teacher.run": "a", "teacher.side": 64}, "nothing to set"),
        ({"teacher.backbone": "mlp", "teacher.weight": 0}, "teacher.weight"),
    ):
        with pytest.raises(ValueError, match=fault):
            RunSpec.read({}).changed(settings)


def test_its_settings_go_round_and_a_new_teacher_forgets_the_old_ones_checkpoint():
    spec = RunSpec.read({}).changed({"teacher.backbone": "mlp", "teacher.measure": "mse", "teacher.weight": 3.0})
    assert RunSpec.read({}).changed(spec.settings()) == spec
    old = RunSpec.read({}).changed({"teacher.run": "one", "teacher.sha256": "1" * 64})
    assert old.changed({"teacher.run": "two"}).teacher.sha256 == ""
    assert "teacher.sha256" not in old.settings()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"mix.kind": "mixup"}, "single images"),
        ({"teacher.alone": True, "loss": "contrastive", "subset_miner": "maximum_loss"}, "Leave subset_miner out"),
        ({"teacher.alone": True, "backbone.freeze": "everything", "head.kind": "none"}, "nothing would be trained"),
    ],
)
def test_what_does_not_go_with_a_teacher_is_said(settings, fault):
    with pytest.raises(ValueError, match=fault):
        RunSpec.read({}).changed({"teacher.backbone": "mlp"} | settings)


def test_the_targets_are_of_length_one_around_nothing():
    trainer = Trainer(prepare(RunSpec.read({"dataset": "digits", "teacher": {"backbone": "small_conv"}})))
    plain = trainer.prepared.features.source
    list(trainer.prepared.distillation.ask(plain, trainer.prepared.split, 0, lambda: False))
    targets = trainer.prepared.distillation.targets
    torch.testing.assert_close(
        targets.norm(dim=1), torch.ones(len(load("digits").labels[trainer.prepared.split.train]))
    )
    assert targets.mean(dim=0).norm() < 0.2
