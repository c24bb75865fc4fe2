"""The room as a whole."""

import subprocess
import sys

from mlcore.backbones import BACKBONES


def test_keys_are_the_ones_that_runs_store():
    assert list(BACKBONES) == ["efficientnet_lite0", "mlp", "small_conv", "timm", "vectors"]


def test_importing_the_room_imports_neither_timm_nor_torchvision():
    code = "import sys, mlcore.backbones; print(sorted({'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
