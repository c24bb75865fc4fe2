"""Imports run one way: pages -> app -> mlcore; the science knows no screen, and the frame knows no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = """
app.main
app.preload
app.frame pages
app.lab app.losses app.data app.runs
app.server
app.shared
app.widgets
mlcore mlcore.__main__ mlcore.worker mlcore.projector
mlcore.commands
mlcore.engines
mlcore.analysis
mlcore.training
mlcore.runs
mlcore.spec
mlcore.timm_zoo
"""  # an import runs to the same room or to a lower floor; what is not named lies below all floors


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """What a file imports, inside its functions too: modules, and names of modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Which of our modules each of our modules imports, lazily or not; a package only where one of its own names is."""
    ours = {module_of(path): path for path in files("app", "mlcore", "pages")}
    found = {}
    for name, path in ours.items():
        imported = imports_of(path) & set(ours)
        found[name] = {other for other in imported if not any(deeper.startswith(f"{other}.") for deeper in imported)}
    return found


def room_of(module: str) -> str:
    first, *rest = module.split(".")
    return first if first == "pages" or not rest else f"{first}.{rest[0]}"


def test_no_circle_of_files(arrows):
    rest = {name: set(targets) - {name} for name, targets in arrows.items()}
    while leaves := [name for name, targets in rest.items() if not targets]:
        for name in leaves:
            del rest[name]
        for targets in rest.values():
            targets.difference_update(leaves)
    assert not rest, f"a circle runs through some of {sorted(rest)}"


def test_no_circle_of_rooms(arrows):
    rest = {}
    for name, targets in arrows.items():
        rest.setdefault(room_of(name), set()).update(room_of(target) for target in targets)
    rest = {room: targets - {room} for room, targets in rest.items()}
    while leaves := [room for room, targets in rest.items() if not targets & set(rest)]:
        for room in leaves:
            del rest[room]
    assert not rest, f"a circle runs through some of {sorted(rest)}"


def test_no_import_runs_upward_and_no_page_s_room_imports_another_s(arrows):
    floors = [line.split() for line in FLOORS.strip().splitlines()]
    floor = {room: len(floors) - height for height, rooms in enumerate(floors) for room in rooms}
    assert set(floor) <= {room_of(name) for name in arrows}
    culprits = [
        (name, target)
        for name, targets in arrows.items()
        for target in targets
        if room_of(name) != room_of(target) and floor.get(room_of(target), 0) >= max(floor.get(room_of(name), 0), 1)
    ]
    assert not culprits


@pytest.mark.parametrize("path", files("mlcore"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_science_imports_no_screen(path):
    culprits = {name for name in imports_of(path) if name.split(".")[0] in ("streamlit", "app", "pages")}
    assert not culprits


@pytest.mark.parametrize("path", files("app"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_app_imports_no_page(path):
    assert not {name for name in imports_of(path) if name.split(".")[0] == "pages"}


@pytest.mark.parametrize("path", files("pages"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_imports_a_page(path):
    assert not {name for name in imports_of(path) if name.split(".")[0] == "pages"}


def test_only_training_worker_and_projector_bring_runs_and_parts_together():
    for room in ("losses", "miners", "samplers", "backbones", "evaluation"):
        for path in files(f"mlcore/{room}"):
            culprits = {name for name in imports_of(path) if name.startswith(("mlcore.runs", "mlcore.training"))}
            assert not culprits, f"{path.relative_to(ROOT)} imports {culprits}"


RUN_FILES = {"spec.json", "status.json", "label.json", "watch.json", "watch.npz", "atlas.json", "result.json"}
RUN_FILES |= {"manifest.jsonl", "events-000.jsonl", "worker.log", "heartbeat"}


def test_only_the_runs_room_opens_run_files():
    """Elsewhere no file of a run is named as such (sentences may name one), and no log is opened by its path."""
    for path in files("mlcore", "app", "pages"):
        if path.parent in (ROOT / "mlcore" / "runs", ROOT / "mlcore" / "disk"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.rpartition("/")[2] not in RUN_FILES, f"{path.relative_to(ROOT)} names {node.value}"
            assert not (isinstance(node, ast.Attribute) and node.attr == "log_path"), path.relative_to(ROOT)


def test_training_engines_and_evaluation_write_no_files():
    for path in files("mlcore/training", "mlcore/engines", "mlcore/evaluation"):
        tree = ast.parse(path.read_text())
        calls = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        culprits = calls & {"write_bytes", "write_text", "rename", "unlink", "rmtree"}
        assert not culprits, f"{path.relative_to(ROOT)} calls {culprits}"


def test_pickles_are_never_read_and_torch_load_stands_once():
    found = []
    for path in files("mlcore", "app", "pages"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                found.append((path.name, ast.unparse(node)))
            assert not (isinstance(node, ast.Import) and any(alias.name == "pickle" for alias in node.names)), path
            assert not (isinstance(node, ast.keyword) and node.arg == "trust_remote_code"), path
            if isinstance(node, ast.keyword) and node.arg in ("allow_pickle",):
                assert ast.unparse(node.value) == "False", path
    assert len(found) == 1
    assert "weights_only=True" in found[0][1]


def test_no_page_names_a_loss():
    from mlcore.losses import LOSSES

    for path in files("pages"):
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not words & set(LOSSES), path


def test_the_runs_room_and_the_frame_import_without_torch_umap_or_timm():
    code = (
        "import sys; import app.server, app.shared.view, app.shared.draft, app.lab.run_view, app.runs.runs_table; "
        "import mlcore.runs.folder, mlcore.engines.supervisor; "
        "heavy = {'torch', 'umap', 'timm', 'torchvision', 'sklearn'} & set(sys.modules); "
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
