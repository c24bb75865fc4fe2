"""What the training writes is what its readers are promised, field by field."""

from __future__ import annotations

import dataclasses

import pytest
from whole_records import evaluated_event, step_event

from mlcore.runs.records import EVENTS, MESSAGES, is_event
from mlcore.training import events

WRITTEN = {
    event.kind: event
    for event in vars(events).values()
    if isinstance(event, type) and issubclass(event, events.Event) and event.kind in EVENTS
}


def test_every_kind_that_is_read_is_written_by_a_class_or_the_worker():
    assert set(EVENTS) - set(WRITTEN) == set(MESSAGES) - {"warning"}


@pytest.mark.parametrize("kind", WRITTEN)
def test_an_event_and_its_record_have_the_same_fields(kind):
    fields = {field.name for field in dataclasses.fields(WRITTEN[kind])}
    assert fields | {"kind"} == set(EVENTS[kind].__annotations__)


@pytest.mark.parametrize(
    "event",
    [
        step_event(3, loss=None),
        step_event(3, kind="evaluated"),
        evaluated_event(4, held_out={"map_at_r": None}),
        {"kind": "warning", "step": 1, "text": "Slow.", "code": "idle"},
        {"kind": "state", "step": 1, "state": "done"},
    ],
    ids=lambda event: event["kind"],
)
def test_records_are_told_from_what_only_looks_like_them(event):
    assert is_event(event) == ("loss" not in event or event["kind"] == "step")
    assert not is_event(event | {"step": "five"})
