"""Images a second into a training step: our pixel cache against torchvision's ImageFolder and DataLoader.

Photographs of 160 px as JPEG, cut at random to 64 px, mirrored, normalised, in batches on the device: ours are imported
once and then read from the memory-mapped file; the peer decodes each image in every epoch, in two workers. Both draw
the same kind of crops. An epoch of each, in turns, the first ones not counted; the median is told.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mlcore.augmentations.standard import SMALLEST_CROP
from mlcore.backbones import InputFormat
from mlcore.data.importing import import_path
from mlcore.data.store import open_set
from mlcore.samplers import ShuffleSampler
from mlcore.spec.run_spec import RunSpec
from mlcore.training.build import build_augmentation
from mlcore.training.device import default_threads, pick_device

FIGURE = 3.0
SIDE, CROP, BATCH, CLASSES = 160, 64, 64, 20
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000, help="how many photographs (default: 3,000)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each that count (default: 5)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    with tempfile.TemporaryDirectory() as folder:
        photographs = make_photographs(Path(folder) / "photographs", options.images)
        start = time.perf_counter()
        made = import_path(photographs, root=Path(folder) / "data")
        once = time.perf_counter() - start
        ours = our_epochs(made)
        contestants = {
            "ours, standard augmentation": ours("standard"),
            "ours, crop and mirror alone": ours("custom"),
            "ImageFolder + DataLoader, 2 workers": peer_epoch(photographs),
        }
        speeds = in_turns(contestants, options.images, options.epochs)
    peer = speeds["ImageFolder + DataLoader, 2 workers"]
    for name, speed in speeds.items():
        print(f"{name:38} {speed:8,.0f} images/s   {speed / peer:5.2f} x the peer")
    print(f"figure: {FIGURE:g} x. The import, once: {once:.1f} s for {options.images:,} images.")
    if options.json:
        options.json.write_text(json.dumps({"images_per_s": speeds, "import_s": once}, indent=2))
    return 0


def make_photographs(folder: Path, count: int) -> Path:
    """Smooth colours with texture, which pack about as photographs do: some 8 kB each."""
    generator = np.random.default_rng(0)
    for number in range(count):
        colours = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
        texture = np.repeat(np.repeat(generator.integers(-24, 25, (SIDE // 2, SIDE // 2, 1)), 2, 0), 2, 1)
        file = io.BytesIO()
        Image.fromarray((smooth + texture).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        place = folder / f"class {number % CLASSES:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(file.getvalue())
    return folder


def our_epochs(made: Path) -> Callable[[str], Callable[[], None]]:
    """An epoch as a run's step reads it: rows of the sampler, pixels from the file, the augmentation's rendering."""
    table = open_set(made.name, made.parent)
    sampler, device = ShuffleSampler(table.labels, BATCH), pick_device("auto")
    input_format = InputFormat((CROP, CROP), 3, mean=MEAN, std=STD)
    knobs = {"smallest_crop": SMALLEST_CROP, "brightness": 0.0, "contrast": 0.0}

    def of(key: str) -> Callable[[], None]:
        augment = {"key": key, "params": knobs if key == "custom" else {}}
        augmentation = build_augmentation(RunSpec.read({"augment": augment}))
        numbers = iter(range(10**9))

        def epoch() -> None:
            for rows in sampler.epoch(next(numbers) + 1, 0):
                pixels = torch.from_numpy(table.pixels[rows]).to(device)
                generator = torch.Generator().manual_seed(int(rows[0]))
                images = augmentation.render(pixels, input_format, generator)
                assert images.shape == (BATCH, 3, CROP, CROP)

        return epoch

    return of


def peer_epoch(photographs: Path) -> Callable[[], None]:
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(CROP, (SMALLEST_CROP, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(photographs), transform),
        BATCH,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        drop_last=True,
    )
    device = pick_device("auto")

    def epoch() -> None:
        for images, _ in loader:
            assert images.to(device).shape == (BATCH, 3, CROP, CROP)

    return epoch


def in_turns(contestants: dict[str, Callable[[], None]], images: int, epochs: int) -> dict[str, float]:
    """Images a second of each: the median over its epochs, its first left out."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(epochs + 1):
        for name, epoch in contestants.items():
            start = time.perf_counter()
            epoch()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: images / statistics.median(its) for name, its in times.items()}


if __name__ == "__main__":
    raise SystemExit(main())
