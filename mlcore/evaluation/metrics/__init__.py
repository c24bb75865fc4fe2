"""The metrics: a file of this folder declares some, and everything that measures, shows or compares reads METRICS.

Importing this takes neither torch nor faiss, so that a page knows what there is.
"""

import importlib
import pkgutil

from mlcore.evaluation.metrics import clusters, retrieval, texts  # those that everybody knows are told first
from mlcore.evaluation.metrics.registry import METRICS, PRIMARY, Family, Metric, Value, mean_values, measure

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = [
    "METRICS",
    "PRIMARY",
    "Family",
    "Metric",
    "Value",
    "clusters",
    "mean_values",
    "measure",
    "retrieval",
    "texts",
]
