"""Images per second of each backbone, forwards and in a training step, at usual sizes.

    python benchmarks/backbones.py [--json FILE] [--rounds 10] [--threads 1] [--batch 32]

A training step is forward, backward and an AdamW step on random images. Times are medians. `bare tf_...` is the same
network straight from timm, to show what the lab's wrapper costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.backbones import BACKBONES

CASES = (("digits", (8, 8), 1), ("glyphs", (40, 40), 1), ("emoji", (48, 48), 3), ("photos", (96, 96), 3))
PERCEPTRON_LIMIT = 64 * 64  # px: above, its first layer is larger than any other network here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the rows are written as JSON")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'images':8}{'backbone':28}{'px':>9}{'parameters':>12}{'forward/s':>11}{'training/s':>12}{'ms a step':>11}")
    rows = []
    for images, image_size, channels in CASES:
        for name, network, shape in contestants(image_size, channels):
            batch = torch.randn(arguments.batch, *shape, generator=torch.Generator().manual_seed(0))
            row = measure(network, batch, arguments.rounds)
            row |= {"images": images, "backbone": name, "size": shape[1:], "batch": arguments.batch}
            rows.append(row | {"threads": arguments.threads})
            print(
                f"{images:8}{name:28}{shape[1]:>4} x{shape[2]:>3}{row['parameters']:>12,}"
                f"{row['forward_images_per_s']:>11.0f}{row['training_images_per_s']:>12.0f}{row['training_ms']:>11.1f}"
            )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def contestants(image_size: tuple[int, int], channels: int) -> list[tuple[str, nn.Module, tuple[int, int, int]]]:
    """Every declared backbone, and the pretrained one's network without the lab: name, network, input's shape."""
    found = []
    for key, spec in BACKBONES.items():
        if key == "mlp" and image_size[0] * image_size[1] > PERCEPTRON_LIMIT:
            continue
        network = spec.build({"image_size": image_size, "channels": channels})
        shape = (network.input_format.channels, *network.input_format.size)
        name = f"timm {spec.defaults()['model']}" if key == "timm" else key
        found.append((name, network, shape))
        if key == "efficientnet_lite0":
            bare = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
            found.append(("bare tf_efficientnet_lite0", bare, shape))
    return found


def measure(network: nn.Module, batch: Tensor, rounds: int) -> dict[str, float | int]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def forward() -> None:
        with torch.inference_mode():
            network(batch)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(batch).square().mean().backward()
        optimizer.step()

    network.eval()
    forward_s = median_seconds(forward, rounds)
    network.train()
    training_s = median_seconds(train, rounds)
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "forward_images_per_s": len(batch) / forward_s,
        "training_images_per_s": len(batch) / training_s,
        "training_ms": 1000.0 * training_s,
    }


def median_seconds(once: Callable[[], None], rounds: int) -> float:
    """The median of `rounds` calls after two that warm up."""
    times = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        once()
        if number >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
