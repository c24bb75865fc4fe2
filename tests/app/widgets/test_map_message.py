"""The map's packed message: what goes in comes out, small enough, and wrong frames are refused at the door."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.widgets.map import MapFrame, pack
from app.widgets.map.widget import _events


def frame(count: int = 50, dims: int = 2, **changes: Any) -> MapFrame:
    rng = np.random.default_rng(3)
    given = MapFrame(
        run="r",
        step=120,
        method="umap",
        dims=dims,
        positions=rng.normal(size=(count, dims)).astype(np.float32),
        ids=np.arange(count) * 7,
        labels=np.arange(count) % 4,
        held_out=np.arange(count) % 3 == 0,
        class_names=("a", "<b>", "ä", "d"),
        colours=("#000000", "#111111", "#222222", "#333333"),
        total=count + 5,
    )
    return replace(given, **changes)


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The layout written in message.py, read independently of it."""
    (length,) = struct.unpack_from("<I", message)
    assert length % 4 == 0
    header = json.loads(message[4 : 4 + length])
    arrays = {}
    for name, kind, offset, count in header["arrays"]:
        assert offset % 4 == 0
        arrays[name] = np.frombuffer(message, np.dtype("<" + kind), count, 4 + length + offset)
    return header, arrays


@pytest.mark.parametrize("dims", [2, 3])
def test_places_come_back_within_one_step_of_their_grid(dims: int) -> None:
    given = frame(500, dims)
    header, arrays = unpack(pack(given))
    low, high = np.array(header["low"]), np.array(header["high"])
    places = low + (high - low) * arrays["positions"].reshape(-1, dims) / 65535
    np.testing.assert_allclose(places, given.positions, atol=float((high - low).max()) / 65535 / 1.9)


def test_ids_labels_and_splits_come_back() -> None:
    given = frame(50)
    header, arrays = unpack(pack(given, height=321))
    assert arrays["ids"].tolist() == list(given.ids)
    assert arrays["labels"].tolist() == list(given.labels)
    bits = np.unpackbits(arrays["held_out"], bitorder="little")[:50]
    assert bits.tolist() == given.held_out.tolist()
    assert header["names"] == ["a", "<b>", "ä", "d"]
    assert (header["step"], header["total"], header["height"]) == (120, 55, 321)


@pytest.mark.parametrize(
    ("largest", "kind"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4"), (2**32 - 1, "u4")]
)
def test_ids_travel_in_the_narrowest_type_that_holds_them(largest: int, kind: str) -> None:
    header, arrays = unpack(pack(frame(2, ids=np.array([0, largest]))))
    assert next(entry[1] for entry in header["arrays"] if entry[0] == "ids") == kind
    assert arrays["ids"].tolist() == [0, largest]


def test_proxies_ghosts_and_atlas_travel_when_given() -> None:
    given = frame(
        6,
        proxies=np.array([[1.5, -2.0]]),
        proxy_labels=np.array([3]),
        ghosts=np.arange(12.0).reshape(6, 2),
        atlas_key="k",
        tile=32,
        columns=8,
        atlas_index=np.array([5, 4, 3, 2, 1, 0]),
        selected=(14, 7, 7),
        neighbours=(21, 0),
        picked=7,
        hidden_classes=(2,),
    )
    header, arrays = unpack(pack(given))
    assert arrays["proxies"].tolist() == [1.5, -2.0]
    assert arrays["proxy_labels"].tolist() == [3]
    assert arrays["atlas_index"].tolist() == [5, 4, 3, 2, 1, 0]
    assert header["atlas"] == {"key": "k", "tile": 32, "columns": 8}
    assert header["ghost_high"] == [10.0, 11.0]
    assert arrays["selected"].tolist() == [7, 14]
    assert arrays["neighbours"].tolist() == [21, 0]  # nearest first: their order is kept
    assert (header["picked"], header["hidden"]) == (7, [2])


def test_an_empty_and_a_single_point_frame_can_be_sent() -> None:
    for count in (0, 1):
        header, arrays = unpack(pack(frame(count)))
        assert header["count"] == count
        assert arrays["positions"].size == 2 * count


def test_the_same_frame_is_the_same_message() -> None:
    assert pack(frame()) == pack(frame())


def test_a_snapshot_of_2000_points_and_62_classes_stays_small() -> None:
    names = tuple(f"class number {k}" for k in range(62))
    given = frame(
        2000, ids=np.arange(2000) * 40, labels=np.arange(2000) % 62, class_names=names, colours=("#123456",) * 62
    )
    assert len(pack(given)) < 25_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dims": 4}, "dims must be 2 or 3; got 4"),
        ({"positions": np.zeros((3, 2))}, r"positions must have shape \(50, 2\); got \(3, 2\)"),
        ({"labels": np.full(50, 4)}, r"labels must be indices into the 4 class_names; got 4\.\.4"),
        ({"colours": ("#000000",)}, "got 1 colours for 4 classes"),
        ({"proxies": np.zeros((2, 2))}, "proxies need proxy_labels"),
        ({"atlas_key": "k"}, "needs its tile side and columns"),
    ],
)
def test_a_wrong_frame_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        frame(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"positions": np.full((50, 2), np.nan)}, "positions must be finite"),
        ({"ids": np.arange(50) - 1}, r"must lie in 0\.\.2\^32-1; got -1"),
    ],
)
def test_values_that_cannot_travel_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pack(frame(**changes))


def test_until_the_person_acts_the_events_are_the_frames_own() -> None:
    events = _events(frame(selected=(7, 14), hidden_classes=(1,), camera="hold"), {"lasso": None, "picked": None}, {})
    assert (events.lasso, events.picked, events.hidden, events.follow) == ((7, 14), None, (1,), False)
    assert events.changed == frozenset()


def test_an_act_is_new_once_and_known_from_then_on() -> None:
    seen: dict[str, Any] = {}
    states = {"lasso": {"stamp": 1, "value": [7, 14]}, "picked": {"stamp": 2, "value": None}}
    first = _events(frame(picked=21), states, seen)
    assert (first.lasso, first.picked, first.changed) == ((7, 14), None, {"lasso", "picked"})
    assert _events(frame(), states, seen).changed == frozenset()
    states["lasso"] = {"stamp": 3, "value": []}
    again = _events(frame(), states, seen)
    assert (again.lasso, again.changed) == ((), {"lasso"})


def test_wedges_come_one_for_each_proxy() -> None:
    stars, wedges = np.eye(2, dtype=np.float32), np.array([[0.1, 0.2], [0.0, 0.0]], np.float32)
    _, arrays = unpack(pack(frame(proxies=stars, proxy_labels=np.array([1, 3]), wedges=wedges)))
    np.testing.assert_array_equal(arrays["wedges"], wedges.ravel())
    assert "wedges" not in unpack(pack(frame()))[1]
    with pytest.raises(ValueError, match="wedges must have shape"):
        frame(wedges=wedges)
