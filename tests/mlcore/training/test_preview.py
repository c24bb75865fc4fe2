"""Pictures of what an augmentation does, and the batch that a run begins with."""

import numpy as np
import pytest
import torch

from mlcore.backbones import efficientnet_lite0
from mlcore.data import load
from mlcore.samplers import SAMPLERS
from mlcore.spec.run_spec import RunSpec
from mlcore.training.loop import Trainer
from mlcore.training.prepare import prepare
from mlcore.training.preview import BatchPreview, batch_preview, make_preview
from mlcore.traits import SamplerTrait


def spec(**settings):
    return RunSpec.read({"dataset": "digits"}).changed(settings)


def test_nine_renderings_and_a_mixed_one_are_pictures():
    table, state = load("digits"), torch.get_rng_state()
    found = make_preview(spec(**{"augment": "strong", "mix.kind": "mixup"}), table, row=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.rendered.shape == (9, 8, 8, 1)
    assert found.plain.shape == found.mixed.shape == (8, 8, 1)
    assert found.rendered.dtype == found.mixed.dtype == found.plain.dtype == np.uint8
    assert len({picture.tobytes() for picture in found.rendered}) == 9
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert table.class_names[table.labels[3]] in found.shares
    assert len(found.shares) == 2


def test_without_augmentation_the_picture_is_the_image():
    table = load("digits")
    found = make_preview(spec(), table, row=5)
    np.testing.assert_array_equal(found.plain, table.pixels[5])
    assert all(np.array_equal(picture, found.plain) for picture in found.rendered)
    assert found.mixed is None
    assert found.adapted == ""


def test_one_seed_gives_the_same_pictures():
    first, again, other = (make_preview(spec(augment="light"), load("digits"), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.rendered, again.rendered)
    assert not np.array_equal(first.rendered, other.rendered)


def test_what_is_adapted_is_said_and_a_row_that_is_not_there_too():
    lite0 = spec(**{"backbone": "efficientnet_lite0", "backbone.pretrained": False})
    assert "32 × 32 px" in make_preview(lite0, load("digits")).adapted
    with pytest.raises(ValueError, match="row must lie in"):
        make_preview(spec(), load("digits"), row=10**6)


SAMPLER_NEEDS = {"fixed_triplets": {"sampler.batch_size": 30}, "tuples_to_weights": {"miner": "multi_similarity"}}


@pytest.mark.parametrize("key", SAMPLERS)
def test_the_batch_is_the_one_that_the_runs_first_step_gets(key):
    name = "glyphs" if SamplerTrait.PARENT_LABELS in SAMPLERS[key].traits else "digits"
    settings = {"dataset": name, "loss": "contrastive", "backbone": "mlp", "sampler": key, "seed": 5}
    wanted = spec(**settings | SAMPLER_NEEDS.get(key, {}))
    state = torch.get_rng_state()
    found = batch_preview(wanted, load(name))
    assert torch.equal(torch.get_rng_state(), state)
    trainer = Trainer(prepare(wanted))
    rows = trainer.prepared.split.train[trainer.prepared.batches.rows(0)]
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.labels, trainer.prepared.table.labels[rows])
    assert (found.training_images, found.training_classes) == (
        len(trainer.prepared.split.train),
        len(trainer.prepared.classes),
    )
    torch.use_deterministic_algorithms(False)


def test_the_sentence_counts_the_batch():
    table = load("digits")
    m = spec(**{"sampler": "m_per_class", "sampler.m": 4, "sampler.batch_size": 20, "loss": "contrastive"})
    said = batch_preview(m, table).sentence()
    assert said.endswith("training images: 5 of 5 classes, 4 images of each.")
    shuffled = batch_preview(m.changed({"sampler": "shuffle"}), table)
    assert sum(shuffled.counts().values()) == 20
    low, high = min(shuffled.counts().values()), max(shuffled.counts().values())
    assert f"{low} to {high} images of each" in shuffled.sentence()


def test_images_that_come_again_are_counted():
    found = BatchPreview(np.array([3, 3, 4]), np.array([0, 0, 1]), 10, 2, "")
    assert found.sentence() == "3 of 10 training images: 2 of 2 classes, 1 to 2 images of each. 1 of them comes again."


def test_a_sampler_that_looks_at_a_large_model_is_only_spoken_of():
    asked = {"backbone": "efficientnet_lite0", "sampler": "tuples_to_weights", "loss": "contrastive"}
    found = batch_preview(spec(**asked), load("digits"))
    assert len(found.rows) == 0
    assert "what the model finds hard" in found.note


def test_what_follows_the_drawing_is_said():
    found = batch_preview(
        spec(**{"loss": "contrastive", "subset_miner": "maximum_loss", "optimizer.accumulate": 3}), load("digits")
    )
    assert "The subset miner then picks" in found.note
    assert "3 such batches make one step" in found.note


def test_a_preview_looks_for_no_weights(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: pytest.fail("weights were looked for"))
    assert make_preview(spec(backbone="efficientnet_lite0"), load("digits")).plain.shape == (32, 32, 3)
