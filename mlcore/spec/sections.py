"""The sections of a run's settings, each a frozen record with its ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mlcore.catalogue import registry

Value = bool | int | float | str | None
Rate = Annotated[float, Field(ge=0.0, le=10.0)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PartChoice(Record):
    """A declared part by its registry key, with every knob's value."""

    key: str
    params: dict[str, Value] = {}

    def number(self, name: str) -> float | None:
        """A knob's number; None where the part has no such knob, or none is set."""
        value = self.params.get(name)
        return value if isinstance(value, int | float) else None


class WeightedPart(PartChoice):
    """`weight`: what it is multiplied by before it is added to the loss."""

    weight: float = Field(1.0, ge=0.0, le=1e6)


class DataChoice(PartChoice):
    """`split`: what is held out: classes, samples, what the set itself says (official), or its fold number `fold`.

    `class_rule`: how classes are chosen to be held out (`mlcore.data.split`); old runs counted classes.
    """

    key: str = "glyphs"
    split: Literal["class", "sample", "official", "fold"] = "class"
    fold: int = Field(0, ge=0, le=9999)
    held_out: float = Field(0.5, ge=0.05, le=0.95)
    split_seed: int = Field(0, ge=0, le=2**31 - 1)
    class_rule: Literal["count_classes", "count_images"] = "count_images"
    fingerprint: str = ""

    def title(self) -> str:
        """The key of a declared set; of imported images, what people call them."""
        if self.key in registry("datasets"):
            return self.key
        from mlcore.data.store import own_title

        return own_title(self.key)


class BackboneChoice(PartChoice):
    """`pooling`: what makes features of the backbone's last map; "own" is what the backbone does by itself."""

    key: str = "small_conv"
    freeze: Literal["nothing", "batch_norm", "all_but_last", "everything"] = "nothing"
    pooling: Literal["own", "avg", "max", "avg_max", "gem"] = "own"


class HeadChoice(Record):
    """`norm` stands before the activation of "mlp", else after the layer, `dropout` before the last layer.

    "residual" adds a linear layer's output to the features, so that it begins as the features themselves; its
    embeddings are as long as they are, and `embedding_size` does not count. `normalize`: embeddings have length 1.
    `start`: a linear head may begin as the principal components of the training images' features instead of at random.
    """

    kind: Literal["none", "linear", "mlp", "residual"] = "linear"
    embedding_size: int = Field(64, ge=2, le=4096)
    start: Literal["random", "components"] = "random"
    norm: Literal["none", "batch", "layer"] = "none"
    dropout: float = Field(0.0, ge=0.0, le=0.9)
    normalize: bool = False


class SamplerChoice(PartChoice):
    key: str = "m_per_class"
    batch_size: int = Field(32, ge=2, le=4096)


class OptimizerChoice(Record):
    """The optimizer of a run: `name` one of the declared optimizers, `schedule` one of the declared schedules.

    `drop_every`, `drop_to` and `patience` are knobs of schedules (see `mlcore/spec/schedules.py`); others ignore them.
    `lr_scaling` "classes" lowers the rates of backbone and head where there are few training classes (`rate_scale`).
    `accumulate` batches make one step. `ema`: the decay of a moving average of the weights, which is then what is
    evaluated.
    """

    name: str = "adamw"
    backbone_lr: Rate = 1e-3
    head_lr: Rate = 1e-3
    proxies_lr: Rate = 1e-2
    lr_scaling: Literal["none", "classes"] = "none"
    weight_decay: Rate = 1e-4
    schedule: str = "constant"
    drop_every: int | None = Field(None, ge=1, le=1_000_000)
    drop_to: float = Field(0.1, ge=1e-4, le=1.0)
    patience: int = Field(2, ge=1, le=1000)
    warm_up_steps: int = Field(0, ge=0, le=100_000)
    clip_norm: float | None = Field(None, gt=0.0, le=1e6)
    accumulate: int = Field(1, ge=1, le=1024)
    ema: float | None = Field(None, ge=0.5, le=0.99999)

    @field_validator("name")
    @classmethod
    def check_name(cls, name: str) -> str:
        return registry("optimizers")[name].key

    @field_validator("schedule")
    @classmethod
    def check_schedule(cls, schedule: str) -> str:
        return registry("schedules")[schedule].key


class MixChoice(Record):
    """Pairs of training images made one, with the shares of both classes. `alpha`: small leaves most images alone."""

    kind: Literal["none", "mixup", "cutmix"] = "none"
    alpha: float = Field(1.0, ge=0.01, le=10.0)


class TeacherChoice(Record):
    """What a run learns from beside its labels: what another model makes of the same images.

    Either `run`, a finished run's id, or `backbone`, whose own features teach, with its `params`. `measure`: "cosine"
    draws directions together, "mse" also lengths, to the teacher's at length 1. `weight`: what the distance is
    multiplied by before it is added to the loss; `alone`: there is no loss but that. `sha256`: of the run's last
    checkpoint when this run was made, "" for any.
    """

    run: str = Field("", max_length=120)
    backbone: str = ""
    params: dict[str, Value] = {}
    measure: Literal["cosine", "mse"] = "cosine"
    weight: float = Field(1.0, gt=0.0, le=1e6)
    alone: bool = False
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="before")
    @classmethod
    def one_teacher(cls, record: object) -> object:
        """Either a run or a backbone, whose values are checked against its declaration and filled in."""
        if not isinstance(record, dict):
            return record
        run, backbone = record.get("run") or "", record.get("backbone") or ""
        given = record.get("params") or {}
        if bool(run) == bool(backbone):
            came = "both" if run else "neither"
            raise ValueError(f"a teacher is either a run or a backbone; got {came}. Set run or backbone of it.")
        if given and not backbone:
            raise ValueError(f"a run that teaches has nothing to set; got {', '.join(given)}. Leave it out.")
        params = registry("backbones")[str(backbone)].check(given) if backbone else {}
        return {**record, "run": run, "backbone": backbone, "params": params}


class Budget(Record):
    steps: int = Field(300, ge=0, le=1_000_000)
    max_seconds: float | None = Field(None, gt=0.0, le=7 * 86_400)


class Watching(Record):
    """`evaluate_every` None: 10 to 20 times over the run, as the evaluator is free."""

    evaluate_every: int | None = Field(None, ge=1, le=1_000_000)
    points: int = Field(2000, ge=16, le=20_000)


class RunSections(Record):
    """The sections of a run together. A part that may be left out is None."""

    name: str = Field("", max_length=120)
    dataset: DataChoice = DataChoice()
    backbone: BackboneChoice = BackboneChoice()
    head: HeadChoice = HeadChoice()
    loss: PartChoice = PartChoice(key="arcface")
    distance: PartChoice | None = None
    reducer: PartChoice | None = None
    embedding_regularizer: WeightedPart | None = None
    weight_regularizer: WeightedPart | None = None
    second_loss: WeightedPart | None = None
    wrapper: PartChoice | None = None
    miner: PartChoice = PartChoice(key="none")
    subset_miner: PartChoice | None = None
    sampler: SamplerChoice = SamplerChoice()
    method: PartChoice = PartChoice(key="metric_only")
    optimizer: OptimizerChoice = OptimizerChoice()
    augment: PartChoice = PartChoice(key="none")
    mix: MixChoice = MixChoice()
    teacher: TeacherChoice | None = None
    budget: Budget = Budget()
    watch: Watching = Watching()
    seed: int = Field(0, ge=0, le=2**31 - 1)
    deterministic: bool = True
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "auto", "bf16", "fp16"] = "fp32"
    threads: int | None = Field(None, ge=1, le=256)
