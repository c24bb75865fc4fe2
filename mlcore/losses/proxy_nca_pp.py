"""ProxyNCA++: ProxyNCA with a low temperature and the true class below the line."""

from __future__ import annotations

from typing import Annotated, Unpack

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.losses.proxy_loss import ProxyLoss, ProxyOptions
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "proxy_nca_pp",
    title="ProxyNCA++",
    family="proxy",
    formula=r"-\log\frac{e^{-\lVert\hat x-\hat w_y\rVert^2/T}}{\sum_j e^{-\lVert\hat x-\hat w_j\rVert^2/T}}",
    paper="Teh et al., ECCV 2020, arXiv:2004.01113",
    aliases=("ProxyNCA++ (authors)", "ProxyNCA_prob"),
)
class ProxyNCAPlusPlusLoss(ProxyLoss):
    """The probability that an embedding belongs to its own class's proxy, by squared distance at a low temperature.

    Of unit vectors the squared distance is 2 less twice the cosine, so this is a softmax over cosines of scale 2 / T,
    18 as it comes. Proxies start at right angles to each other as far as there is room. The paper's other parts, max
    pooling, a layer norm, balanced batches and fast proxies, belong to the model and its training.

    What to expect: A strong and simple baseline. Give the proxies a learning rate far above the model's.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        temperature: Annotated[
            float,
            Knob("Divides the squared distances: small insists on a clear winner.", 0.01, 2.0, symbol="T", log=True),
        ] = 1.0 / 9.0,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, 2.0 / temperature, **rest)
        self.temperature = temperature

    def init_proxies(self, proxies: Tensor) -> None:
        nn.init.orthogonal_(proxies.view(-1, proxies.shape[-1]))
