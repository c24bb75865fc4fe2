"""The image sets that a person can choose: those that are declared, and those imported from the command line."""

from __future__ import annotations

from collections.abc import Mapping

from mlcore.catalogue import registry
from mlcore.data.store import all_sets, full_titles
from mlcore.declare import PartSpec
from mlcore.spec.defaults import PART_ROOMS


def image_sets() -> dict[str, PartSpec]:
    """Every set by its key; an imported one's is its id."""
    sets, declared = all_sets(), registry("datasets")
    titles = full_titles(sets, [spec.title for spec in declared.values()])
    own = {
        facts.id: PartSpec(
            key=facts.id,
            title=titles[facts.id],
            family="own",
            description="Your own feature vectors." if facts.has_vectors else "Your own images.",
            formula="",
            paper="",
            params=(),
            sizes=(),
            target="",
        )
        for facts in sets
    }
    return {**declared, **own}


def section_registry(section: str) -> Mapping[str, PartSpec]:
    """What can be chosen for a section of a run."""
    return image_sets() if section == "dataset" else registry(PART_ROOMS[section])
