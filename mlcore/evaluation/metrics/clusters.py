"""Whether the classes fall out of the embeddings by themselves."""

from __future__ import annotations

from mlcore.evaluation.clustering import adjusted_mutual_information, mutual_information
from mlcore.evaluation.metrics.registry import METRICS
from mlcore.evaluation.side import Side


@METRICS.add(
    "nmi",
    title="NMI",
    family="clusters",
    description="How much k-means clusters, as many as classes, tell of the classes; it flatters many small classes.",
    paper="Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, section 16.3",
    aliases=("NMI",),
    headline=True,
)
def nmi(side: Side) -> float | None:
    return mutual_information(*side.clusters) if side.clusters else None


@METRICS.add(
    "ami",
    title="AMI",
    family="clusters",
    description="NMI less what chance gives: 0 for random clusters, however many classes there are.",
    paper="Vinh, Epps, Bailey, JMLR 2010",
    aliases=("AMI",),
    low=-1.0,
    expensive=True,
)
def ami(side: Side) -> float | None:
    return adjusted_mutual_information(*side.clusters) if side.clusters else None
