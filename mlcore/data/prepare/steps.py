"""The steps of a preparation, one class each: what it changes, and how it says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal, Self, Union, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlcore.data.prepare import duplicates, filters, splits

Side = Annotated[int, Field(ge=1, le=100_000)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Share = Annotated[float, Field(ge=0.01, le=0.99)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


@dataclass(frozen=True)
class Effect:
    """What a step makes of an index: images and classes kept and dropped, and the same in a sentence."""

    step: str
    text: str
    kept_images: int
    dropped_images: int
    kept_classes: int
    dropped_classes: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def sentence(self) -> str:
        """'text: 12 of 100 images dropped, 2 of 10 classes; 88 images in 8 classes stay.'"""
        if not self.dropped_images:
            return f"{self.text}; nothing is dropped"
        images, classes = self.kept_images + self.dropped_images, self.kept_classes + self.dropped_classes
        gone = f"{self.dropped_images} of {images} images dropped"
        gone += f", with them {self.dropped_classes} of {classes} classes" if self.dropped_classes else ""
        return f"{self.text}: {gone}; {self.kept_images} images in {self.kept_classes} classes stay"


class Step(BaseModel, ABC):
    """One change of an index. `title` names it, `step` is its key in a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    title: ClassVar[str]
    step: str

    @abstractmethod
    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        """The index after the step, and what was done, in words."""

    def apply_to(self, index: pd.DataFrame) -> tuple[pd.DataFrame, Effect]:
        """The index after the step and its effect; `index` itself is not changed.

        Raises: ValueError if the step cannot be done on this index, or no image would be left.
        """
        after, text = self.change(index)
        if after.empty:
            raise ValueError(f"{text}: no image would be left of {len(index)}. Ask for less.")
        classes_before, classes = index["label"].nunique(), after["label"].nunique()
        dropped = len(index) - len(after)
        return after, Effect(self.step, text, len(after), dropped, classes, classes_before - classes)


class Range(Step):
    """A step with a lower and an upper end, of which one at least must be set."""

    @model_validator(mode="after")
    def one_is_set(self) -> Self:
        ends = self.ends()
        if all(end is None for end in ends.values()):
            raise ValueError(f"{self.step} needs {' or '.join(ends)}; got neither.")
        low, high = ends.values()
        if low is not None and high is not None and low > high:
            raise ValueError(f"{self.step}: {' must not be more than '.join(ends)}; got {low} and {high}.")
        return self

    @abstractmethod
    def ends(self) -> dict[str, int | None]:
        """The lower and the upper end by name."""


class Sides(Range):
    """Images by the length of their shorter (`smallest`) and longer (`largest`) side, px."""

    title = "Image size"
    step: Literal["sides"] = "sides"
    smallest: Side | None = None
    largest: Side | None = None

    def ends(self) -> dict[str, int | None]:
        return {"smallest": self.smallest, "largest": self.largest}

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        asked = [f"no side under {self.smallest} px"] * (self.smallest is not None)
        asked += [f"no side over {self.largest} px"] * (self.largest is not None)
        return keep_rows(index, filters.by_side(index, self.smallest, self.largest)), " and ".join(asked)


class Counts(Range):
    """Classes by how many images they have; of those with too many, `most` are drawn unless `undersample` is off."""

    title = "Images per class"
    step: Literal["counts"] = "counts"
    fewest: Count | None = None
    most: Count | None = None
    undersample: bool = True
    seed: Seed = 0

    def ends(self) -> dict[str, int | None]:
        return {"fewest": self.fewest, "most": self.most}

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        asked = [f"no class under {self.fewest} images"] * (self.fewest is not None)
        over = f"at most {self.most} images of each class" if self.undersample else f"no class over {self.most} images"
        asked += [over] * (self.most is not None)
        mask = filters.by_count(index, self.fewest, self.most, undersample=self.undersample, seed=self.seed)
        return keep_rows(index, mask), " and ".join(asked)


