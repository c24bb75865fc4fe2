"""SNR contrastive: the contrastive loss on signal-to-noise distances."""

from __future__ import annotations

from typing import Unpack

from mlcore.distances import Distance, SNRDistance
from mlcore.losses.contrastive import ContrastiveLoss, ContrastiveOptions
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "snr_contrastive",
    title="SNR contrastive",
    family="pair",
    formula=(
        r"\big[d_{ap}-m_p\big]_+ + \big[m_n-d_{an}\big]_+,\quad "
        r"d_{ab}=\frac{\operatorname{var}(a-b)}{\operatorname{var}(a)}"
    ),
    paper="Yuan et al., CVPR 2019, arXiv:1904.02616",
    aliases=("SignalToNoiseRatioContrastiveLoss (pytorch-metric-learning)", "DSML"),
)
class SignalToNoiseRatioContrastiveLoss(ContrastiveLoss):
    """The contrastive loss with the variance of the difference over that of the anchor in place of the distance.

    The difference of two embeddings is read as noise, the anchor as signal. The distance is not symmetric. The paper
    adds a cost on the mean of each embedding's entries, without which they may all grow by the same amount unseen; add
    it as an embedding regularizer where that matters. Embeddings are scaled to length 1 first, as in
    pytorch-metric-learning; `distance=SNRDistance(normalize_embeddings=False)` leaves them alone.

    What to expect: Much like the contrastive loss on squared distances, 0 for equal and about 2 for unrelated
    embeddings.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,). A
    batch without positive or negative pairs loses nothing there.
    Raises: ValueError for another distance.
    """

    fitting_distances = ("snr",)

    def __init__(self, *, distance: Distance | None = None, **rest: Unpack[ContrastiveOptions]) -> None:
        if distance is not None and not isinstance(distance, SNRDistance):
            raise ValueError(
                "SignalToNoiseRatioContrastiveLoss: distance must be SNRDistance(); "
                f"got {type(distance).__name__}. Leave distance out, or use ContrastiveLoss."
            )
        super().__init__(distance=distance or SNRDistance(), **rest)
