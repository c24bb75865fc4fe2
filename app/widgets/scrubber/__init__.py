"""The scrubber: one slim row over a run's snapshots, from before training to the newest."""

from app.widgets.scrubber.widget import ScrubberEvent, scrubber

__all__ = ["ScrubberEvent", "scrubber"]
