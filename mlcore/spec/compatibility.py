"""Which parts of a run go together, and what is said of those that do not."""

from __future__ import annotations

from mlcore.catalogue import registry
from mlcore.spec.defaults import LOSS_PARTS, PART_ROOMS, VECTORS, holds_vectors, learns_proxies
from mlcore.spec.sections import RunSections
from mlcore.traits import BackboneTrait, LossTrait, MethodTrait, WrapperTrait


def fitting_keys(section: str, loss_key: str) -> list[str]:
    """The parts of a section that can be used with a loss."""
    room = registry(PART_ROOMS[section])
    takes = registry("losses")[loss_key].takes
    if section in LOSS_PARTS:
        return [key for key in room if key in takes.get(section, ())]
    if section == "wrapper":
        return [
            key for key, part in room.items() if WrapperTrait.IN_A_RUN in part.traits and not learns_proxies(loss_key)
        ]
    return list(room)


def check_together(spec: RunSections) -> None:
    """Raises: ValueError, with a cure, for parts that do not go together."""
    check_loss_parts(spec)
    check_vectors(spec)
    check_method(spec)
    check_mix(spec)
    check_pooling(spec)
    check_teacher(spec)
    check_frozen(spec)
    check_head_start(spec)
    check_batch(spec)


def check_loss_parts(spec: RunSections) -> None:
    """Raises: ValueError for a distance, reducer, regularizer or wrapper that the loss does not go with."""
    title = registry("losses")[spec.loss.key].title
    for section in (*LOSS_PARTS, "wrapper"):
        choice, fitting = getattr(spec, section), fitting_keys(section, spec.loss.key)
        if choice is not None and choice.key not in fitting:
            cure = f"It goes with {', '.join(fitting)}." if fitting else "Leave it out."
            raise ValueError(f"{section}: {title} does not take '{choice.key}'. {cure}")


def check_method(spec: RunSections) -> None:
    """Raises: ValueError for a training method that does not go with the loss or the images that it would see."""
    method = registry("methods")[spec.method.key]
    per_class = [param.name for param in registry("losses")[spec.loss.key].params if param.knob.needs == "num_classes"]
    if MethodTrait.OWN_LABELS in method.traits and any(spec.loss.params[name] for name in per_class):
        raise ValueError(f"method: {method.title} knows no classes. Switch off {' and '.join(per_class)} of the loss.")
    if MethodTrait.NO_PROXIES in method.traits:
        for key in [spec.loss.key, *([spec.second_loss.key] if spec.second_loss else [])]:
            if learns_proxies(key):
                title = registry("losses")[key].title
                texts = MethodTrait.TEXTS in method.traits
                others, cure = ("texts", "clip or siglip") if texts else ("each other", "ntxent")
                raise ValueError(
                    f"method: {method.title} compares images with {others}, {title} with proxies of their classes. "
                    f"Choose a pair or triplet loss, such as {cure}."
                )
    if MethodTrait.TWO_VIEWS in method.traits and spec.augment.key == "none":
        raise ValueError(
            f"method: {method.title} shows each image in two renderings, which are the same without augmentation. "
            "Set augment to 'light'."
        )
    whole_batches = {MethodTrait.TWO_VIEWS, MethodTrait.SLICES, MethodTrait.TEXTS}
    if spec.subset_miner is not None and whole_batches & set(method.traits):
        raise ValueError(f"method: {method.title} goes without a subset miner. Leave subset_miner out.")


def check_mix(spec: RunSections) -> None:
    """Raises: ValueError where images are mixed and a part wants one class for each image."""
    if spec.mix.kind == "none":
        return
    method = registry("methods")[spec.method.key]
    if MethodTrait.CLASS_SHARES not in method.traits:
        raise ValueError(f"mix: {method.title} wants one class for each image. Set mix.kind to 'none'.")
    for choice in (spec.loss, spec.second_loss):
        if choice is not None and not takes_shares(choice.key):
            title = registry("losses")[choice.key].title
            raise ValueError(
                f"mix: {title} does not take images of two classes. Choose a softmax over proxies, such as arcface, or "
                "set mix.kind to 'none'."
            )
    for name, choice in (("miner", spec.miner), ("subset_miner", spec.subset_miner)):
        if choice is not None and choice.key != "none":
            raise ValueError(f"mix: a {name.replace('_', ' ')} wants one class for each image. Leave {name} out.")


