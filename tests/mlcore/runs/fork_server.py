"""A process that has imported everything once and forks a worker for each run folder: tests that kill many workers
would otherwise import torch for each. `python fork_server.py` takes one JSON record a line and answers with one.

{"run": PATH, "crash": "site:n", "limit": BYTES, "started": bool} -> {"pid": ...} when "started", then {"code": ...}
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch
import torch._dynamo
from sklearn.metrics import normalized_mutual_info_score
from tiny_dataset import declare

from mlcore.data import load
from mlcore.disk import atomic
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs import attempt, folder
from mlcore.runs.folder import RunFolder
from mlcore.training import loop  # noqa: F401 - imported before the fork


def work(order: dict) -> int:
    crashes = atomic.CrashSites(order.get("crash", ""))
    for module in (atomic, folder, attempt):
        if hasattr(module, "CRASHES"):
            module.CRASHES = crashes
    if "limit" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
    return run_folder(RunFolder(Path(order["run"])), log=True)


def main() -> None:
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    normalized_mutual_info_score([0, 1], [0, 1])
    declare()
    load("tiny")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os._exit(work(order))
        if order.get("started"):
            print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
