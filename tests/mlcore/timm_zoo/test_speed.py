"""Estimates from counts, what is kept of measurements, and how costs are found from a few networks."""

import numpy as np
import pandas as pd
import pytest
import torch

from mlcore.timm_zoo import calibration, speed
from mlcore.timm_zoo.model_table import network_list
from mlcore.timm_zoo.speed import (
    COSTS,
    MachineSpeed,
    count_operations,
    images_per_s,
    speed_file,
    speed_key,
    speed_words,
    torch_version,
    write_speed,
)


def known(measured=None, **costs):
    """A machine where only these costs are not zero."""
    each = [costs.get(name, 0.0) for name in COSTS]
    return MachineSpeed("cpu", 1, torch_version(), {"forward": each, "training": each}, measured or {})


@pytest.fixture
def rows():
    record = {
        "height": [100, 224],
        "width": [200, 224],
        "fixed": [0, 1],
        "gmacs": [1.0, 2.0],
        "gmacs_grouped": [0.25, 0.0],
        "gmacs_matmul": [0.5, 2.0],
        "values_m": [8.0, 4.0],
        "operations": [100, 50],
        "parameters_m": [10.0, 5.0],
    }
    return pd.DataFrame(record, index=["conv", "vit"])


def test_amounts_of_a_batch_by_hand(rows):
    found = count_operations(rows, rows.height, rows.width, batch=4)
    assert found[0] == pytest.approx([1.0, 1.0, 2.0, 0.032, 100, 10])
    assert found[1] == pytest.approx([0.0, 0.0, 8.0, 0.016, 50, 5])


def test_an_estimate_adds_up_and_follows_the_area_where_the_size_is_free(rows):
    at_own = images_per_s(rows, known(dense=0.1, operations=0.001))
    assert at_own.images_per_s["conv"] == pytest.approx(32 / (32 * 0.25 * 0.1 + 0.1))
    half = images_per_s(rows, known(dense=0.1), size=(50, 100))
    assert half.images_per_s["conv"] == pytest.approx(4 / (0.25 * 0.1))
    assert images_per_s(rows, known(matmul=0.1), size=(50, 100)).images_per_s["vit"] == pytest.approx(5.0)
    assert not half.measured.any()


def test_a_measurement_at_the_same_size_stands_instead(rows):
    measured = {"conv 50x100": {"forward": 90.0, "training": 30.0}, "vit 224x224": {"training": 7.0}}
    found = images_per_s(rows, known(measured, dense=0.1, matmul=0.1), size=(50, 100))
    assert found.images_per_s.tolist() == [30.0, 7.0]
    assert found.measured.all()
    other = images_per_s(rows, known(measured, dense=0.1, matmul=0.1), size=(60, 100))
    assert other.measured.tolist() == [False, True]


def test_what_was_not_counted_has_no_estimate(rows):
    rows.loc["conv", ["gmacs", "values_m", "operations", "parameters_m"]] = np.nan
    assert images_per_s(rows, known(dense=0.1, operations=1.0)).images_per_s.isna().tolist() == [True, False]


def test_an_unknown_way_is_refused(rows):
    with pytest.raises(ValueError, match="forward, training; got 'sideways'"):
        images_per_s(rows, known(), "sideways")


def test_a_tag_changes_no_place():
    assert speed_key("resnet18.a1_in1k", 32, 48) == "resnet18 32x48"


