"""Makes models.csv and weights.csv from the installed timm: `python -m mlcore.timm_zoo.count_models`.

Every network is built without memory for its weights (torch's meta device) and asked for one image at its own input
size, so that thousands of layers are counted in seconds. Run it again after a new timm; it takes a few minutes.
"""

from __future__ import annotations

import contextlib
import csv
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import timm
import torch
from timm.models import list_models
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from mlcore.timm_zoo.installed_models import describe_model, list_weights
from mlcore.timm_zoo.model_table import COUNTED_BY, COUNTS, MODELS_FILE, SETTINGS, WEIGHTS_FILE

LIMIT_S = 60
MODEL_COLUMNS = ("name", "family", *SETTINGS, *COUNTS)
WEIGHT_COLUMNS = ("name", "tag", "repository", "licence", *SETTINGS)


class Tally(TorchDispatchMode):
    """What a forward pass amounts to while this is entered: multiply-adds by kind, values written, operations."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.grouped = self.matmul = 0.0
        self.values = self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view or not any(isinstance(leaf, Tensor) for leaf in tree_leaves(out)):
            return out
        self.operations += 1
        self.values += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        packet = func._overloadpacket
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **(kwargs or {}), out_val=out) / 2
            self.macs += macs
            if packet is not torch.ops.aten.convolution:
                self.matmul += macs
            elif args[8] > 1:
                self.grouped += macs
        return out


class SameKernels(TorchFunctionMode):
    """Layers that torch runs by other kernels from one version or machine to the next run by the same while this is
    entered: attention as products and a softmax, linear layers as in torch 2.15, which the tables were counted with."""

    def __enter__(self) -> SameKernels:
        self.attention = sdpa_kernel(SDPBackend.MATH)
        self.attention.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.attention.__exit__(kind, error, trace)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (plain_linear if func is torch.nn.functional.linear else func)(*args, **(kwargs or {}))


def plain_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch's own, whose result torch 2.15 reshapes (an operation of its own) where 2.14 only looks at it otherwise."""
    if input.dim() <= 2 or bias is None or not input.is_contiguous():
        return torch.nn.functional.linear(input, weight, bias)
    rows = torch.addmm(bias, input.view(-1, input.shape[-1]), weight.T)
    return torch.ops.aten._unsafe_view(rows, [*input.shape[:-1], weight.shape[0]])


def count_model(name: str) -> dict[str, Any]:
    """A row of models.csv without the counts that could not be had, and why not under "fault"."""
    row = describe_model(name)
    try:
        with time_limit(LIMIT_S), torch.no_grad():
            with torch.device("meta"):
                network = timm.create_model(name, pretrained=False, num_classes=0).eval()
                image = torch.zeros(1, 3, row["height"], row["width"])
            with SameKernels(), Tally() as tally:
                features = network(image)
    except Exception as error:  # whatever one of a thousand networks of a library raises
        return row | {"fault": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return row | {
        "parameters_m": four_figures(sum(weights.numel() for weights in network.parameters()) / 1e6),
        "features": features.shape[-1],
        "gmacs": four_figures(tally.macs / 1e9),
        "gmacs_grouped": four_figures(tally.grouped / 1e9),
        "gmacs_matmul": four_figures(tally.matmul / 1e9),
        "values_m": four_figures(tally.values / 1e6),
        "operations": tally.operations,
    }


def four_figures(number: float) -> str:
    """Four figures, for a small file that changes little."""
    return f"{float(f'{number:.4g}'):.10g}"


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> None:
    """The rows as they come, so that what is counted stays when this is stopped."""
    with path.open("w", newline="") as file:
        file.write(f"{COUNTED_BY}{timm.__version__}\n")
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            file.flush()


def main() -> None:
    warnings.simplefilter("ignore")
    names = list_models()
    write_table(WEIGHTS_FILE, WEIGHT_COLUMNS, (row for name in names for row in list_weights(name)))
    faults = {}

    def rows() -> Iterator[dict[str, Any]]:
        for name in tqdm(names, unit=" models", disable=not sys.stderr.isatty()):
            row = count_model(name)
            faults.update({name: row["fault"]} if "fault" in row else {})
            yield row

    write_table(MODELS_FILE, MODEL_COLUMNS, rows())
    print(f"{len(names) - len(faults)} of {len(names)} models of timm {timm.__version__} counted.")
    for name, fault in faults.items():
        print(f"  {name}: {fault}")


if __name__ == "__main__":
    main()
