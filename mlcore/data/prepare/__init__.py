"""A set made ready: statistics, filters, near-duplicates, merging, splits and folds, as steps that can be undone."""

from mlcore.data.prepare.build_set import derive_set
from mlcore.data.prepare.duplicates import NearDuplicates, leave_out, near_duplicates
from mlcore.data.prepare.index import complete_index, read_index, write_index
from mlcore.data.prepare.merge import merge, shared_labels
from mlcore.data.prepare.plan import Plan
from mlcore.data.prepare.statistics import Statistics, compute_statistics
from mlcore.data.prepare.steps import STEPS, Effect, Step

__all__ = [
    "STEPS",
    "Effect",
    "NearDuplicates",
    "Plan",
    "Statistics",
    "Step",
    "complete_index",
    "compute_statistics",
    "derive_set",
    "leave_out",
    "merge",
    "near_duplicates",
    "read_index",
    "shared_labels",
    "write_index",
]
