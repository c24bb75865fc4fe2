"""What embeddings are worth, measured on numpy arrays: search, clusters, angles, and how far a map can be believed."""

from mlcore.evaluation.clustering import ami, nmi
from mlcore.evaluation.faithfulness import Kept, knn_kept, trustworthiness
from mlcore.evaluation.geometry import SampleAngles, angle_histograms, sample_angles
from mlcore.evaluation.ranking import Ranking, fit_pca, rank
from mlcore.evaluation.retrieval import PerQuery, evaluate_retrieval, nearest, per_query

__all__ = [
    "Kept",
    "PerQuery",
    "Ranking",
    "SampleAngles",
    "ami",
    "angle_histograms",
    "evaluate_retrieval",
    "fit_pca",
    "knn_kept",
    "nearest",
    "nmi",
    "per_query",
    "rank",
    "sample_angles",
    "trustworthiness",
]