class Duplicates(Step):
    """Of images that are nearly alike, all but one left out; files to `spare` always stay."""

    title = "Near-duplicates"
    step: Literal["duplicates"] = "duplicates"
    distance: Annotated[int, Field(ge=0, le=duplicates.MAX_DISTANCE)] = 6
    kinds: Annotated[tuple[duplicates.Kind, ...], Field(min_length=1)] = duplicates.KINDS
    spare: Annotated[tuple[str, ...], Field(max_length=100_000)] = ()
    two_names: duplicates.TwoNames = "earlier_stays"  # as in plans of before; the page and the command line say "ask"
    drop: Annotated[tuple[str, ...], Field(max_length=100_000)] = ()  # files that a person chose of such pairs

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        index = keep_rows(index, ~index["file"].isin(self.drop).to_numpy()) if self.drop else index
        found = duplicates.leave_out(index, self.distance, self.kinds, self.spare, two_names=self.two_names)
        mask = np.ones(len(index), dtype=bool)
        mask[found.pairs["second"].to_numpy()] = False
        each = ", ".join(f"{found.counts()[kind]} {kind.replace('_', ' ')}" for kind in self.kinds)
        asked = "; alike but of two classes: both stay" if self.two_names == "ask" else ""
        return keep_rows(index, mask), f"near-duplicates within {self.distance} of 64 bits ({each}{asked})"


class Drop(Step):
    """Single images by their file names, as a person marks them."""

    title = "Single images"
    step: Literal["drop"] = "drop"
    files: Annotated[tuple[str, ...], Field(min_length=1, max_length=100_000)]

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        unknown = sorted(set(self.files) - set(index["file"]))
        if unknown:
            raise ValueError(f"drop: there is no image '{unknown[0]}' at this step ({len(unknown)} such files).")
        return keep_rows(index, ~index["file"].isin(self.files).to_numpy()), f"{len(self.files)} files marked"


class SplitStep(Step):
    """A step that writes the split column and drops nothing."""

    @abstractmethod
    def sides(self, index: pd.DataFrame) -> np.ndarray:
        """(N,) words for the split column."""

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        after = index.assign(split=self.sides(index))
        parts = [
            f"{word} {len(rows)} images in {rows['label'].nunique()} classes"
            for word, rows in after.groupby("split", sort=False)
        ]
        return after, f"{self.title.lower()}: {', '.join(sorted(parts, key=lambda part: not part.startswith('train')))}"


class SplitClasses(SplitStep):
    """A share of the classes is held out, unseen in training: what retrieval is usually judged by."""

    title = "Split by class"
    step: Literal["split_classes"] = "split_classes"
    held_out: Share = 0.5
    seed: Seed = 0

    def sides(self, index: pd.DataFrame) -> np.ndarray:
        return splits.by_class(index, self.held_out, self.seed)


class SplitSamples(SplitStep):
    """The same share of every class is held out."""

    title = "Split by sample"
    step: Literal["split_samples"] = "split_samples"
    held_out: Share = 0.2
    seed: Seed = 0

    def sides(self, index: pd.DataFrame) -> np.ndarray:
        return splits.by_sample(index, self.held_out, self.seed)


class SplitCounts(SplitStep):
    """Classes of `low` to `high` images train, the others are held out."""

    title = "Split by images per class"
    step: Literal["split_counts"] = "split_counts"
    low: Count
    high: Count

    def sides(self, index: pd.DataFrame) -> np.ndarray:
        return splits.by_counts(index, self.low, self.high)


class SplitOfficial(SplitStep):
    """The split that the set came with."""

    title = "Official split"
    step: Literal["split_official"] = "split_official"

    def sides(self, index: pd.DataFrame) -> np.ndarray:
        return splits.by_official(index)


class QueryGallery(SplitStep):
    """Of what is held out, `queries` images of each class ask, and the others are searched."""

    title = "Query and gallery"
    step: Literal["query_gallery"] = "query_gallery"
    queries: Count = 1
    seed: Seed = 0

    def sides(self, index: pd.DataFrame) -> np.ndarray:
        return splits.query_gallery(index, self.queries, self.seed)


class Folds(Step):
    """k folds: the images of each class dealt out evenly, or whole classes."""

    title = "Folds"
    step: Literal["folds"] = "folds"
    count: Annotated[int, Field(ge=2, le=1000)] = 5
    by: Literal["sample", "class"] = "sample"
    seed: Seed = 0

    def change(self, index: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        fold = splits.assign_folds(index, self.count, self.by, self.seed)
        sizes = np.bincount(fold)
        return index.assign(fold=fold), f"{self.count} folds by {self.by}, {sizes.min()} to {sizes.max()} images each"


AnyStep = Annotated[
    Union[  # noqa: UP007
        Sides, Counts, Duplicates, Drop, SplitClasses, SplitSamples, SplitCounts, SplitOfficial, QueryGallery, Folds
    ],
    Field(discriminator="step"),
]
STEPS: dict[str, type[Step]] = {cls.model_fields["step"].default: cls for cls in get_args(get_args(AnyStep)[0])}


def keep_rows(index: pd.DataFrame, mask: np.ndarray) -> pd.DataFrame:
    return index[mask].reset_index(drop=True)
