"""What each query finds: recall, precision and their means over ranks."""

from __future__ import annotations

import numpy as np

from mlcore.evaluation.metrics.registry import METRICS
from mlcore.evaluation.side import RECALLS, Side

MUSGRAVE = "Musgrave, Belongie, Lim, ECCV 2020, arXiv:2003.08505, section 3.2"
JEGOU = "Jégou, Douze, Schmid, Product quantization for nearest neighbor search, PAMI 2011"


def declare_recall(k: int) -> None:
    first = "whose nearest sample is" if k == 1 else f"with at least one of the nearest {k} samples"

    @METRICS.add(
        f"recall_at_{k}",
        title=f"Recall@{k}",
        short=f"R@{k}",
        family="retrieval",
        description=f"The share of queries {first} of their own class.",
        paper=JEGOU,
        headline=k == 1,
    )
    def recall(side: Side) -> np.ndarray:
        return side.ranking.metrics[f"recall_at_{k}"]


for _k in RECALLS:
    declare_recall(_k)


@METRICS.add(
    "precision_at_1",
    title="Precision@1",
    short="P@1",
    family="retrieval",
    description="The share of queries whose nearest sample is of their own class, as Recall@1.",
    paper=MUSGRAVE,
)
def precision_at_1(side: Side) -> np.ndarray:
    return side.ranking.metrics["precision_at_1"]


@METRICS.add(
    "r_precision",
    title="R-precision",
    family="retrieval",
    description="The share of the query's class among as many nearest samples as the class has others.",
    paper=MUSGRAVE,
)
def r_precision(side: Side) -> np.ndarray:
    return side.ranking.metrics["r_precision"]


@METRICS.add(
    "map_at_r",
    title="MAP@R",
    family="retrieval",
    description="R-precision that also asks for the right order: precision at each hit, over as many ranks as the "
    "class has others.",
    paper=MUSGRAVE,
    aliases=("mean_average_precision_at_r",),
    headline=True,
)
def map_at_r(side: Side) -> np.ndarray:
    return side.ranking.metrics["map_at_r"]


@METRICS.add(
    "map",
    title="MAP",
    family="retrieval",
    description="Precision at each hit over the whole gallery, its mean.",
    paper="Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, section 8.4",
    aliases=("mean_average_precision",),
    expensive=True,
)
def mean_average_precision(side: Side) -> np.ndarray | None:
    return side.whole_ranking.metrics["map"] if side.whole_ranking else None


@METRICS.add(
    "mrr",
    title="MRR",
    family="retrieval",
    description="One over the rank of the first hit, its mean.",
    paper="Voorhees, The TREC-8 question answering track report, 1999",
    aliases=("mean_reciprocal_rank",),
    expensive=True,
)
def mean_reciprocal_rank(side: Side) -> np.ndarray | None:
    return side.whole_ranking.metrics["mrr"] if side.whole_ranking else None
