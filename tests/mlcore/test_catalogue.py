"""What is declared can be known without torch, and is never out of date."""

from __future__ import annotations

import json
import os

import pytest

from mlcore import catalogue
from mlcore.catalogue import ROOMS, import_registry, read_listing, registry, write_listing


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read_listing.cache_clear()
    yield tmp_path / "metric-learning-lab"
    read_listing.cache_clear()


def test_the_listing_tells_all_that_the_parts_themselves_tell(cache):
    write_listing()
    for room in ROOMS:
        assert list(read_listing()[room].values()) == list(import_registry(room).values())
        assert read_listing()[room].noun == import_registry(room).noun


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"losses": 3}', '{"losses": {"noun": "loss", "specs": [3]}}']
)
def test_a_damaged_listing_is_made_anew(cache, content):
    write_listing()
    catalogue.cache_file().write_text(content)
    assert list(read_listing()["losses"]) == list(import_registry("losses"))
    assert json.loads(catalogue.cache_file().read_text())["losses"]["noun"] == "loss"


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    read_listing.cache_clear()
    assert list(read_listing()["miners"]) == list(import_registry("miners"))
    read_listing.cache_clear()


def test_listings_that_were_not_used_for_long_are_removed(cache):
    write_listing()
    old, other = cache / "catalogue-0000000000000000.json", cache / "catalogue-1111111111111111.json"
    for path in (old, other):
        path.write_text("{}")
    os.utime(old, (0, 0))
    write_listing()
    assert not old.exists()
    assert other.exists()
    assert catalogue.cache_file().exists()


def test_a_room_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="There is no room 'lossses'"):
        registry("lossses")
