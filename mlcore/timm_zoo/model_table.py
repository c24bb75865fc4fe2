"""Every network of timm with its size and weights, from two shipped tables, and a search in them.

The tables were counted from one version of timm. With another one installed, what it has is listed from the names that
`installed_models` has cached (a process that may import timm asks it to), and a network that was never counted has
empty sizes.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.metadata
import json
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mlcore.catalogue import cache_file

if TYPE_CHECKING:
    import pandas as pd

COUNTED_BY = "# Counted by mlcore.timm_zoo.count_models from timm "
MODELS_FILE = Path(__file__).with_name("models.csv")
WEIGHTS_FILE = Path(__file__).with_name("weights.csv")
COUNTS = ("parameters_m", "features", "gmacs", "gmacs_grouped", "gmacs_matmul", "values_m", "operations")
SETTINGS = ("height", "width", "fixed", "crop", "interpolation")
HERE, HUB, NOWHERE = "here", "on the hub", "none"
NEAR = 0.6
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModelSearch:
    """The rows of `network_list` that a search has found, and what might have been meant where it found nothing."""

    rows: pd.DataFrame
    meant: str = ""


class PublishedWith(TypedDict):
    """The licence of a network's weights, and how images are prepared for them."""

    licence: str
    height: int
    width: int
    fixed: int
    crop: float
    interpolation: str


class NetworkRow(PublishedWith):
    """Of the columns of `network_list`, those that are said of one network."""

    name: str
    family: str
    parameters_m: float
    tags: tuple[str, ...]
    weights: str


def network_list() -> pd.DataFrame:
    """A row for each of timm's networks, by `name`.

    `family` (timm's module), `parameters_m` (millions, without classifier), `height` and `width` (px, of its default
    weights), `fixed` (takes no other size), `crop` and `interpolation` as published, `features`, `gmacs` (multiply-adds
    of one image, billions) and other counts; `tags` (a tuple, the default first) and `licence` of its published
    weights, and `weights`: "here" where the default ones lie in the local Hugging Face cache, "on the hub" or "none".
    Empty counts are NaN: such a network was not counted.
    """
    here = cached_repositories()
    listed = model_tables()[0].copy()
    listed["weights"] = [
        NOWHERE if not tags else HERE if repository in here else HUB
        for tags, repository in zip(listed.tags, listed.repository, strict=True)
    ]
    return listed


def model_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """`network_list` without what lies in the cache, and its weights: of the installed timm, if its names are known."""
    left = names_file()
    if version_of_counts() != installed_version():
        with contextlib.suppress(OSError, ValueError, KeyError):
            return join_tables(left, left.stat().st_mtime_ns)
    return join_tables(None, 0)


@functools.lru_cache(maxsize=2)
def join_tables(left: Path | None, _stamp: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    models, weights = read_table(MODELS_FILE).set_index("name"), read_table(WEIGHTS_FILE)
    if left:
        record = json.loads(left.read_text())
        weights = pd.DataFrame(record["weights"], columns=weights.columns)
        models = (
            pd.DataFrame(record["models"], columns=["name", "family", *SETTINGS])
            .set_index("name")
            .join(models[list(COUNTS)])
        )
    first = weights.drop_duplicates("name").set_index("name").reindex(models.index)
    tags = weights.groupby("name", sort=False).tag.agg(tuple)
    models["tags"] = [tags.get(name, ()) for name in models.index]
    models["repository"], models["licence"] = first.repository.fillna(""), first.licence.fillna("")
    return models, weights


def read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path, skiprows=1, keep_default_na=False, na_values={name: [""] for name in COUNTS})


def version_of_counts() -> str:
    with MODELS_FILE.open() as file:
        return file.readline().removeprefix(COUNTED_BY).strip()


@functools.lru_cache(maxsize=1)
def installed_version() -> str:
    """timm's version, without importing it; "" where there is none."""
    try:
        return importlib.metadata.version("timm")
    except importlib.metadata.PackageNotFoundError:
        return ""


def names_file() -> Path:
    return cache_file().with_name(f"timm-{installed_version()}.json")


def names_are_known() -> bool:
    """Whether the list is that of the installed timm."""
    return version_of_counts() == installed_version() or names_file().is_file()


def write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text)
    temporary.replace(path)


