"""The shipped tables agree with the installed timm."""

import pytest
import timm
import torch
from timm.models import is_model, list_models
from torch.utils.flop_counter import FlopCounterMode

from mlcore.timm_zoo import count_models, installed_models, model_table
from mlcore.timm_zoo.model_table import COUNTS, SETTINGS, network_list

SAME_VERSION = model_table.version_of_counts() == timm.__version__
only_for_the_counted = pytest.mark.skipif(not SAME_VERSION, reason="another timm is installed than was counted")


@only_for_the_counted
def test_every_name_is_in_timm_and_every_network_of_timm_is_listed():
    assert set(network_list().index) == set(list_models())


@only_for_the_counted
@pytest.mark.parametrize(
    "name", ["resnet18", "test_vit", "test_convnext", "mixer_s32_224", "mobilenetv3_small_050", "levit_128s"]
)
def test_counting_again_gives_the_table(name):
    again, row = count_models.count_model(name), network_list().loc[name]
    assert again["family"] == row.family
    assert {key: float(again[key]) for key in COUNTS} == {key: float(row[key]) for key in COUNTS}
    assert [again[key] for key in SETTINGS] == [row[key] for key in SETTINGS]
    assert tuple(weights["tag"] for weights in installed_models.list_weights(name)) == row.tags


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "regnetx_002"])
def test_a_tally_agrees_with_torchs_own_counter_and_splits_it(name):
    network = timm.create_model(name, num_classes=0).eval()
    images = torch.zeros(1, 3, 96 if "vit" not in name else 160, 96 if "vit" not in name else 160)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    with torch.no_grad(), count_models.Tally() as tally:
        network(images)
    assert tally.macs == counter.get_total_flops() / 2
    assert tally.grouped + tally.matmul <= tally.macs
    assert bool(tally.grouped) == any(
        isinstance(layer, torch.nn.Conv2d) and layer.groups > 1 for layer in network.modules()
    )
    assert tally.values > 0


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_network_is_counted_by_the_same_kernels_wherever_it_runs(device):
    with torch.device(device):
        linear, rows, columns = torch.nn.Linear(6, 5), torch.zeros(2, 3, 6), torch.zeros(2, 6, 3)
        queries = torch.zeros(1, 2, 7, 4)
    with torch.no_grad(), count_models.SameKernels(), count_models.Tally() as tally:
        assert linear(rows).shape == (2, 3, 5)
    assert (tally.operations, tally.values) == (2, 2 * 30)
    with torch.no_grad(), count_models.SameKernels(), count_models.Tally() as tally:
        assert linear(columns.mT).shape == (2, 3, 5)
    assert (tally.operations, tally.values) == (5, 2 * 36 + 3 * 30)
    with torch.no_grad(), count_models.SameKernels(), count_models.Tally() as tally:
        torch.nn.functional.scaled_dot_product_attention(queries, queries, queries)
    assert (tally.operations, tally.values, tally.macs) == (7, 4 * 56 + 3 * 98, 2 * 98 * 4)


def test_the_same_kernels_give_the_same_numbers():
    linear, rows = torch.nn.Linear(6, 5), torch.rand(2, 3, 6)
    expected = linear(rows)
    with count_models.SameKernels():
        torch.testing.assert_close(linear(rows), expected)


def test_a_tally_of_two_layers_by_hand():
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, groups=2, bias=False), torch.nn.Flatten(), torch.nn.Linear(32, 5)
    )
    image = torch.zeros(1, 4, 4, 4)
    with torch.no_grad(), count_models.Tally() as tally:
        layers(image)
    assert (tally.grouped, tally.matmul, tally.macs) == (8 * 2 * 9 * 4, 32 * 5, 8 * 2 * 9 * 4 + 32 * 5)
    assert (tally.values, tally.operations) == (8 * 4 + 5, 2)


def test_what_cannot_be_built_has_no_counts_but_a_reason(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no such layer\nand more")

    monkeypatch.setattr(count_models.timm, "create_model", fails)
    row = count_models.count_model("resnet18")
    assert row["fault"] == "RuntimeError: no such layer"
    assert "gmacs" not in row


@pytest.mark.parametrize(
    ("number", "text"), [(0.0, "0"), (11.176512, "11.18"), (1367.2, "1367"), (0.000123456, "0.0001235")]
)
def test_figures_are_four(number, text):
    assert count_models.four_figures(number) == text


def test_rows_are_on_the_disk_as_they_come(tmp_path):
    path = tmp_path / "table.csv"

    def rows():
        yield {"name": "a", "family": "b", "fault": "not a column"}
        assert "\na,b" in path.read_text()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count_models.write_table(path, ("name", "family"), rows())


def test_the_names_of_another_timm_are_left_for_those_who_do_not_import_it(monkeypatch, tmp_path):
    monkeypatch.setattr(model_table, "installed_version", lambda: "99.0")
    monkeypatch.setattr(model_table, "names_file", lambda: tmp_path / "left.json")
    monkeypatch.setattr(
        installed_models,
        "list_models",
        lambda *given, **_: ["resnet18"] if not given else list_models(*given, pretrained=True),
    )
    installed_models.cache_names()
    assert list(network_list().index) == ["resnet18"]
    assert network_list().tags["resnet18"][0] == "a1_in1k"
    assert is_model("resnet18")
