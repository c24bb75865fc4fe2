"""How fast the live map and the retrieval figures are, beside what a person would use otherwise.

The map: embeddings of a small network as it trains on digits. After each stretch of training the map is brought up to
date by `mlcore.projection.umap_layout` (from the layout before, so never from the data it is timed on) and made from
scratch by `umap.UMAP().fit_transform`; both warm, in this process. Retrieval: 60,000 embeddings of 5,000 classes by
`mlcore.evaluation.evaluate_retrieval` and by pytorch-metric-learning's AccuracyCalculator.

    python benchmarks/projection.py [--json FILE] [--points 2000 10000] [--snapshots 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.evaluation import evaluate_retrieval, knn_kept, trustworthiness
from mlcore.projection import pca, umap_layout, warm_up

STRETCHES = (0, 10, 10, 20, 40, 80, 160)  # optimiser steps before each snapshot: most change first


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def drifting_embeddings(points: int, snapshots: int) -> Iterator[np.ndarray]:
    """Yield (points, 64) embeddings of digits, each image moved and noised on its own, as an MLP learns them."""
    import torch
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    digits = load_digits()
    rows = random.permutation(np.arange(points) % len(digits.target))
    padded = np.pad(digits.images[rows] / 16, ((0, 0), (1, 1), (1, 1)))
    down, right = random.integers(0, 3, (2, points))
    images = np.stack([image[d : d + 8, r : r + 8] for image, d, r in zip(padded, down, right, strict=True)])
    images = torch.tensor(
        images.reshape(points, 64) + random.normal(scale=0.05, size=(points, 64)), dtype=torch.float32
    )
    labels = torch.tensor(digits.target[rows])

    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))
    proxies = torch.nn.Parameter(torch.randn(10, 64))
    optimizer = torch.optim.Adam([*body.parameters(), proxies], lr=1e-3)
    for stretch in STRETCHES[: snapshots + 1]:
        for _ in range(stretch):
            batch = torch.randint(points, (128,))
            embeddings = torch.nn.functional.normalize(body(images[batch]))
            logits = 16 * embeddings @ torch.nn.functional.normalize(proxies).T
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            yield torch.nn.functional.normalize(body(images)).numpy()


def map_updates(points: int, snapshots: int) -> dict[str, Any]:
    """Time and trust of each snapshot's map, brought up to date and from scratch."""
    import umap

    updates = []
    layout = None
    for embeddings in drifting_embeddings(points, snapshots):
        if layout is None:
            layout, cold = timed(lambda e=embeddings: umap_layout(e))
            continue
        previous = layout
        again = [timed(lambda e=embeddings, p=previous: umap_layout(e, p)) for _ in range(3)]
        layout, update = again[0][0], statistics.median(seconds for _, seconds in again)
        scratch, from_scratch = timed(lambda e=embeddings: umap.UMAP().fit_transform(e))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_jobs value 1 overridden", UserWarning)
            _, seeded = timed(lambda e=embeddings: umap.UMAP(random_state=0).fit_transform(e))
        updates.append(
            {
                "seconds": update,
                "from_scratch_seconds": from_scratch,
                "seeded_from_scratch_seconds": seeded,
                "trustworthiness": trustworthiness(embeddings, layout),
                "from_scratch_trustworthiness": trustworthiness(embeddings, scratch),
                "knn_kept": knn_kept(embeddings, layout).mean,
                "from_scratch_knn_kept": knn_kept(embeddings, scratch).mean,
                "moved_in_spreads": float(np.linalg.norm(layout - previous, axis=1).mean() / previous.std()),
            }
        )
    update = statistics.median(row["seconds"] for row in updates)
    scratch = statistics.median(row["from_scratch_seconds"] for row in updates)
    return {
        "points": points,
        "cold_seconds": cold,
        "seconds": update,
        "from_scratch_seconds": scratch,
        "ratio": update / scratch,
        "ratio_to_seeded": update / statistics.median(row["seeded_from_scratch_seconds"] for row in updates),
        "worst_trust_lost": max(row["from_scratch_trustworthiness"] - row["trustworthiness"] for row in updates),
        "updates": updates,
    }


