"""A supervisor whose workers only pretend."""

from __future__ import annotations

import pytest

from mlcore.engines.supervisor import Supervisor


class Engine:
    """Notes what it is asked to start; a test says what has ended."""

    def __init__(self, slots=1):
        self.slots = slots
        self.submitted = []
        self.children = {}
        self.gone = {}
        self.prepared = 0

    def submit(self, run):
        self.submitted.append(run.run_id)
        self.children[run.run_id] = None

    def exited(self):
        gone, self.gone = self.gone, {}
        for run_id in gone:
            self.children.pop(run_id, None)
        return gone

    def keep_ready(self):
        self.prepared += 1

    def close(self):
        pass


@pytest.fixture
def supervisor(runs):
    made = Supervisor(runs, projector=False)
    made.engine = Engine()
    made.began = 0.0
    yield made
    made.close()
