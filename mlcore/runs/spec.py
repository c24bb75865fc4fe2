"""RunSpec: everything needed to do a run again. The app, the command line and a notebook all make this one record."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlcore.catalogue import parts
from mlcore.declare import nearest_word

SCHEMA = 1
CONFIG_LIMIT = 256 * 1024
Value = bool | int | float | str | None
Rate = Annotated[float, Field(ge=0.0, le=10.0)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(Record):
    """A declared part by its registry key, with every knob's value."""

    key: str
    params: dict[str, Value] = {}


class WeightedPart(Part):
    """`weight`: what it is multiplied by before it is added to the loss."""

    weight: float = Field(1.0, ge=0.0, le=1e6)


class DataChoice(Part):
    """`split`: what is held out: classes, samples, what the set itself says (official), or its fold number `fold`."""

    key: str = "glyphs"
    split: Literal["class", "sample", "official", "fold"] = "class"
    fold: int = Field(0, ge=0, le=9999)
    held_out: float = Field(0.5, ge=0.05, le=0.95)
    split_seed: int = Field(0, ge=0, le=2**31 - 1)
    fingerprint: str = ""

    def title(self) -> str:
        """The key of a declared set; of imported images, what people call them."""
        if self.key in parts("datasets"):
            return self.key
        from mlcore.data.store import own_title

        return own_title(self.key)


class BackboneChoice(Part):
    """`pooling`: what makes features of the backbone's last map; "own" is what the backbone does by itself."""

    key: str = "small_conv"
    freeze: Literal["nothing", "batch_norm", "all_but_last", "everything"] = "nothing"
    pooling: Literal["own", "avg", "max", "avg_max", "gem"] = "own"


class HeadChoice(Record):
    """`norm` stands before the activation of "mlp", else after the layer, `dropout` before the last layer.

    `normalize`: embeddings have length 1.
    """

    kind: Literal["none", "linear", "mlp"] = "linear"
    embedding_size: int = Field(64, ge=2, le=4096)
    norm: Literal["none", "batch", "layer"] = "none"
    dropout: float = Field(0.0, ge=0.0, le=0.9)
    normalize: bool = False


class SamplerChoice(Part):
    key: str = "m_per_class"
    batch_size: int = Field(32, ge=2, le=4096)


class OptimizerChoice(Record):
    """The optimizer of a run.

    `drop_every` steps the "step" schedule multiplies the rates by `drop_to` (None: a third of the run); "plateau" does
    so when the mean training loss of so many steps (None: a tenth of the run) has not fallen `patience` times in a row.
    `accumulate` batches make one step. `ema`: the decay of a moving average of the weights, which is then what is
    evaluated.
    """

    name: Literal["adamw", "adam", "radam", "lion", "sgd"] = "adamw"
    backbone_lr: Rate = 1e-3
    head_lr: Rate = 1e-3
    proxies_lr: Rate = 1e-2
    weight_decay: Rate = 1e-4
    schedule: Literal["constant", "cosine", "step", "plateau"] = "constant"
    drop_every: int | None = Field(None, ge=1, le=1_000_000)
    drop_to: float = Field(0.1, ge=1e-4, le=1.0)
    patience: int = Field(2, ge=1, le=1000)
    warm_up_steps: int = Field(0, ge=0, le=100_000)
    clip_norm: float | None = Field(None, gt=0.0, le=1e6)
    accumulate: int = Field(1, ge=1, le=1024)
    ema: float | None = Field(None, ge=0.5, le=0.99999)


class MixChoice(Record):
    """Pairs of training images made one, with the shares of both classes. `alpha`: small leaves most images alone."""

    kind: Literal["none", "mixup", "cutmix"] = "none"
    alpha: float = Field(1.0, ge=0.01, le=10.0)


class Budget(Record):
    steps: int = Field(300, ge=0, le=1_000_000)
    max_seconds: float | None = Field(None, gt=0.0, le=7 * 86_400)


class Watching(Record):
    """`evaluate_every` None: 10 to 20 times over the run, as the evaluator is free."""

    evaluate_every: int | None = Field(None, ge=1, le=1_000_000)
    points: int = Field(2000, ge=16, le=20_000)