def cached_repositories() -> set[str]:
    """The repositories whose safetensors lie whole in the local Hugging Face cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    found, cache = set(), constants.HF_HUB_CACHE
    with contextlib.suppress(OSError):
        for folder in os.scandir(cache):
            kind, _, name = folder.name.partition("--")
            repository = name.replace("--", "/")
            if kind == "models" and "/" in repository:
                with contextlib.suppress(ValueError):
                    if isinstance(try_to_load_from_cache(repository, WEIGHTS, cache), str):
                        found.add(repository)
    return found


def where_weights_are(model: str) -> str:
    """HERE, HUB or NOWHERE for a network's name with or without a tag."""
    name, _, tag = model.partition(".")
    rows = model_tables()[1]
    rows = rows[(rows.name == name) & ((rows.tag == tag) | (not tag))]
    if rows.empty:
        return NOWHERE
    return HERE if rows.repository.iloc[0] in cached_repositories() else HUB


def find_model(model: str) -> NetworkRow | None:
    """The row of a name with or without a tag, images prepared as the tag wants; None if there is no such network."""
    name, _, tag = model.partition(".")
    listed = network_list()
    if name not in listed.index or (tag and tag not in listed.tags[name]):
        return None
    of_network = listed.loc[name].to_dict()
    row: NetworkRow = {
        "name": model,
        "family": of_network["family"],
        "parameters_m": of_network["parameters_m"],
        "tags": of_network["tags"],
        "weights": of_network["weights"],
        **published_with(of_network),
    }
    if tag:
        own = model_tables()[1][lambda rows: (rows.name == name) & (rows.tag == tag)]
        row = {**row, "weights": where_weights_are(model)}
        row = {**row, **published_with(own.iloc[0].to_dict())} if len(own) else row
    return row


def published_with(values: Mapping[Hashable, Any]) -> PublishedWith:
    return {
        "licence": values["licence"],
        "height": values["height"],
        "width": values["width"],
        "fixed": values["fixed"],
        "crop": values["crop"],
        "interpolation": values["interpolation"],
    }


def search(
    listed: pd.DataFrame,
    words: str = "",
    *,
    pretrained: bool = False,
    here: bool = False,
    max_parameters: float | None = None,
) -> ModelSearch:
    """The networks that have every word in their name, family or tags; the best fit first, then the smallest.

    `pretrained`: with published weights; `here`: with weights in the local cache; `max_parameters`: millions.
    """
    import pandas as pd

    wanted = words.lower().replace(".", " ").split()
    names = listed.index.to_series()
    text = names + " " + listed.family + " " + listed.tags.map(" ".join)
    fits = pd.Series(True, index=listed.index)
    for word in wanted:
        fits &= text.str.contains(word, regex=False)
    nearly = "" if fits.any() else correct_words(wanted, listed)
    if pretrained:
        fits &= listed.weights != NOWHERE
    if here:
        fits &= listed.weights == HERE
    if max_parameters is not None:
        fits &= listed.parameters_m <= max_parameters
    rows = listed[fits]
    return ModelSearch(rows.loc[order_by_match(rows, wanted)], nearly)


def order_by_match(rows: pd.DataFrame, wanted: list[str]) -> list[str]:
    """Names: those that are, begin with or hold the words, then those of such a family; timm's own test nets last."""
    import pandas as pd

    def place(name: str) -> tuple[object, ...]:
        size = rows.parameters_m[name]
        return (
            name.startswith("test_") and "test" not in wanted,
            name.split("_") != wanted and name not in wanted,
            not name.startswith(tuple(wanted)),
            not all(word in name for word in wanted),
            pd.isna(size),
            size,
            name,
        )

    return sorted(rows.index, key=place)


def correct_words(wanted: list[str], listed: pd.DataFrame) -> str:
    """The words with those that nothing has replaced by the nearest that something has; "" if one has none near."""
    pieces = {piece for name in listed.index for piece in (name, *name.split("_"))} | set(listed.family)
    pieces |= {piece for tags in listed.tags for tag in tags for piece in (tag, *tag.split("_"))}
    found: list[str] = []
    for word in wanted:
        known = any(word in piece for piece in pieces)
        near = [word] if known else difflib.get_close_matches(word, sorted(pieces), n=1, cutoff=NEAR)
        if not near:
            return ""
        found += near
    return " ".join(found) if found != wanted else ""
