"""What is usual with what, and so what else changes when one thing is changed.

The app, the command line and notebooks all ask `follow`; a record that says little is completed by `usual_key` and
`with_fitting_defaults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from mlcore.catalogue import registry
from mlcore.spec.sections import BackboneChoice, HeadChoice, OptimizerChoice, PartChoice
from mlcore.traits import BackboneTrait, MethodTrait

Settings = Mapping[str, object]  # by dotted names ('loss', 'loss.margin'), as somebody has given them


class PartRecord(TypedDict):
    """A part in a record of settings."""

    key: str
    params: dict[str, object]


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


def follow(before: Settings, change: Settings) -> dict[str, Any]:
    """What else changes, by dotted names, when `change` is made to the settings `before`.

    What had the usual value for what is changed takes the value that is usual now; what somebody set stays, and so does
    what `change` itself names. Both are dotted settings ('loss', 'loss.margin'); a part may also be a record of its key
    and params. Nothing is checked here.
    """
    followed: dict[str, object] = {}
    for rule in (follow_dataset, follow_backbone, follow_method, follow_sampler, follow_head, follow_teacher):
        found = rule(before, {**followed, **change})
        followed |= {name: value for name, value in found.items() if not is_named(name, change)}
    return followed


def is_named(name: str, change: Settings) -> bool:
    """Whether a change itself says what a setting is to be: by its name, or in a record of its section."""
    section, _, field = name.partition(".")
    whole = change.get(section)
    return name in change or (isinstance(whole, dict) and (section not in PART_ROOMS or not field or field in whole))


def follow_dataset(before: Settings, change: Settings) -> dict[str, object]:
    """Feature vectors go through no network and are not augmented; images go through one again."""
    if "dataset" not in change:
        return {}
    was, now = (usual_key("backbone", {"dataset": chosen}) for chosen in (before.get("dataset"), change["dataset"]))
    if was == now or (now == VECTORS) == (before.get("backbone") == VECTORS):
        return {}
    if now != VECTORS:
        return {"backbone": BackboneChoice().key}
    return {"backbone": VECTORS, "augment": "none", "mix.kind": "none"}


def follow_backbone(before: Settings, change: Settings) -> dict[str, object]:
    """How a backbone is trained follows from what it knows; a pooling of a map goes where there is none."""
    if "backbone" not in change and "backbone.pretrained" not in change:
        return {}
    was, now = chosen_backbone(before, {}), chosen_backbone(before, change)
    usual_before = usual_with_backbone(was)
    kept = {name: before[name] for name, value in usual_before.items() if before.get(name, value) != value}
    followed = usual_with_backbone(now, kept | {name: change[name] for name in usual_before if name in change})
    room = registry("backbones")
    if now["key"] in room and BackboneTrait.FEATURE_MAP not in room[now["key"]].traits:
        followed["backbone.pooling"] = "own"
    return {name: value for name, value in followed.items() if before.get(name) != value}


def chosen_backbone(before: Settings, change: Settings) -> PartRecord:
    """The backbone's key, and whether it is pretrained where that is said, once `change` is made."""
    choice = change.get("backbone", before.get("backbone"))
    key = key_in(choice)
    params: dict[str, object] = dict((choice.get("params") or {}) if isinstance(choice, dict) else {})
    if key in registry("backbones"):
        params = {**registry("backbones")[key].defaults(), **params}
    if key == key_in(before.get("backbone")) and "backbone.pretrained" in before:
        params["pretrained"] = before["backbone.pretrained"]
    if "backbone.pretrained" in change:
        params["pretrained"] = change["backbone.pretrained"]
    return {"key": key, "params": params}


def follow_method(before: Settings, change: Settings) -> dict[str, object]:
    """Two views of an image want an augmentation."""
    methods = registry("methods")
    was, now = key_in(before.get("method")), key_in(change.get("method"))
    if was not in methods or now not in methods or vectors_in(before, change):
        return {}
    if before.get("augment") != usual_augment(was):
        return {}
    return {"augment": usual_augment(now)}