class RunSpec(Record):
    """One training run.

    A part that may be left out is None: no distance or reducer is the loss's own, no wrapper the loss as it is.

    Raises ValueError (pydantic's, with every fault listed) for unknown names, values outside their range, or a
    part that does not exist; `RunSpec.read` turns it into one sentence a fault.
    """

    name: str = Field("", max_length=120)
    dataset: DataChoice = DataChoice()
    backbone: BackboneChoice = BackboneChoice()
    head: HeadChoice = HeadChoice()
    loss: Part = Part(key="arcface")
    distance: Part | None = None
    reducer: Part | None = None
    embedding_regularizer: WeightedPart | None = None
    weight_regularizer: WeightedPart | None = None
    second_loss: WeightedPart | None = None
    wrapper: Part | None = None
    miner: Part = Part(key="none")
    subset_miner: Part | None = None
    sampler: SamplerChoice = SamplerChoice()
    method: Part = Part(key="metric_only")
    optimizer: OptimizerChoice = OptimizerChoice()
    augment: Part = Part(key="none")
    mix: MixChoice = MixChoice()
    budget: Budget = Budget()
    watch: Watching = Watching()
    seed: int = Field(0, ge=0, le=2**31 - 1)
    deterministic: bool = True
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "auto", "bf16", "fp16"] = "fp32"
    threads: int | None = Field(None, ge=1, le=256)

    @model_validator(mode="before")
    @classmethod
    def complete_parts(cls, record: Any) -> Any:
        """Check each part's key and values against its declaration and fill in the defaults."""
        if not isinstance(record, dict):
            return record
        filled = dict(record)
        for section, room in PART_ROOMS.items():
            choice = filled.get(section, None if section in OPTIONAL else {})
            if choice is None and section in OPTIONAL:
                filled[section] = None
                continue
            if isinstance(choice, str):
                choice = {"key": choice}
            if isinstance(choice, BaseModel):
                choice = choice.model_dump()
            if not isinstance(choice, dict):
                raise ValueError(f"{section} must be a name, or a record with 'key' and 'params'; got {choice!r}")
            key = choice.get("key") or usual_key(section, filled)
            if key is None:
                raise ValueError(f"{section} is not chosen yet: name one with 'key'. Known: {', '.join(parts(room))}.")
            given = choice.get("params") or {}
            if not isinstance(given, dict):
                raise ValueError(f"{section}.params must be a record of values; got {given!r}")
            if section == "dataset" and (own := own_images(str(key), given)):
                filled[section] = {**choice, "key": own, "params": {}}
                continue
            spec = parts(room)[str(key)]
            filled[section] = {**choice, "key": spec.key, "params": spec.check(given)}
        return with_fitting_defaults(filled)

    @model_validator(mode="after")
    def check_together(self) -> Self:
        check_loss_parts(self)
        check_method(self)
        check_mix(self)
        check_pooling(self)
        frozen = self.backbone.freeze == "everything"
        if frozen and self.head.kind == "none" and self.head.norm == "none" and not learns_proxies(self.loss.key):
            raise ValueError(
                "nothing would be trained: the backbone is frozen, there is no head, and the loss has no proxies. "
                "Choose a linear head or let the backbone train."
            )
        for name, chosen in (("augment", self.augment.key), ("mix.kind", self.mix.kind)):
            if frozen and chosen != "none":
                raise ValueError(
                    f"a frozen backbone is run once over unchanged images, so {name} must be 'none'; got '{chosen}'."
                )
        m = self.sampler.params.get("m")
        if isinstance(m, int) and self.sampler.batch_size % m:
            raise ValueError(
                f"sampler: batch_size must be a multiple of m = {m}; got {self.sampler.batch_size}. "
                f"Try {max(m, self.sampler.batch_size // m * m)}."
            )
        return self

    @classmethod
    def read(cls, record: Any) -> RunSpec:
        """A spec from a plain record; ValueError with one plain sentence for each fault."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            raise ValueError("\n".join(fault_sentence(cls, fault) for fault in error.errors())) from None

    @classmethod
    def from_text(cls, text: str) -> RunSpec:
        """A spec from YAML or JSON text (at most 256 KiB, no aliases, no tags)."""
        return cls.read(plain_yaml(text))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def digest(self) -> str:
        """sha256 of the canonical JSON, name left out: two runs with one digest are the same experiment."""
        canonical = json.dumps(self.model_dump(mode="json", exclude={"name"}), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def changed(self, settings: dict[str, Any]) -> RunSpec:
        """A copy with dotted settings changed: 'loss.margin', 'optimizer.head_lr', 'budget.steps', 'loss' ..."""
        return RunSpec.read(apply_settings(self.model_dump(mode="json"), settings))

    def title(self) -> str:
        """The run's name, or one made from its parts."""
        return self.name or f"{parts('losses')[self.loss.key].title} on {self.dataset.title()}"