def check_vectors(spec: RunSections) -> None:
    """Raises: ValueError where vectors would go through a network for images, images through none, or vectors move."""
    if (held := holds_vectors(spec.dataset.key)) is not None:
        refuse_mismatch(spec, bool(held))
    if spec.backbone.key != VECTORS:
        return
    method = registry("methods")[spec.method.key]
    if MethodTrait.TWO_VIEWS in method.traits:
        raise ValueError(
            f"method: {method.title} compares renderings of images, and feature vectors have none. Choose "
            "another, such as metric_only."
        )
    for name, chosen in (("augment", spec.augment.key), ("mix.kind", spec.mix.kind)):
        if chosen != "none":
            raise ValueError(f"feature vectors are taken as they are, so {name} must be 'none'; got '{chosen}'.")


def refuse_mismatch(spec: RunSections, has_vectors: bool) -> None:
    """Raises: ValueError if the backbone is for vectors and the data set holds images, or the other way round."""
    title = registry("backbones")[spec.backbone.key].title
    if has_vectors and spec.backbone.key != VECTORS:
        raise ValueError(
            f"backbone: '{spec.dataset.title()}' holds feature vectors, and {title} is for images. Set backbone to "
            f"'{VECTORS}', or leave it out."
        )
    if not has_vectors and spec.backbone.key == VECTORS:
        raise ValueError(
            f"backbone: '{spec.dataset.title()}' holds images, and '{VECTORS}' is for a set of feature vectors. Choose "
            "another backbone, such as small_conv."
        )


def check_pooling(spec: RunSections) -> None:
    """Raises: ValueError where there is no map to pool."""
    backbone = registry("backbones")[spec.backbone.key]
    if spec.backbone.pooling != "own" and BackboneTrait.FEATURE_MAP not in backbone.traits:
        raise ValueError(f"backbone: {backbone.title} has no last map that could be pooled. Set pooling to 'own'.")


def check_teacher(spec: RunSections) -> None:
    """Raises: ValueError where a teacher has nothing to say of what a step sees."""
    if spec.teacher is None:
        return
    if spec.mix.kind != "none":
        raise ValueError("teacher: it has seen single images, not mixed ones. Set mix.kind to 'none'.")
    if spec.teacher.alone and spec.subset_miner is not None:
        raise ValueError(
            "teacher: a subset miner picks what the loss finds hard, and where the teacher teaches alone there is no "
            "loss. Leave subset_miner out."
        )


def check_frozen(spec: RunSections) -> None:
    """Raises: ValueError where nothing would be trained, or images of a frozen backbone were to change."""
    frozen = spec.backbone.freeze == "everything"
    proxies = learns_proxies(spec.loss.key) and not (spec.teacher and spec.teacher.alone)
    if frozen and spec.head.kind == "none" and spec.head.norm == "none" and not proxies:
        raise ValueError(
            "nothing would be trained: the backbone is frozen, there is no head, and the loss has no proxies. "
            "Choose a linear head or let the backbone train."
        )
    for name, chosen in (("augment", spec.augment.key), ("mix.kind", spec.mix.kind)):
        if frozen and chosen != "none":
            raise ValueError(
                f"a frozen backbone is run once over unchanged images, so {name} must be 'none'; got '{chosen}'."
            )


def check_head_start(spec: RunSections) -> None:
    """Raises: ValueError for principal components as the start of a head that is no projection."""
    if spec.head.start == "components" and spec.head.kind != "linear":
        raise ValueError(
            "head.start 'components' needs a linear head, which can be the projection on them. Set head.kind to "
            "'linear', or head.start to 'random'."
        )


def check_batch(spec: RunSections) -> None:
    """Raises: ValueError for a batch that its classes do not fill."""
    m = spec.sampler.params.get("m")
    if isinstance(m, int) and spec.sampler.batch_size % m:
        raise ValueError(
            f"sampler: batch_size must be a multiple of m = {m}; got {spec.sampler.batch_size}. "
            f"Try {max(m, spec.sampler.batch_size // m * m)}."
        )


def takes_shares(loss_key: str) -> bool:
    """Whether a loss takes images of several classes, as mixing makes them."""
    return LossTrait.CLASS_SHARES in registry("losses")[loss_key].traits
