"""Pictures of what an augmentation does."""

import numpy as np
import pytest
import torch

from mlcore.data import load
from mlcore.runs.spec import RunSpec
from mlcore.training.preview import preview


def spec(**settings):
    return RunSpec.read({"dataset": "digits"}).changed(settings)


def test_nine_renderings_and_a_mixed_one_are_pictures():
    table, state = load("digits"), torch.get_rng_state()
    found = preview(spec(**{"augment": "strong", "mix.kind": "mixup"}), table, row=3)
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
    found = preview(spec(), table, row=5)
    np.testing.assert_array_equal(found.plain, table.pixels[5])
    assert all(np.array_equal(picture, found.plain) for picture in found.rendered)
    assert found.mixed is None
    assert found.adapted == ""


def test_one_seed_gives_the_same_pictures():
    first, again, other = (preview(spec(augment="light"), load("digits"), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.rendered, again.rendered)
    assert not np.array_equal(first.rendered, other.rendered)


def test_what_is_adapted_is_said_and_a_row_that_is_not_there_too():
    lite0 = spec(**{"backbone": "efficientnet_lite0", "backbone.pretrained": False})
    assert "32 × 32 px" in preview(lite0, load("digits")).adapted
    with pytest.raises(ValueError, match="row must lie in"):
        preview(spec(), load("digits"), row=10**6)
