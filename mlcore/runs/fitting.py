"""Which parts of a run go together, what is usual with what, and where each is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mlcore.catalogue import parts

if TYPE_CHECKING:
    from mlcore.runs.choices import Part
    from mlcore.runs.spec import RunSpec

VECTORS = "vectors"  # the backbone of sets of feature vectors, and of no others
SCRATCH_RATE = 1e-3
UNSCALED_RATE = 1e-5  # of a pretrained backbone, beside a rate that somebody gave
FINE_TUNING = {"backbone_lr": 6e-5, "head_lr": 6e-4, "schedule": "cosine", "lr_scaling": "classes"}
FOLLOW_BACKBONE = {
    "backbone": ("freeze",),
    "head": ("kind", "start", "embedding_size"),
    "optimizer": ("backbone_lr", "head_lr", "schedule", "lr_scaling"),
}
PART_ROOMS = {
    "dataset": "datasets",
    "backbone": "backbones",
    "loss": "losses",
    "distance": "distances",
    "reducer": "reducers",
    "embedding_regularizer": "regularizers",
    "weight_regularizer": "regularizers",
    "second_loss": "losses",
    "wrapper": "wrappers",
    "miner": "miners",
    "subset_miner": "subset_miners",
    "sampler": "samplers",
    "method": "methods",
    "augment": "augmentations",
}
LOSS_PARTS = ("distance", "reducer", "embedding_regularizer", "weight_regularizer")
OPTIONAL = (*LOSS_PARTS, "second_loss", "wrapper", "subset_miner")
WEIGHTED = ("embedding_regularizer", "weight_regularizer", "second_loss")


def usual_key(section: str, record: dict[str, Any], usual: Part | None = None) -> str | None:
    """The part that is taken where none is named. Proxies and texts want plain batches, other losses m per class."""
    if section == "sampler":
        shuffles = learns_proxies(key_in(record["loss"])) or reads_texts(key_in(record.get("method")))
        return "shuffle" if shuffles else "m_per_class"
    if section == "augment":
        return usual_augment(record["method"]["key"])
    if section == "backbone" and holds_vectors(key_in(record.get("dataset"))):
        return VECTORS
    return usual and usual.key


def key_in(choice: Any) -> str:
    """The key of a part as it may stand in a record: its name, its record, or nothing."""
    if isinstance(choice, BaseModel):
        return choice.key
    return str((choice.get("key") if isinstance(choice, dict) else choice) or "")


def holds_vectors(dataset_key: str) -> bool | None:
    """Whether a data set is one of feature vectors; None where it is not here, or images at a path."""
    if not dataset_key or dataset_key in parts("datasets"):
        return False
    from mlcore.data.store import SET_ID, data_root, read_facts

    if SET_ID.fullmatch(dataset_key):
        facts = read_facts(data_root() / dataset_key)
        return facts and facts.has_vectors
    from mlcore.data.sources import FeatureVectors
    from mlcore.data.sources.root import allowed

    try:
        return FeatureVectors.takes(allowed(dataset_key)) or None
    except ValueError:
        return None


def reads_texts(method_key: str) -> bool:
    """Whether a training method compares images with texts; what is no method does not."""
    room = parts("methods")
    return method_key in room and "texts" in room[method_key].traits


def usual_augment(method_key: str) -> str:
    """Two views of an image are the same without augmentation."""
    return "light" if "two views" in parts("methods")[method_key].traits else "none"


def with_fitting_defaults(record: dict[str, Any]) -> dict[str, Any]:
    """Fills in what follows from the backbone, where nothing is given. What was given, or stored, stays as it is.

    A backbone that knows something before the first step (pretrained, or a set's own vectors) keeps its batch-norm
    statistics, begins with its own features as the embedding, or a linear head of a given size at their principal
    components, and goes on in small steps, the fewer classes the smaller. Any other trains at the usual rates.
    """
    backbone, head, optimizer = record["backbone"], record.get("head", {}), record.get("optimizer", {})
    pretrained = backbone["params"].get("pretrained") is True
    vectors = backbone.get("key") == VECTORS
    backbone.setdefault("freeze", "everything" if vectors else "batch_norm" if pretrained else "nothing")
    if not (pretrained or vectors):
        if isinstance(optimizer, dict):
            record["optimizer"] = {"backbone_lr": SCRATCH_RATE, **optimizer}
        return record
    if isinstance(head, dict) and "kind" not in head:
        begin = {"start": "components"} if "embedding_size" in head else {"kind": "residual"}
        record["head"] = begin | head
    if isinstance(optimizer, dict):
        rate_is_given = not {"backbone_lr", "head_lr"}.isdisjoint(optimizer)
        record["optimizer"] = ({"backbone_lr": UNSCALED_RATE} if rate_is_given else FINE_TUNING) | optimizer
    return record


def fitting_keys(section: str, loss_key: str) -> list[str]:
    """The parts of a section that can be used with a loss."""
    room = parts(PART_ROOMS[section])
    takes = parts("losses")[loss_key].takes
    if section in LOSS_PARTS:
        return [key for key in room if key in takes.get(section, ())]
    if section == "wrapper":
        return [key for key, part in room.items() if "in a run" in part.traits and not learns_proxies(loss_key)]
    return list(room)


def check_together(spec: RunSpec) -> None:
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


def check_loss_parts(spec: RunSpec) -> None:
    """Raises: ValueError for a distance, reducer, regularizer or wrapper that the loss does not go with."""
    title = parts("losses")[spec.loss.key].title
    for section in (*LOSS_PARTS, "wrapper"):
        choice, fitting = getattr(spec, section), fitting_keys(section, spec.loss.key)
        if choice is not None and choice.key not in fitting:
            cure = f"It goes with {', '.join(fitting)}." if fitting else "Leave it out."
            raise ValueError(f"{section}: {title} does not take '{choice.key}'. {cure}")


def check_method(spec: RunSpec) -> None:
    """Raises: ValueError for a training method that does not go with the loss or the images that it would see."""
    method = parts("methods")[spec.method.key]
    per_class = [param.name for param in parts("losses")[spec.loss.key].params if param.knob.needs == "num_classes"]
    if "own labels" in method.traits and any(spec.loss.params[name] for name in per_class):
        raise ValueError(f"method: {method.title} knows no classes. Switch off {' and '.join(per_class)} of the loss.")
    if "no proxies" in method.traits:
        for key in [spec.loss.key, *([spec.second_loss.key] if spec.second_loss else [])]:
            if learns_proxies(key):
                title = parts("losses")[key].title
                texts = "texts" in method.traits
                others, cure = ("texts", "clip or siglip") if texts else ("each other", "ntxent")
                raise ValueError(
                    f"method: {method.title} compares images with {others}, {title} with proxies of their classes. "
                    f"Choose a pair or triplet loss, such as {cure}."
                )
    if "two views" in method.traits and spec.augment.key == "none":
        raise ValueError(
            f"method: {method.title} shows each image in two renderings, which are the same without augmentation. "
            "Set augment to 'light'."
        )
    if spec.subset_miner is not None and {"two views", "slices", "texts"} & set(method.traits):
        raise ValueError(f"method: {method.title} goes without a subset miner. Leave subset_miner out.")


def check_mix(spec: RunSpec) -> None:
    """Raises: ValueError where images are mixed and a part wants one class for each image."""
    if spec.mix.kind == "none":
        return
    method = parts("methods")[spec.method.key]
    if "class shares" not in method.traits:
        raise ValueError(f"mix: {method.title} wants one class for each image. Set mix.kind to 'none'.")
    for choice in (spec.loss, spec.second_loss):
        if choice is not None and not takes_shares(choice.key):
            title = parts("losses")[choice.key].title
            raise ValueError(
                f"mix: {title} does not take images of two classes. Choose a softmax over proxies, such as arcface, or "
                "set mix.kind to 'none'."
            )
    for name, choice in (("miner", spec.miner), ("subset_miner", spec.subset_miner)):
        if choice is not None and choice.key != "none":
            raise ValueError(f"mix: a {name.replace('_', ' ')} wants one class for each image. Leave {name} out.")


def check_vectors(spec: RunSpec) -> None:
    """Raises: ValueError where vectors would go through a network for images, images through none, or vectors move."""
    if (held := holds_vectors(spec.dataset.key)) is not None:
        refuse_mismatch(spec, bool(held))
    if spec.backbone.key != VECTORS:
        return
    method = parts("methods")[spec.method.key]
    if "two views" in method.traits:
        raise ValueError(
            f"method: {method.title} compares renderings of images, and feature vectors have none. Choose "
            "another, such as metric_only."
        )
    for name, chosen in (("augment", spec.augment.key), ("mix.kind", spec.mix.kind)):
        if chosen != "none":
            raise ValueError(f"feature vectors are taken as they are, so {name} must be 'none'; got '{chosen}'.")


def refuse_mismatch(spec: RunSpec, has_vectors: bool) -> None:
    """Raises: ValueError if the backbone is for vectors and the data set holds images, or the other way round."""
    title = parts("backbones")[spec.backbone.key].title
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


def check_pooling(spec: RunSpec) -> None:
    """Raises: ValueError where there is no map to pool."""
    backbone = parts("backbones")[spec.backbone.key]
    if spec.backbone.pooling != "own" and "feature map" not in backbone.traits:
        raise ValueError(f"backbone: {backbone.title} has no last map that could be pooled. Set pooling to 'own'.")


def check_teacher(spec: RunSpec) -> None:
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


def check_frozen(spec: RunSpec) -> None:
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


def check_head_start(spec: RunSpec) -> None:
    """Raises: ValueError for principal components as the start of a head that is no projection."""
    if spec.head.start == "components" and spec.head.kind != "linear":
        raise ValueError(
            "head.start 'components' needs a linear head, which can be the projection on them. Set head.kind to "
            "'linear', or head.start to 'random'."
        )


def check_batch(spec: RunSpec) -> None:
    """Raises: ValueError for a batch that its classes do not fill."""
    m = spec.sampler.params.get("m")
    if isinstance(m, int) and spec.sampler.batch_size % m:
        raise ValueError(
            f"sampler: batch_size must be a multiple of m = {m}; got {spec.sampler.batch_size}. "
            f"Try {max(m, spec.sampler.batch_size // m * m)}."
        )


def takes_shares(loss_key: str) -> bool:
    """Whether a loss takes images of several classes, as mixing makes them."""
    return "class shares" in parts("losses")[loss_key].traits


def learns_proxies(loss_key: str) -> bool:
    return parts("losses")[loss_key].family == "proxy"
