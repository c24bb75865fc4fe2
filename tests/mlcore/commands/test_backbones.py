"""`python -m mlcore backbones`: what people type and what scripts read."""

import json
import subprocess
import sys

import pytest

from mlcore import __main__ as cli
from mlcore.environment import child_environment
from mlcore.timm_zoo import calibration
from mlcore.timm_zoo.speed import MachineSpeed, torch_version, write_speed


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run the command on a machine whose speed is known; returns exit code, standard output and standard error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    costs = [0.01, 0.05, 0.01, 0.3, 1e-4, 1e-3]
    write_speed(
        MachineSpeed(
            "cpu", 3, torch_version(), {"forward": costs, "training": costs}, {"resnet18 224x224": {"training": 42}}
        )
    )

    def act(*arguments):
        code = cli.main(["backbones", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def test_a_search_is_a_table_with_the_best_fit_first(call):
    code, out, _ = call("resnet18", "--max-params", "12")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["name", "family", "params", "input", "weights", "images/s", "licence"]
    assert lines[1].split()[:6] == ["resnet18", "resnet", "11.2", "M", "224", "hub"]
    assert " 42 " in lines[1]
    assert "about" in lines[2]
    assert "the CPU, 3 threads" in lines[-1]


def test_scripts_get_every_row_as_plain_data(call):
    code, out, _ = call("vit", "tiny", "--pretrained", "--json", "--side", "48x64")
    rows = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert code == 0
    assert all(row["weights"] != "none" and row["training"] > 0 for row in rows)
    assert {"name", "family", "parameters_m", "gmacs", "tags", "licence", "fixed", "measured"} <= set(rows[0])


def test_nothing_found_is_said_with_what_was_meant(call):
    code, out, err = call("convnxt", "tiny")
    assert (code, out) == (1, "")
    assert "Did you mean: convnext tiny?" in err


def test_a_long_list_is_cut_and_says_so(call):
    out = call("--no-speed")[1]
    assert len(out.splitlines()) < 50
    assert "more: search by words, or --all" in out
    assert len(call("--all", "--no-speed")[1].splitlines()) > 1300


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--side", "big"], "--side takes px"),
        (["--side", "0"], "--side takes px"),
        (["--max-params", "0"], "--max-params must be above 0"),
        (["--measure"], "--measure takes one network's name"),
        (["resnett18", "--measure"], "no model 'resnett18'. Did you mean: resnet18?"),
    ],
)
def test_bad_options_are_refused(call, arguments, told):
    code, _, err = call(*arguments)
    assert code == 2
    assert told in err


def test_a_measurement_is_told_and_shown_from_then_on(call, monkeypatch):
    monkeypatch.setattr(calibration, "seconds_a_batch", lambda *_: {"forward": 0.5, "training": 2.0})
    monkeypatch.setattr("mlcore.training.device.default_threads", lambda: 3)
    code, out, _ = call("test_resnet", "--measure", "--side", "40")
    assert code == 0
    assert "test_resnet at 40 × 40 px, batches of 32" in out
    assert "16 images/s in training steps, 64 forward only" in out
    assert "   16 " in call("test_resnet", "--side", "40")[1].replace("\n", " \n")


def test_a_search_imports_neither_torch_nor_timm(tmp_path):
    code = (
        "import sys; from mlcore import __main__ as cli; assert cli.main(['backbones', 'resnet', '--no-speed']) == 0; "
        "sys.exit(' '.join({'torch', 'timm'} & set(sys.modules)) or 0)"
    )
    environment = child_environment() | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