def test_what_is_kept_is_read_again_but_not_with_another_torch_or_half(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert speed.read_speed() is None
    write_speed(known({"conv 50x100": {"training": 3.0}}, dense=1.0))
    assert speed.read_speed() == known({"conv 50x100": {"training": 3.0}}, dense=1.0)
    for broken in ("{", "[]", '{"device": "cpu"}', speed_file().read_text().replace("training", "x")):
        speed_file().write_text(broken)
        assert speed.read_speed() is None
    write_speed(MachineSpeed("cpu", 1, "0.1", known().costs))
    assert speed.read_speed() is None


@pytest.mark.parametrize(
    ("number", "measured", "words"),
    [
        (412.3, True, "412"),
        (412.3, False, "about 410"),
        (0.2345, False, "about 0.23"),
        (1234.0, False, "about 1,200"),
        (3.456, True, "3.5"),
        (float("nan"), False, ""),
        (float("inf"), False, ""),
    ],
)
def test_speeds_in_words(number, measured, words):
    assert speed_words(number, measured) == words


def test_costs_are_found_again_where_a_machine_is_as_usual_but_slower():
    listed = network_list().loc[[name for name, _, _ in calibration.REFERENCES]]
    rows = count_operations(listed, listed.height, listed.width)
    usual = calibration.USUAL["training"]
    assert calibration.fit_costs(rows, rows @ np.array(usual) * 3, usual) == pytest.approx([3 * cost for cost in usual])


def test_costs_follow_a_machine_that_is_different_and_never_go_below_zero():
    rows, usual = np.eye(6)[[0, 1, 2, 3, 4, 5] * 20], (1.0,) * 6
    truth = np.array([1.0, 9.0, 1.0, 1.0, 2.0, 0.5])
    assert calibration.fit_costs(rows, rows @ truth, usual) == pytest.approx(truth, rel=0.25)
    assert min(calibration.fit_costs(np.ones((2, 6)), np.array([1.0, 3.0]), usual)) >= 0


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A second for each batch, without building a network."""
    asked = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def taken(name, height, width, batch, device):
        asked.append((name, height, width, batch, device))
        return {"forward": 1.0, "training": 4.0}

    monkeypatch.setattr(calibration, "seconds_a_batch", taken)
    return asked


def test_a_measurement_calibrates_first_keeps_both_and_leaves_torch_as_it_was(quick):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = calibration.measure("test_resnet.r160_in1k", "cpu", 2, size=(40, 40))
    assert len(quick) == len(calibration.REFERENCES) + 1
    assert quick[-1] == ("test_resnet", 40, 40, found["batch"], "cpu")
    assert found["training"] == found["batch"] / 4
    assert speed.read_speed().measured["test_resnet 40x40"]["forward"] == found["batch"]
    assert (speed.read_speed().device, speed.read_speed().threads) == ("cpu", 2)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    calibration.calibrate("cpu", 2)
    assert "test_resnet 40x40" in speed.read_speed().measured
    calibration.calibrate("cpu", 1)
    assert speed.read_speed().measured == {}


def test_a_network_of_fixed_size_is_measured_at_it(quick):
    calibration.measure("vit_tiny_patch16_224", "cpu", 1, size=(40, 40))
    assert quick[-1][1:3] == (224, 224)


@pytest.mark.usefixtures("quick")
def test_what_is_not_known_or_too_large_is_refused():
    with pytest.raises(ValueError, match="no model 'resnet18000'"):
        calibration.measure("resnet18000", "cpu", 1)
    with pytest.raises(ValueError, match=r"needs about \d+ GB of memory, and \d+ GB are free"):
        calibration.measure("vit_7b_patch16_dinov3", "cpu", 1, size=(4096, 4096))


def test_batches_are_smaller_where_a_step_would_take_long(monkeypatch):
    monkeypatch.setattr(calibration.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1e15}))
    row = network_list().loc[["resnet18"]]
    assert calibration.fitting_batch(row, known(dense=1e-3), 224, 224) == 32
    assert calibration.fitting_batch(row, known(dense=1.814), 224, 224) == 8
    assert calibration.fitting_batch(row, known(dense=1e3), 224, 224) == 2


def test_a_small_network_is_really_measured():
    found = calibration.seconds_a_batch("test_resnet", 32, 32, 2, "cpu")
    assert 0 < found["forward"] < 60
    assert 0 < found["training"] < 60
