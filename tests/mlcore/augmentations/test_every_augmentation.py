"""What every declared augmentation owes its callers. A new one is tested here without an edit."""

import inspect

import pytest
import torch

from mlcore.augmentations import AUGMENTATIONS, NoAugmentation
from mlcore.backbones import InputFormat
from mlcore.data.transforms import jitter_images, to_input

pytestmark = pytest.mark.parametrize("spec", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())


def pixels(count=4, height=24, width=32, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)


def source(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", [InputFormat((16, 20), 3, (0.5,) * 3, (0.25,) * 3), InputFormat.half((40, 40), 1)])
def test_renderings_are_a_backbones_input(spec, channels, form):
    images = spec.build().render(pixels(channels=channels), form, source())
    assert images.shape == (4, form.channels, *form.size)
    assert images.dtype == torch.float32
    low, high = (0.0 - form.mean[0]) / form.std[0], (1.0 - form.mean[0]) / form.std[0]
    assert low - 1e-4 <= float(images.min()) <= float(images.max()) <= high + 1e-4


def test_renderings_are_decided_by_the_generator_alone(spec):
    augmentation, form = spec.build(), InputFormat.half((24, 32), 3)
    images = augmentation.render(pixels(), form, source())
    torch.manual_seed(9)
    assert torch.equal(images, augmentation.render(pixels(), form, source()))
    if spec.key != "none":
        assert not torch.equal(images, augmentation.render(pixels(), form, source(2)))


def test_the_global_generator_is_left_as_it_was(spec):
    state = torch.get_rng_state()
    spec.build().render(pixels(), InputFormat.half((24, 32), 3), torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_of_a_batch_is_moved_by_its_own_amounts(spec):
    same = pixels(1).expand(6, -1, -1, -1)
    images = spec.build().render(same, InputFormat.half((24, 32), 3), source())
    different = {image.numpy().tobytes() for image in images}
    assert len(different) == 1 if spec.key == "none" else len(different) >= 5


def test_no_images_give_no_renderings(spec):
    assert spec.build().render(pixels(0), InputFormat.half((24, 32), 3), source()).shape[0] == 0


def test_pixels_are_not_written_to(spec):
    before = pixels()
    given = before.clone()
    spec.build().render(given, InputFormat.half((24, 32), 3), source())
    assert torch.equal(given, before)


def test_text_says_what_to_expect(spec):
    assert spec.title
    assert "What to expect" in spec.description
    assert all(param.knob.text.endswith(".") for param in spec.params)


def test_all_knobs_are_arguments_by_name(spec):
    arguments = list(inspect.signature(spec.load()).parameters.values())
    assert {argument.kind for argument in arguments} <= {inspect.Parameter.KEYWORD_ONLY}


def test_none_and_light_are_what_they_were_before_there_were_others(spec):
    form = InputFormat.half((24, 32), 3)
    if spec.key == "none":
        assert torch.equal(NoAugmentation().render(pixels(), form, source()), to_input(pixels(), form))
    if spec.key == "light":
        expected = jitter_images(to_input(pixels(), form), source(), strength=1.0)
        assert torch.equal(spec.build().render(pixels(), form, source()), expected)
