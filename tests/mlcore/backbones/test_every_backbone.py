"""What every declared backbone of images owes its callers. A new one is tested here without an edit."""

import pytest
import torch

from mlcore.backbones import BACKBONES
from mlcore.traits import BackboneTrait

IMAGE_ONES = {key: spec for key, spec in BACKBONES.items() if BackboneTrait.VECTORS not in spec.traits}
pytestmark = pytest.mark.parametrize("spec", IMAGE_ONES.values(), ids=IMAGE_ONES.keys())
SIZES = [((8, 8), 1), ((40, 40), 1), ((48, 64), 3)]


def built(spec, image_size=(40, 40), channels=1, **values):
    return spec.build({"image_size": image_size, "channels": channels}, **values)


def images_for(backbone, count=2):
    height, width = backbone.input_format.size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, backbone.input_format.channels, height, width, generator=generator)


@pytest.mark.parametrize(("image_size", "channels"), SIZES)
def test_features_have_the_promised_length_for_images_of_any_size(spec, image_size, channels):
    backbone = built(spec, image_size, channels)
    features = backbone(images_for(backbone, count=3))
    assert features.shape == (3, backbone.feature_size)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()


def test_input_format_has_a_mean_and_a_deviation_per_channel(spec):
    form = built(spec, (40, 40), 3).input_format
    assert len(form.mean) == len(form.std) == form.channels == 3
    assert min(form.std) > 0


def test_says_whether_it_is_pretrained(spec):
    backbone = built(spec)
    assert backbone.pretrained is spec.defaults().get("pretrained", False)


def test_same_seed_gives_the_same_network(spec):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(built(spec).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_random_weights_differ_between_seeds(spec):
    values = {"pretrained": False} if "pretrained" in spec.defaults() else {}
    states = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        states.append(built(spec, **values).state_dict())
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gradient_reaches_every_weight(spec):
    torch.manual_seed(0)
    backbone = built(spec)
    backbone(images_for(backbone, count=4)).square().sum().backward()
    assert all(weight.grad is not None for weight in backbone.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in backbone.parameters())


def test_in_evaluation_an_image_has_the_same_features_alone_and_in_a_batch(spec):
    torch.manual_seed(0)
    backbone = built(spec).eval()
    images = images_for(backbone, count=3)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[:1], backbone(images[:1]), rtol=1e-4, atol=1e-5)


def test_every_weight_is_in_one_block(spec):
    backbone = built(spec)
    grouped = [id(weight) for block in backbone.weights_by_block() for weight in block]
    assert sorted(grouped) == sorted(id(weight) for weight in backbone.parameters())
    assert len(backbone.weights_by_block()) > 1


def test_last_map_is_there_where_it_is_said_to_be(spec):
    backbone = built(spec).eval()
    if BackboneTrait.FEATURE_MAP not in spec.traits:
        assert not hasattr(backbone, "feature_map")
        return
    with torch.no_grad():
        images = images_for(backbone)
        maps = backbone.feature_map(images)
        assert maps.shape[:2] == (2, backbone.map_size())
        torch.testing.assert_close(maps.mean(dim=(2, 3)), backbone(images), rtol=1e-4, atol=1e-5)


def test_state_comes_back_after_a_save_and_load(spec):
    torch.manual_seed(0)
    backbone = built(spec).eval()
    torch.manual_seed(1)
    other = built(spec).eval()
    other.load_state_dict(backbone.state_dict(), strict=True)
    images = images_for(backbone)
    with torch.no_grad():
        assert torch.equal(other(images), backbone(images))


def test_train_and_eval_return_the_network_and_set_its_mode(spec):
    backbone = built(spec)
    assert backbone.eval() is backbone
    assert not backbone.training
    assert backbone.train() is backbone
    assert backbone.training


def test_title_text_and_a_sentence_for_every_knob_are_there(spec):
    assert spec.title
    assert spec.description.splitlines()[0].endswith(".")
    assert all(param.knob.text.endswith(".") for param in spec.params)


def test_misspelt_argument_is_refused_with_the_nearest_name(spec):
    name = spec.params[0].name
    with pytest.raises(ValueError, match=f"Did you mean '{name}'"):
        spec.check({name + "s": spec.params[0].default})


def test_number_outside_a_knobs_range_is_refused(spec):
    ranges = [param for param in spec.params if param.knob.low is not None]
    assert ranges
    for param in ranges:
        with pytest.raises(ValueError, match=f"{param.name} must be"):
            spec.check({param.name: param.knob.low - 1})
