"""Finding a loss by any of its names or its paper; typing errors are forgiven. Pure functions."""

from __future__ import annotations

import difflib
import re
import unicodedata

from mlcore.declare import PartSpec

NOISE = frozenset({"and", "et", "al", "by", "of", "the", "loss", "losses", "paper", "arxiv"})  # words that tell nothing
NEAR = 0.75  # how alike two words are, at the least, for one to be the other misspelt


def search(room: list[PartSpec], asked: str) -> tuple[list[PartSpec], bool]:
    """The losses that fit a search, and whether they do to the letter; those with the nearest words where none does."""
    asked = re.sub(r"\S*?(\d{4}\.\d{4,5})\S*", r"\1", asked)  # of an address or "arXiv:...v2" the number
    words = [plain_letters(word.strip(".")) for word in re.split(r"[\s,;:&()]+", asked)]
    words = [word for word in words if word not in NOISE] or words
    found = [spec for spec in room if all(word in plain_letters(all_names(spec)) for word in words)]
    if found:
        return found, True
    likeness = {spec.key: min(most_alike(word, spec) for word in words) for spec in room}
    least = max(NEAR, max(likeness.values(), default=0.0) - 0.1)
    return [spec for spec in room if likeness[spec.key] >= least], False


def all_names(spec: PartSpec) -> str:
    """Everything that a loss may be looked for by: its names here and elsewhere, its class, family and paper."""
    return " ".join([spec.title, spec.key, spec.family, spec.target.rpartition(":")[2], spec.paper, *spec.aliases])


def most_alike(word: str, spec: PartSpec) -> float:
    """How like a word is to the likest of a loss's words, from 0 to 1; a word that stands in them is just that."""
    names = all_names(spec)
    if word in plain_letters(names):
        return 1.0
    known = {*re.split(r"[^\w.]+|_", names), *re.split(r"\s", names), spec.title, spec.key}
    close = difflib.SequenceMatcher(None, "", word, autojunk=False)
    best = 0.0
    for one in {plain_letters(one) for one in known}:
        close.set_seq1(one)
        if close.real_quick_ratio() > best and close.quick_ratio() > best:
            best = max(best, close.ratio())
    return best


def plain_letters(words: str) -> str:
    """Small letters without accents, spaces and hyphens."""
    bare = (letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter))
    return re.sub(r"[\s_-]", "", "".join(bare)).casefold()
