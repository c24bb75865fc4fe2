"""The projector: one process, with UMAP warm, that lays out every run's snapshots. `python -m mlcore.projector`.

One job at a time (two parallel calls would end the process inside numba). What a person may be looking at comes first:
the newest snapshot of each run that goes on or has just ended, in turn; then their older ones; then the runs of
yesterday. Each layout starts from the nearest one in time and is aligned to it. It ends when its standard input is
closed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcore.disk.process import process_identity, take_lock
from mlcore.runs.attempt import Attempt
from mlcore.runs.folder import RunFolder, Runs, RunVersion
from mlcore.runs.history import Pictures
from mlcore.runs.previews import find_preview

METHOD = "umap-2d"
NICE = 12  # well behind the workers' 5: on two cores, training and its evaluation are two already
IDLE_S = 0.1
RESCAN_S = 1.0
FRESH_S = 60.0
ORPHAN_S = 2.0
FAITH_K = 15
GIVE_UP_AFTER = 2
SAME_WITHIN = 2e-2  # of two embeddings of one network that other threads and batches rounded otherwise


@dataclass(frozen=True)
class Job:
    """One snapshot of one run that has no map yet."""

    pictures: Pictures
    step: int


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mlcore.projector", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="the runs folder")
    options = parser.parse_args(arguments)
    if hasattr(os, "nice"):
        os.nice(NICE)
    runs = Runs(options.runs)
    lock = take_lock(runs.root / ".projector.lock")
    if lock is None:
        print("another projector is at work on this folder", file=sys.stderr)
        return 3
    orphaned = threading.Event()
    threading.Thread(target=end_with_input, args=(orphaned,), name="input", daemon=True).start()
    Projector(runs).work_until(orphaned)
    return 0


def end_with_input(orphaned: threading.Event) -> None:
    """Tell when standard input is closed, and soon after leave off: what is half done is on no disk yet."""
    while os.read(sys.stdin.fileno(), 1024):
        continue
    orphaned.set()
    time.sleep(ORPHAN_S)
    os._exit(0)


class Projector:
    """Looks for snapshots without a map and makes their maps."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.followed: dict[str, Pictures] = {}
        self.settled: dict[str, RunVersion] = {}
        self.failures: dict[tuple[str, int], int] = {}
        self.served: dict[str, int] = {}
        self.jobs_done = 0
        self.scanned = -RESCAN_S

    def work_until(self, ended: threading.Event) -> None:
        self.runs.publish("projector", {**process_identity(), "ready": False})
        from mlcore.projection import warm_up

        warm_up()
        self.runs.publish("projector", {**process_identity(), "ready": True})
        while not ended.is_set():
            job = self.next_job()
            if job is None:
                ended.wait(IDLE_S)
            else:
                self.do(job)

    def next_job(self) -> Job | None:
        """The most urgent snapshot without a map, and of two as urgent that of the run which waited longer."""
        self.rescan()
        waiting: list[tuple[tuple[bool, bool, int, str], Job]] = []
        for run_id, pictures in list(self.followed.items()):
            missing = self.missing_now(pictures)
            if missing:
                newest = missing[-1] == next(reversed(pictures.snapshots))
                urgency = (is_fresh(pictures.run), newest, -self.served.get(run_id, 0), run_id)
                waiting.append((urgency, Job(pictures, missing[-1])))
        return max(waiting, key=lambda item: item[0])[1] if waiting else None

    def rescan(self) -> None:
        """Take up runs that have changed; let go of those that are finished and wholly mapped."""
        if time.monotonic() - self.scanned < RESCAN_S:
            return
        self.scanned = time.monotonic()
        ids = self.runs.ids()
        for run_id in ids:
            run = RunFolder(self.runs.root / run_id)
            version = run.version()
            if run_id not in self.followed and version.status and not version.is_same(self.settled.get(run_id)):
                self.followed[run_id] = Pictures(run)
        for run_id in self.followed.keys() - set(ids):
            del self.followed[run_id]
        for run_id, pictures in list(self.followed.items()):
            version = pictures.run.version()
            if pictures.run.state.finished and not self.missing_now(pictures):
                self.settled[run_id] = version
                self.followed.pop(run_id, None)

    def missing_now(self, pictures: Pictures) -> list[int]:
        """What is missing after another look at the run; a run whose files are no run's is left alone until it is
        changed, and the others go on."""
        try:
            pictures.refresh()
            return self.missing(pictures)
        except Exception:
            traceback.print_exc()
            self.settled[pictures.run.run_id] = pictures.run.version()
            self.followed.pop(pictures.run.run_id, None)
            return []

    def missing(self, pictures: Pictures) -> list[int]:
        """Steps that have a snapshot but no map, oldest first; without those that were given up."""
        run_id = pictures.run.run_id
        return [
            step
            for step in pictures.snapshots
            if (METHOD, step) not in pictures.layouts and self.failures.get((run_id, step), 0) < GIVE_UP_AFTER
        ]

    def do(self, job: Job) -> None:
        """Make one map and say how faithful it is; what cannot be laid out is noted and left."""
        self.jobs_done += 1
        run_id = job.pictures.run.run_id
        self.served[run_id] = self.jobs_done
        attempt, entry = job.pictures.snapshots[job.step]
        try:
            self.lay_out(attempt, job, attempt.read_arrays(entry))
        except Exception as error:
            traceback.print_exc()
            failures = self.failures[run_id, job.step] = self.failures.get((run_id, job.step), 0) + 1
            if failures == GIVE_UP_AFTER and attempt.path.is_dir():
                note_failure(attempt, job.step, str(error))
        job.pictures.refresh()

    def lay_out(self, attempt: Attempt, job: Job, arrays: dict[str, np.ndarray]) -> None:
        from mlcore.evaluation.faithfulness import knn_kept, trustworthiness

        watched = arrays["embeddings"].astype(np.float32)
        began = time.perf_counter()
        points = self.map_of(job, watched, arrays["proxies"].astype(np.float32) if "proxies" in arrays else None)
        took = time.perf_counter() - began
        writer = attempt.layout_writer()
        try:
            k = min(FAITH_K, (len(watched) - 1) // 2)
            for method, places in ((METHOD, points), ("pca-2d", arrays["pca"][:, :2]), ("pca-3d", arrays["pca"])):
                low = places[: len(watched)]
                faith = {
                    "knn_kept": round(float(knn_kept(watched, low, k).mean), 4),
                    "trustworthiness": round(float(trustworthiness(watched, low, k)), 4),
                    "k": k,
                }
                if method == METHOD:
                    writer.layout(method, job.step, points, faith, took)
                else:
                    writer.faith(method, job.step, faith)
        finally:
            writer.close()

    def map_of(self, job: Job, watched: np.ndarray, proxies: np.ndarray | None) -> np.ndarray:
        """Places of the watched images, and of the proxies behind them."""
        from mlcore.projection import place_among, umap_layout

        stacked = watched if proxies is None else np.concatenate([watched, proxies])
        previous = self.nearest_layout(job, len(stacked))
        known = self.preview_layout(job, watched) if previous is None else None
        if known is None:
            return umap_layout(stacked, previous, seed=0)
        return known if proxies is None else np.concatenate([known, place_among(known, watched, proxies)])

    def preview_layout(self, job: Job, watched: np.ndarray) -> np.ndarray | None:
        """The map of the run's untrained preview, if what is watched is embedded as it is there: it stays as it was."""
        try:
            preview = find_preview(self.runs, job.pictures.run.spec)
            if preview is None or preview.run_id == job.pictures.run.run_id:
                return None
            pictures = Pictures(preview)
            pictures.refresh()
            snapshot, layout = pictures.snapshots.get(0), pictures.layouts.get((METHOD, 0))
            if snapshot is None or layout is None or "file" not in layout[1]:
                return None
            embeddings = snapshot[0].read_arrays(snapshot[1])["embeddings"]
            points = layout[0].read_arrays(layout[1], "layouts")["points"]
        except (ValueError, KeyError):
            return None
        alike = embeddings.shape == watched.shape and len(points) == len(watched)
        return points if alike and np.allclose(embeddings, watched, atol=SAME_WITHIN) else None

    def nearest_layout(self, job: Job, count: int) -> np.ndarray | None:
        """The map of the step nearest in time (an earlier one if two are as near) with as many points."""
        layouts = job.pictures.layouts
        steps = [step for method, step in layouts if method == METHOD and "file" in layouts[method, step][1]]
        for step in sorted(steps, key=lambda step: (abs(step - job.step), step)):
            attempt, entry = layouts[METHOD, step]
            try:
                points = attempt.read_arrays(entry, "layouts")["points"]
            except ValueError:
                continue
            if len(points) == count:
                return points
        return None


def is_fresh(run: RunFolder) -> bool:
    """Whether somebody may be looking at the run: it goes on, or has ended a moment ago."""
    return run.version().status_age_s() < FRESH_S or not run.state.finished


def note_failure(attempt: Attempt, step: int, reason: str) -> None:
    """Tell those who wait for the map; if even that fails, it is tried again when the projector is started anew."""
    with contextlib.suppress(OSError):
        writer = attempt.layout_writer()
        writer.failed(METHOD, step, reason)
        writer.close()


if __name__ == "__main__":
    raise SystemExit(main())