PRETRAINED_RATE = 3e-4
SCRATCH_RATE = 1e-3


def own_images(key: str, params: dict[str, Any]) -> str | None:
    """The id of an imported set or the absolute path that a data set's key means, if it is no declared one."""
    if key in parts("datasets"):
        return None
    from mlcore.data.store import own_key

    own = own_key(key)
    if own and params:
        raise ValueError(f"dataset: imported images have nothing to set; got {', '.join(params)}. Leave it out")
    return own


def usual_key(section: str, record: dict[str, Any]) -> str | None:
    """The part that is taken where none is named. Losses with proxies want plain batches, the others m per class."""
    if section == "sampler":
        loss = record["loss"]
        return "shuffle" if learns_proxies(loss["key"] if isinstance(loss, dict) else loss) else "m_per_class"
    if section == "augment":
        return usual_augment(record["method"]["key"])
    usual = RunSpec.model_fields[section].default
    return usual and usual.key


def usual_augment(method_key: str) -> str:
    """Two views of an image are the same without augmentation."""
    return "light" if "two views" in parts("methods")[method_key].traits else "none"


def with_fitting_defaults(record: dict[str, Any]) -> dict[str, Any]:
    """A pretrained backbone wants its batch-norm statistics kept and a lower rate; only what is not given is filled."""
    pretrained = record["backbone"]["params"].get("pretrained") is True
    record["backbone"].setdefault("freeze", "batch_norm" if pretrained else "nothing")
    optimizer = record.get("optimizer", {})
    if isinstance(optimizer, dict) and "backbone_lr" not in optimizer:
        record["optimizer"] = {**optimizer, "backbone_lr": PRETRAINED_RATE if pretrained else SCRATCH_RATE}
    return record


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


def fitting_keys(section: str, loss_key: str) -> list[str]:
    """The parts of a section that can be used with a loss."""
    room = parts(PART_ROOMS[section])
    takes = parts("losses")[loss_key].takes
    if section in LOSS_PARTS:
        return [key for key in room if key in takes.get(section, ())]
    if section == "wrapper":
        return [key for key, part in room.items() if "in a run" in part.traits and not learns_proxies(loss_key)]
    return list(room)


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
                raise ValueError(
                    f"method: {method.title} compares images with each other, {title} with proxies of their classes. "
                    "Choose a pair or triplet loss, such as ntxent."
                )
    if "two views" in method.traits and spec.augment.key == "none":
        raise ValueError(
            f"method: {method.title} shows each image in two renderings, which are the same without augmentation. "
            "Set augment to 'light'."
        )
    if spec.subset_miner is not None and {"two views", "slices"} & set(method.traits):
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


def check_pooling(spec: RunSpec) -> None:
    """Raises: ValueError where there is no map to pool."""
    backbone = parts("backbones")[spec.backbone.key]
    if spec.backbone.pooling != "own" and "feature map" not in backbone.traits:
        raise ValueError(f"backbone: {backbone.title} has no last map that could be pooled. Set pooling to 'own'.")


def takes_shares(loss_key: str) -> bool:
    """Whether a loss takes images of several classes, as mixing makes them."""
    return "class shares" in parts("losses")[loss_key].traits


def learns_proxies(loss_key: str) -> bool:
    return parts("losses")[loss_key].family == "proxy"


