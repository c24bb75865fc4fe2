"""Imports in a process of their own: watched, stopped, told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from image_files import classes
from patience import until

from app.data.jobs import Job, Jobs
from mlcore.data.store import find_set


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    made = Jobs()
    yield made
    made.close()


STUCK = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print('{"done": 1, "total": 9, "seconds_left": 3.0}', file=sys.stderr, flush=True)
while True:
    time.sleep(0.05)
"""


def ended(job):
    until(lambda: job.code is not None)
    return job


def test_an_import_tells_how_far_it_is_and_what_came_of_it(jobs, tmp_path):
    arguments = ["import", "--title", "Shop", "--json", "--progress", "--", str(classes(tmp_path / "shop"))]
    job = ended(jobs.begin("Shop", arguments))
    assert job.progress()[:2] == (12, 12)
    assert find_set(job.result()["id"]).title == "Shop"
    jobs.dismiss(job)
    assert (jobs.all, job.folder.exists()) == ((), False)


def test_sessions_that_begin_and_dismiss_at_once_keep_each_other_s_jobs(jobs, monkeypatch):
    monkeypatch.setattr(Job, "begin", lambda job: None)
    monkeypatch.setattr(Job, "code", 0)

    def begin_and_dismiss(session: int) -> list[str]:
        kept = []
        for number in range(50):
            title = f"{session}.{number}"
            job = jobs.begin(title, [])
            assert job in jobs.all
            for other in jobs.all:  # what one session reads does not change under it
                assert other.number > 0
            if number % 2:
                jobs.dismiss(job)
            else:
                kept.append(title)
        return kept

    with ThreadPoolExecutor(8) as pool:
        kept = [title for titles in pool.map(begin_and_dismiss, range(8)) for title in titles]
    assert sorted(job.title for job in jobs.all) == sorted(kept)
    assert [job.number for job in jobs.all] == sorted({job.number for job in jobs.all})
    jobs.all = ()


def test_a_fault_is_told_in_the_import_s_own_words(jobs, tmp_path):
    job = ended(jobs.begin("Nothing", ["import", "--json", "--progress", "--", str(tmp_path / "nowhere")]))
    assert job.result() is None
    assert not job.stopped
    assert "must be a folder, a table or an archive" in job.fault()


def test_a_job_that_is_stopped_says_so_and_can_go_on(jobs, monkeypatch, tmp_path):
    stuck = tmp_path / "stuck.py"
    stuck.write_text(STUCK)
    monkeypatch.setattr("app.data.jobs.COMMAND", (str(stuck),))
    job = jobs.begin("Endless", [])
    until(lambda: job.progress()[0] == 1)
    assert job.code is None
    job.stop()
    assert ended(job).stopped
    job.begin()
    until(lambda: job.progress()[0] == 1)
    assert job.code is None
    job.stop()
    ended(job)


def test_a_job_that_is_stopped_before_it_can_say_so_has_not_failed(jobs, monkeypatch, tmp_path):
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(1))\n"
                     "print('here', file=sys.stderr, flush=True)\ntime.sleep(600)\n")  # fmt: skip
    monkeypatch.setattr("app.data.jobs.COMMAND", (str(stuck),))
    job = jobs.begin("Stuck", [])
    until(lambda: job.told() == ["here"])
    assert not job.stopped
    job.stop()
    until(lambda: job.code is not None)
    assert (job.code, job.stopped) == (1, True)


@pytest.mark.parametrize("asked", [True, False])
def test_a_job_that_ends_well_without_a_result_has_not_succeeded(jobs, monkeypatch, tmp_path, asked):
    """Python ends with code 0 when it is interrupted while it is still starting."""
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", ""))
    job = jobs.begin("photos", ["import", str(tmp_path)])
    job.asked_to_stop = asked
    until(lambda: job.code is not None)
    assert (job.code, job.succeeded, job.stopped) == (0, False, asked)
    assert "without a word" in job.fault()