def follow_sampler(before: Settings, change: Settings) -> dict[str, object]:
    """Batches are put together as the loss and the method want them."""
    if ("loss" not in change and "method" not in change) or any(name.startswith("sampler.") for name in change):
        return {}
    after = {"loss": change.get("loss", before.get("loss")), "method": change.get("method", before.get("method"))}
    was, now = (usual_key("sampler", chosen) for chosen in (before, after))
    return {"sampler": now} if before.get("sampler") == was != now else {}


def follow_head(before: Settings, change: Settings) -> dict[str, object]:
    """A size that is asked for makes a linear head of a residual one; a linear head begins where it keeps most."""
    backbone_follows = "backbone" in change or "backbone.pretrained" in change
    kind = change.get("head.kind", before.get("head.kind"))
    if "head.embedding_size" in change and kind == "residual" and not backbone_follows:
        return {"head.kind": "linear", "head.start": "components"}
    if "head.kind" not in change:
        return {}
    knows = kind == "linear" and begins_with_knowledge(chosen_backbone(before, change))
    return {"head.start": "components" if knows else "random"}


def follow_teacher(before: Settings, change: Settings) -> dict[str, object]:
    """Another run that teaches has another last checkpoint."""
    return {"teacher.sha256": ""} if "teacher.run" in change and before.get("teacher.sha256") else {}


def vectors_in(before: Settings, change: Settings) -> bool:
    return key_in(change.get("backbone", before.get("backbone"))) == VECTORS


def begins_with_knowledge(backbone: PartRecord) -> bool:
    """Whether a backbone, a record of its key and params, is pretrained, or the vectors of a set as they are."""
    return backbone["key"] == VECTORS or backbone["params"].get("pretrained") is True


def usual_with_backbone(backbone: PartRecord, kept: Settings | None = None) -> dict[str, object]:
    """The dotted settings that follow from a backbone, a record of its key and params, beside those that are `kept`."""
    record: dict[str, Any] = {"backbone": dict(backbone)}
    for name, value in (kept or {}).items():
        section, _, field = name.partition(".")
        record.setdefault(section, {})[field] = value
    filled = with_fitting_defaults(record)
    sections = {"backbone": BackboneChoice(), "head": HeadChoice(), "optimizer": OptimizerChoice()}
    return {
        f"{section}.{field}": filled.get(section, {}).get(field, getattr(sections[section], field))
        for section, fields in FOLLOW_BACKBONE.items()
        for field in fields
    }


def usual_key(section: str, record: Mapping[str, object], usual: PartChoice | None = None) -> str | None:
    """The part that is taken where none is named. Proxies and texts want plain batches, other losses m per class."""
    if section == "sampler":
        shuffles = learns_proxies(key_in(record["loss"])) or reads_texts(key_in(record.get("method")))
        return "shuffle" if shuffles else "m_per_class"
    if section == "augment":
        return usual_augment(key_in(record["method"]))
    if section == "backbone" and holds_vectors(key_in(record.get("dataset"))):
        return VECTORS
    return usual.key if usual else None


def key_in(choice: object) -> str:
    """The key of a part as it may stand in a record: its name, its record, or nothing."""
    if isinstance(choice, PartChoice):
        return choice.key
    return str((choice.get("key") if isinstance(choice, dict) else choice) or "")


def holds_vectors(dataset_key: str) -> bool | None:
    """Whether a data set is one of feature vectors; None where it is not here, or images at a path."""
    if not dataset_key or dataset_key in registry("datasets"):
        return False
    from mlcore.data.store import SET_ID, data_root, read_facts

    if SET_ID.fullmatch(dataset_key):
        facts = read_facts(data_root() / dataset_key)
        return facts.has_vectors if facts else None
    from mlcore.data.sources import FeatureVectors
    from mlcore.data.sources.safe_folder import resolve_allowed

    try:
        return FeatureVectors.takes(resolve_allowed(dataset_key)) or None
    except ValueError:
        return None


def reads_texts(method_key: str) -> bool:
    """Whether a training method compares images with texts; what is no method does not."""
    room = registry("methods")
    return method_key in room and MethodTrait.TEXTS in room[method_key].traits


def usual_augment(method_key: str) -> str:
    """Two views of an image are the same without augmentation."""
    return "light" if MethodTrait.TWO_VIEWS in registry("methods")[method_key].traits else "none"


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


def learns_proxies(loss_key: str) -> bool:
    return registry("losses")[loss_key].family == "proxy"
