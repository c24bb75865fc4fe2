"""The list of timm's networks: what it holds, what a search finds, and which weights are seen in the cache."""

import json

import huggingface_hub.constants
import pandas as pd
import pytest

from mlcore.timm_zoo import model_table
from mlcore.timm_zoo.model_table import HERE, HUB, NOWHERE, find_model, network_list, search, where_weights_are


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache; `hub_cache(repository, file)` lays a file into it as the hub's client does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def lay(repository, file="model.safetensors"):
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        for name in ("refs", "snapshots/abc"):
            (folder / name).mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc" / file).write_bytes(b"weights")

    return lay


@pytest.fixture
def few():
    """A list of five networks."""
    rows = [
        ("vit_tiny", "vision_transformer", 5.7, (), NOWHERE),
        ("resnet50", "resnet", 23.5, ("a1_in1k", "dino"), HUB),
        ("resnet18", "resnet", 11.2, ("a1_in1k",), HERE),
        ("test_resnet", "resnet", 0.4, ("r160_in1k",), HUB),
        ("seresnet_new", "resnet", float("nan"), (), NOWHERE),
    ]
    return pd.DataFrame(rows, columns=["name", "family", "parameters_m", "tags", "weights"]).set_index("name")


def names(found):
    return list(found.rows.index)


def test_the_list_holds_all_of_timm_with_its_sizes():
    listed = network_list()
    assert len(listed) > 1300
    assert listed.index.is_unique
    assert listed.gmacs.notna().mean() > 0.95
    row = listed.loc["resnet18"]
    assert (row.family, row.parameters_m, row.features) == ("resnet", 11.18, 512)
    assert (row.height, row.width, row.fixed, row.licence) == (224, 224, 0, "apache-2.0")
    assert row.gmacs == pytest.approx(1.814)
    assert "a1_in1k" in row.tags


def test_weights_are_here_on_the_hub_or_nowhere(hub_cache):
    hub_cache("timm/resnet18.a1_in1k")
    hub_cache("timm/resnet34.a1_in1k", "pytorch_model.bin")
    hub_cache("someone/else")
    weights = network_list().weights
    assert (weights["resnet18"], weights["resnet34"], weights["lcnet_035"]) == (HERE, HUB, NOWHERE)
    assert weights.value_counts()[HERE] == 1


@pytest.mark.usefixtures("hub_cache")
def test_a_cache_without_the_file_of_a_broken_download_is_not_taken_for_weights(tmp_path):
    snapshot = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "models--no--..").mkdir()
    (tmp_path / "version.txt").write_text("1")
    assert network_list().weights["resnet18"] == HUB


def test_a_tag_has_weights_licence_and_size_of_its_own(hub_cache):
    hub_cache("timm/resnet18.a3_in1k")
    assert (where_weights_are("resnet18"), where_weights_are("resnet18.a3_in1k"), where_weights_are("lcnet_035")) == (
        HUB,
        HERE,
        NOWHERE,
    )
    assert (find_model("resnet18.a3_in1k")["height"], find_model("resnet18")["height"]) == (160, 224)
    assert find_model("resnet18.fb_ssl_yfcc100m_ft_in1k")["licence"] == "cc-by-nc-4.0"
    assert find_model("resnet18.nothing") is None
    assert find_model("nothing") is None


def test_every_word_must_occur_in_name_family_or_tags(few):
    assert names(search(few, "resnet a1")) == ["resnet18", "resnet50"]
    assert names(search(few, "RESNET dino")) == ["resnet50"]
    assert names(search(few, "transformer")) == ["vit_tiny"]
    assert names(search(few, "resnet50.dino")) == ["resnet50"]


def test_the_name_itself_comes_first_then_the_smallest_and_what_was_not_counted_last(few):
    assert names(search(few, "resnet")) == ["resnet18", "resnet50", "seresnet_new", "test_resnet"]
    assert names(search(few, "resnet50 resnet"))[0] == "resnet50"
    assert names(search(few))[0] == "vit_tiny"
    assert names(search(few, "test"))[0] == "test_resnet"


def test_filters(few):
    assert names(search(few, pretrained=True)) == ["resnet18", "resnet50", "test_resnet"]
    assert names(search(few, here=True)) == ["resnet18"]
    assert names(search(few, max_parameters=11.2)) == ["vit_tiny", "resnet18", "test_resnet"]


def test_a_typing_error_finds_nothing_but_what_was_meant(few):
    assert search(few, "resnett dino").meant == "resnet dino"
    assert search(few, "qqqqq").meant == ""
    assert search(few, "vit dino").meant == ""
    assert search(few, "resnet", here=True, max_parameters=1.0).meant == ""
    assert search(network_list(), "convnxt tiny").meant == "convnext tiny"


def test_another_timm_is_listed_by_the_names_it_left_and_what_is_new_is_not_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(model_table, "installed_version", lambda: "99.0")
    monkeypatch.setattr(model_table, "names_file", lambda: tmp_path / "left.json")
    assert not model_table.names_are_known()
    assert "resnet18" in network_list().index
    how = [224, 224, 0, 0.9, "bicubic"]
    record = {
        "models": [["resnet18", "resnet", *how], ["newnet", "newnets", *how]],
        "weights": [["newnet", "big", "timm/newnet.big", "mit", *how]],
    }
    (tmp_path / "left.json").write_text(json.dumps(record))
    listed = network_list()
    assert model_table.names_are_known()
    assert list(listed.index) == ["resnet18", "newnet"]
    assert listed.parameters_m["resnet18"] == 11.18
    assert pd.isna(listed.parameters_m["newnet"])
    assert (listed.tags["newnet"], listed.licence["newnet"], listed.weights["resnet18"]) == (("big",), "mit", NOWHERE)
    assert names(search(listed, max_parameters=100)) == ["resnet18"]


def test_names_that_cannot_be_read_leave_the_shipped_list(monkeypatch, tmp_path):
    monkeypatch.setattr(model_table, "installed_version", lambda: "99.0")
    monkeypatch.setattr(model_table, "names_file", lambda: tmp_path / "left.json")
    (tmp_path / "left.json").write_text("{")
    assert "resnet18" in network_list().index