def small_parts() -> dict[str, float]:
    """Milliseconds of what is done for every snapshot of 2,000 points."""
    random = np.random.default_rng(0)
    narrow, wide = (random.normal(size=(2000, size)).astype(np.float32) for size in (128, 1280))
    layout = pca(narrow)

    def milliseconds(work: Callable[[], Any]) -> float:
        return 1000 * statistics.median(timed(work)[1] for _ in range(5))

    return {
        "pca_2000x128": milliseconds(lambda: pca(narrow, 2, layout)),
        "pca_2000x1280": milliseconds(lambda: pca(wide, 2, layout)),
        "trustworthiness_2000x128": milliseconds(lambda: trustworthiness(narrow, layout)),
        "knn_kept_2000x128": milliseconds(lambda: knn_kept(narrow, layout)),
    }


def retrieval(samples: int = 60_000, classes: int = 5_000, columns: int = 128) -> dict[str, Any]:
    """The same numbers by both, and how long they took."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    random = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    centres = random.normal(size=(classes, columns))
    embeddings = (centres[labels] + 1.6 * random.normal(size=(samples, columns))).astype(np.float32)
    ours, seconds = timed(lambda: evaluate_retrieval(embeddings, labels))

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))
    unit = torch.nn.functional.normalize(torch.from_numpy(embeddings))
    theirs, their_seconds = timed(lambda: calculator.get_accuracy(unit, torch.from_numpy(labels)))
    pairs = (("precision_at_1", names[0]), ("r_precision", names[1]), ("map_at_r", names[2]))
    return {
        "samples": samples,
        "classes": classes,
        "columns": columns,
        "seconds": seconds,
        "accuracy_calculator_seconds": their_seconds,
        "ratio": seconds / their_seconds,
        "map_at_r": ours["map_at_r"],
        "recall_at_1": ours["recall_at_1"],
        "largest_difference": max(abs(ours[mine] - theirs[their]) for mine, their in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--points", type=int, nargs="*", default=[2000, 10_000])
    parser.add_argument("--snapshots", type=int, default=3, choices=range(1, len(STRETCHES)))
    arguments = parser.parse_args()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        _, first_use = timed(warm_up)
        import umap

        for points in {min(count, 5000) for count in arguments.points}:  # 4,096 and more take umap's other path
            embeddings = np.random.default_rng(0).normal(size=(points, 16))
            umap.UMAP(n_epochs=5).fit_transform(embeddings)
            umap.UMAP(n_epochs=5, random_state=0, n_jobs=1).fit_transform(embeddings)
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "processor": platform.machine(),
        "warm_up_seconds": first_use,
        "map": [],
    }
    print(f"umap imported and compiled in {first_use:.1f} s; {os.cpu_count()} cores\n")
    print("points  step  update s  scratch s  ratio  seeded s  trust  scratch  kNN kept  scratch  moved (spreads)")
    for points in arguments.points:
        result = map_updates(points, arguments.snapshots)
        figures["map"].append(result)
        steps = np.cumsum(STRETCHES)[1:]
        for step, row in zip(steps, result["updates"], strict=False):
            print(
                f"{points:6d}  {step:4d}  {row['seconds']:8.2f}  {row['from_scratch_seconds']:9.2f}  "
                f"{row['seconds'] / row['from_scratch_seconds']:5.3f}  {row['seeded_from_scratch_seconds']:8.2f}  "
                f"{row['trustworthiness']:.3f}    {row['from_scratch_trustworthiness']:.3f}  "
                f"{row['knn_kept']:8.3f}  {row['from_scratch_knn_kept']:7.3f}  {row['moved_in_spreads']:15.2f}"
            )
        print(
            f"{points:6d}  median ratio {result['ratio']:.3f} (to a seeded one {result['ratio_to_seeded']:.3f}), "
            f"most trustworthiness lost {result['worst_trust_lost']:+.4f}, cold start {result['cold_seconds']:.2f} s\n"
        )
    figures["parts_milliseconds"] = small_parts()
    print("  ".join(f"{name} {value:.1f} ms" for name, value in figures["parts_milliseconds"].items()), "\n")
    found = figures["retrieval"] = retrieval()
    print(
        f"retrieval, {found['samples']:,} x {found['columns']}, {found['classes']:,} classes: "
        f"{found['seconds']:.1f} s, AccuracyCalculator {found['accuracy_calculator_seconds']:.1f} s "
        f"({found['ratio']:.2f}x), MAP@R {found['map_at_r']:.4f}, largest difference {found['largest_difference']:.1e}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
