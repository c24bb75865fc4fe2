"""The order of the tests is random, is told, and can be had again."""

import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("test_constraints.py")


def ask_pytest(seed):
    command = [sys.executable, "-m", "pytest", "--collect-only", f"--randomly-seed={seed}", str(FILE)]
    done = subprocess.run(command, cwd=FILE.parents[1], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_seed_of_the_order_is_told_and_gives_the_same_order():
    told = ask_pytest(7)
    assert told.startswith("Random order: repeat it with pytest --randomly-seed=7\n")
    assert told.split("collected")[0] == ask_pytest(7).split("collected")[0]
    assert told.partition("\n")[2] != ask_pytest(8).partition("\n")[2]
