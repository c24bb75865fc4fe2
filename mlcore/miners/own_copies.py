"""Mining in a reference that holds the anchors themselves: a memory, or the joined batch of all processes."""

from __future__ import annotations

import inspect

from torch import Tensor, nn

from mlcore.tuples import Miner, Pairs, Triplets, as_tuples


def mine_others(
    miner: Miner, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor, own: Tensor
) -> Pairs | Triplets | None:
    """What the miner finds in the reference, where each anchor stands itself at the place that `own` (B,) says.

    Our miners take `own` and choose among the others. One that does not take it may choose the anchor as its own
    positive; such tuples are left out after.
    """
    if takes_own(miner):
        mined = miner(embeddings, labels, ref_emb, ref_labels, own=own)
        return None if mined is None else as_tuples(mined)
    mined = miner(embeddings, labels, ref_emb, ref_labels)
    return None if mined is None else without_own(as_tuples(mined), own)


def takes_own(miner: Miner) -> bool:
    call = miner.forward if isinstance(miner, nn.Module) else miner
    return "own" in inspect.signature(call).parameters


def without_own(tuples: Pairs | Triplets, own: Tensor) -> Pairs | Triplets:
    """Leaves out positives that are the anchor itself: `own` holds the place of each anchor in the reference."""
    keep = tuples.positives != own[tuples.anchors]
    if isinstance(tuples, Triplets):
        return Triplets(*(side[keep] for side in tuples))
    return tuples._replace(anchors=tuples.anchors[keep], positives=tuples.positives[keep])
