"""MATLAB files read in a process of their own: scipy's reader is compiled, and a damaged file can bring it down."""

from __future__ import annotations

import json
import subprocess
import sys

from mlcore.environment import TO_START, child_environment

TIME_LIMIT_S = 60
MEMORY_LIMIT = 4 * 2**30
WANTED = ("annotations", "class_names")


def read_mat(file: str, data: bytes) -> dict[str, object]:
    """The annotations (field by field, a list each) and class names in a MATLAB 5 file, those of them that there are.

    Raises: ValueError, naming `file`, if it cannot be read.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__],
            input=data,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            env=child_environment(TO_START) | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1][:200] if done.returncode == 1 and said else "its reader broke down"
    except subprocess.TimeoutExpired:
        reason = f"it takes more than {TIME_LIMIT_S} s"
    raise ValueError(f"{file}: cannot be read as a MATLAB file: {reason}. Unpack it again.") from None


def main() -> int:
    """Standard input, a MATLAB file, to standard output, JSON."""
    import io

    import numpy as np
    from scipy.io import loadmat

    def plain(values: object) -> list[object]:
        return [np.asarray(value).item() for value in np.asarray(values, dtype=object).ravel()]

    limit_memory()
    found = loadmat(io.BytesIO(sys.stdin.buffer.read()), variable_names=WANTED)
    record: dict[str, object] = {}
    if "class_names" in found:
        record["class_names"] = [str(name) for name in plain(found["class_names"])]
    if "annotations" in found:
        rows = found["annotations"].ravel()
        record["annotations"] = {name: plain(rows[name]) for name in rows.dtype.names or ()}
    print(json.dumps(record))
    return 0


def limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return  # not on Windows
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))


if __name__ == "__main__":
    sys.exit(main())
