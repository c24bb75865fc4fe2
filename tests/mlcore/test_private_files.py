"""What the lab writes of people's images, names and runs is for its owner only, whatever the umask."""

from __future__ import annotations

import io
import os
import stat

import pytest
from image_files import classes
from patience import PATIENCE_S

from app.data.jobs import Jobs
from app.data.plan_store import PlanInMaking
from app.data.uploads import folder_for, write_files
from mlcore.data.feature_cache import features_root
from mlcore.data.importing import import_path
from mlcore.data.prepare import Plan, read_index
from mlcore.data.prepare.build_set import derive_set
from mlcore.data.store import data_root
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.folder import Runs
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """An empty lab that is made by the first who writes."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "lab" / "data"))
    before = os.umask(0o022)
    yield tmp_path / "lab"
    os.umask(before)


def open_to_others(folder):
    """Whatever others may enter or read, with its mode."""
    paths = [folder, *folder.rglob("*")]
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in paths}
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def test_sets_features_runs_uploads_and_plans_are_for_their_owner_only(lab, tmp_path, monkeypatch):
    shoes = import_path(classes(tmp_path / "shoes", 4, 6))
    derive_set(read_index(shoes), {"shoes": shoes}, "again", plan=Plan())
    runs = Runs(lab / "runs")
    spec = RunSpec.read(
        {
            "dataset": shoes.name,
            "backbone": {"key": "mlp", "freeze": "everything"},
            "head": {"embedding_size": 4},
            "sampler": {"key": "m_per_class", "batch_size": 8},
            "budget": {"steps": 2},
        }
    )
    run = runs.create(spec, nonce="press")
    assert run_folder(run, log=False) == 0
    runs.publish("supervisor", {})
    deleted = runs.create(spec)
    deleted.move(RunState.CANCELLED)
    runs.delete(deleted.run_id)
    sent = io.BytesIO(b"bytes")
    sent.name = "shop.zip"
    write_files([sent], folder_for([sent]))
    PlanInMaking(shoes.name).add({"step": "statistics"})
    assert list(features_root().glob("*/features.npy"))
    assert (data_root() / ".uploads").exists()
    assert (data_root() / ".plans").exists()
    assert open_to_others(lab) == {}


def test_what_a_job_prints_is_for_its_owner_only(lab, monkeypatch):
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", "print('a private title')"))
    jobs = Jobs()
    job = jobs.begin("Told", [])
    assert job.process.wait(PATIENCE_S) == 0
    assert open_to_others(job.folder.parent) == {}
    jobs.close()