def apply_settings(record: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """`record` with dotted settings applied; a part's knob is reached as 'loss.margin'."""
    changed = json.loads(json.dumps(record))
    forget_what_follows(changed, settings)
    ordered = sorted(settings.items(), key=lambda item: item[0].count("."))
    for path, value in ordered:
        section, _, name = path.partition(".")
        if section not in RunSpec.model_fields:
            raise ValueError(f"There is no setting '{path}'.{nearest_word(section, RunSpec.model_fields)}")
        if not name:
            left_out = value is None and section in OPTIONAL
            exchanged = section in PART_ROOMS and not isinstance(value, dict) and not left_out
            changed[section] = {"key": value} | kept_fields(section, changed) if exchanged else value
            continue
        fields = getattr(model_of(RunSpec.model_fields[section].annotation), "model_fields", None)
        if fields is None:
            raise ValueError(f"There is no setting '{path}': {section} has no parts. Write {section}={value!r}.")
        choice = changed[section] = changed.get(section) or {}
        if name in fields:
            choice[name] = value
        elif section in PART_ROOMS:
            choice["params"] = {**(choice.get("params") or {}), name: value}
        else:
            raise ValueError(f"There is no setting '{path}'.{nearest_word(name, fields)}")
    return changed


def model_of(hint: Any) -> Any:
    """A field's type without the None of an optional one."""
    models = [option for option in get_args(hint) if hasattr(option, "model_fields")]
    return models[0] if models else hint


def forget_what_follows(record: dict[str, Any], settings: dict[str, Any]) -> None:
    """Where a loss or a backbone is exchanged, what was usual for the one before makes room for what is usual now."""
    named = {path.split(".")[0] for path in settings}
    sampler = record.get("sampler", {})
    if "loss" in settings and "sampler" not in named and sampler.get("key") == usual_key("sampler", record):
        record["sampler"] = {name: value for name, value in sampler.items() if name not in ("key", "params")}
    if "method" in settings and record.get("augment", {}).get("key") == usual_augment(record["method"]["key"]):
        del record["augment"]
    if "backbone" in settings:
        usual = with_fitting_defaults({"backbone": {"params": record.get("backbone", {}).get("params", {})}})
        if record.get("backbone", {}).get("freeze") == usual["backbone"]["freeze"]:
            record["backbone"].pop("freeze", None)
        if record.get("optimizer", {}).get("backbone_lr") == usual["optimizer"]["backbone_lr"]:
            record["optimizer"].pop("backbone_lr", None)


def kept_fields(section: str, record: dict[str, Any]) -> dict[str, Any]:
    """What stays when a part is exchanged for another: everything but its key and its knobs."""
    dropped = {"key", "params", "fingerprint"}
    return {name: value for name, value in (record.get(section) or {}).items() if name not in dropped}


def fault_sentence(model: type[BaseModel], fault: Any) -> str:
    """pydantic's fault as one sentence with the place, the value and, for an unknown name, the nearest."""
    place = ".".join(str(step) for step in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known: Any = model
        for step in fault["loc"][:-1]:
            known = model_of(known.model_fields[step].annotation)
        return f"There is no setting '{place}'.{nearest_word(str(fault['loc'][-1]), known.model_fields)}"
    if not place:
        return message
    return f"{place}: {message[0].lower()}{message[1:]}; got {fault['input']!r}."


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases: they are how a small file becomes an endless record."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise ValueError("a settings file may not use YAML aliases (*name); write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"a settings file names {', '.join(sorted(twice))} twice; keep one of them")
        return super().construct_mapping(node, deep)


def plain_yaml(text: str) -> dict[str, Any]:
    """The record in a YAML or JSON text from outside; ValueError for anything but plain values."""
    if len(text.encode()) > CONFIG_LIMIT:
        raise ValueError(f"a settings file may have at most {CONFIG_LIMIT // 1024} KiB; got {len(text) // 1024} KiB")
    try:
        record = yaml.load(text, Loader=PlainLoader)
    except RecursionError:
        raise ValueError("the settings file is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"the settings file is not valid YAML or JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("a settings file holds one record, such as 'loss: arcface' on a line")
    return record
