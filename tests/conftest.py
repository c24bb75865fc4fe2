"""Fixtures that more than one room's tests share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

from mlcore.runs.folder import Runs
from mlcore.spec.run_spec import RunSpec

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files that drive a browser wait more than they compute: they are spread evenly among the others."""
    driving = {item.path: item.get_closest_marker("browser") is not None for item in items}
    places = {}
    for drives in (True, False):
        files = [path for path, is_driving in driving.items() if is_driving == drives]
        places |= {path: (place + (not drives) / 2) / len(files) for place, path in enumerate(files)}
    items.sort(key=lambda item: places[item.path])


def pytest_sessionstart(session):
    """Quiet runs have no header, where pytest-randomly would say it."""
    tell_order(session.config)


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        tell_order(config)


def tell_order(config):
    seed = config.getoption("randomly_seed", None)
    if seed is None:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reporter.ensure_newline()
    reporter.line(f"Random order: repeat it with pytest --randomly-seed={seed}")


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory, monkeypatch):
    """Listings made by tests stay out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def own_data_root(tmp_path_factory, monkeypatch):
    """Imported sets and kept features of tests stay out of the checkout."""
    monkeypatch.setenv("LAB_RUNS", str(tmp_path_factory.getbasetemp() / "lab" / "runs"))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small tensors on a few cores: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def quick_spec():
    """A run of a few seconds: 12 steps of a small network on digits."""
    return RunSpec.read(
        {
            "dataset": "digits",
            "backbone": "mlp",
            "head": {"embedding_size": 8},
            "loss": {"key": "arcface", "params": {"scale": 16.0}},
            "sampler": {"key": "m_per_class", "batch_size": 20},
            "budget": {"steps": 12},
            "watch": {"evaluate_every": 4, "points": 200},
        }
    )
