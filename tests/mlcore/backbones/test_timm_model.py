"""timm by name: what is refused at the door, and that weights are had or refused, never random unasked."""

import builtins
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from mlcore.backbones import TimmModel, timm_model

SMALL = "mobilenetv3_small_050"


@pytest.fixture
def no_network(monkeypatch):
    """Nothing in the local cache, and no hub that answers."""
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing_found)
    monkeypatch.setattr(timm_model, "hub_answers", lambda: False)


def nothing_found(repo, file, **_):
    raise FileNotFoundError(f"{repo}/{file}")


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc", "C:\\x", "org/evil", "hf-hub:org/evil", "local-dir:x", "https://a.b/c", "", "a b", "a\n", "Ä"],
)
def test_what_is_no_plain_name_is_refused_before_timm_is_even_imported(name, monkeypatch):
    real_import = builtins.__import__

    def guarded(module, *args, **kwargs):
        assert module.partition(".")[0] not in ("timm", "huggingface_hub"), "the name was taken further"
        return real_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    with pytest.raises(ValueError, match="model must be a plain name"):
        TimmModel((40, 40), model=name)


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"there is no model 'resnett18'\. Did you mean 'resnet18'"):
        TimmModel((40, 40), model="resnett18")


def test_name_like_no_other_is_refused_without_listing_a_thousand():
    with pytest.raises(ValueError, match=r"timm\.list_models\(\)") as refusal:
        TimmModel((40, 40), model="zzzzzzzzzzzz")
    assert len(str(refusal.value)) < 200


def test_unknown_tag_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"resnet18 has no weights 'a1'\. Did you mean 'resnet18\.a"):
        TimmModel((40, 40), model="resnet18.a1")


@pytest.mark.usefixtures("no_network")
def test_weights_that_cannot_be_had_are_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"'resnet18' have no local copy and no network.*efficientnet_lite0.*pretrained=false"
    ):
        TimmModel((40, 40), model="resnet18", pretrained=True)


@pytest.mark.usefixtures("no_network")
def test_network_without_published_weights_is_refused():
    name = next(name for name in timm.list_models() if not timm.models.get_pretrained_cfg(name).hf_hub_id)
    with pytest.raises(ValueError, match=f"no pretrained weights are published for '{name}'"):
        TimmModel((40, 40), model=name, pretrained=True)


def test_hub_without_safetensors_is_refused_rather_than_asked_for_a_pickle(monkeypatch):
    asked = []

    def only_pickles(repo, file, **_):
        asked.append(file)
        raise FileNotFoundError(f"{repo}/{file}")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", only_pickles)
    monkeypatch.setattr(timm_model, "hub_answers", lambda: True)
    with pytest.raises(ValueError, match="could not be fetched as safetensors"):
        TimmModel((40, 40), model="resnet18", pretrained=True)
    assert set(asked) == {"model.safetensors"}


def published(tmp_path, monkeypatch, leave_out=""):
    """A stand-in for the hub's file of SMALL, with weights that can be told from any others."""
    torch.manual_seed(7)
    state = {name: tensor for name, tensor in timm.create_model(SMALL).state_dict().items() if name != leave_out}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, **_: str(path))
    return state


def test_published_weights_are_all_taken_over_from_the_local_copy(tmp_path, monkeypatch):
    state = published(tmp_path, monkeypatch)
    torch.manual_seed(0)
    backbone = TimmModel((40, 40), model=SMALL, pretrained=True)
    loaded = backbone.network.state_dict()
    assert backbone.pretrained
    assert set(state) - set(loaded) == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)


def test_file_that_lacks_a_tensor_is_an_error_not_a_random_layer(tmp_path, monkeypatch):
    published(tmp_path, monkeypatch, leave_out="conv_stem.weight")
    with pytest.raises(ValueError, match=f"'{SMALL}' .* do not fit"):
        TimmModel((40, 40), model=SMALL, pretrained=True)


def test_network_of_fixed_size_keeps_it():
    assert TimmModel((40, 40), model="vit_tiny_patch16_224").input_format.side == 224


def test_feature_size_is_what_comes_out_also_where_timm_says_otherwise():
    backbone = TimmModel((40, 40), model=SMALL)
    assert backbone.feature_size == backbone(torch.zeros(2, 3, 40, 40)).shape[1]


def test_image_too_small_for_the_network_is_a_sentence():
    with pytest.raises(ValueError, match=r"'inception_v3' must take images of 32 x 32 px.*Set a larger side"):
        TimmModel((8, 8), model="inception_v3")


def test_hub_is_not_asked_when_the_machine_is_told_to_stay_offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(timm_model.urllib.request, "urlopen", lambda *_, **__: pytest.fail("the hub was asked"))
    assert timm_model.hub_answers() is False


def test_hub_that_cannot_be_reached_does_not_answer(monkeypatch):
    def unreachable(*_, **__):
        raise timm_model.urllib.error.URLError("no route")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(timm_model.urllib.request, "urlopen", unreachable)
    assert timm_model.hub_answers() is False


def test_torch_load_stands_in_one_place_of_the_library():
    root = Path(timm_model.__file__).parents[1]
    users = [path.name for path in sorted(root.rglob("*.py")) if "torch.load(" in path.read_text(encoding="utf-8")]
    assert users == ["efficientnet_lite0.py"]


def test_images_are_prepared_as_published_only_when_asked():
    own = TimmModel((40, 40), model="resnet18", as_published=True).input_format
    assert (own.size, own.interpolation, own.crop) == ((224, 224), "bicubic", 0.95)
    small = TimmModel((40, 40), model="resnet18", as_published=True, side=64).input_format
    assert (small.size, small.crop) == ((64, 64), 0.95)
    usual = TimmModel((40, 40), model="resnet18").input_format
    assert (usual.size, usual.interpolation, usual.crop) == ((40, 40), "bilinear", 1.0)


def test_grey_images_may_have_one_channel_with_the_mean_of_the_three():
    backbone = TimmModel((40, 40), model=SMALL, grey_input=True, channels=1)
    assert backbone.input_format.channels == 1
    assert backbone.input_format.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert backbone(torch.zeros(2, 1, 40, 40)).shape == (2, backbone.feature_size)
    assert TimmModel((40, 40), model=SMALL, grey_input=True, channels=3).input_format.channels == 3


def test_published_weights_of_three_channels_are_summed_for_grey(tmp_path, monkeypatch):
    state = published(tmp_path, monkeypatch)
    backbone = TimmModel((40, 40), model=SMALL, pretrained=True, grey_input=True, channels=1)
    summed = state["conv_stem.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(backbone.network.conv_stem.weight.detach(), summed)


def test_a_network_that_gives_no_blocks_is_refused_in_words(monkeypatch):
    backbone = TimmModel((40, 40), model=SMALL)
    monkeypatch.delattr(type(backbone.network), "group_matcher")
    with pytest.raises(ValueError, match="timm does not say what the blocks of MobileNetV3 are"):
        backbone.weights_by_block()
