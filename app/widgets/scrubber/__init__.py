"""The scrubber: one slim row over a run's snapshots, from before training to the newest."""

from app.widgets.scrubber.widget import Scrubbed, scrubber

__all__ = ["Scrubbed", "scrubber"]
