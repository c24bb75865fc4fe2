"""The live map: a WebGL2 widget of our own whose points move while camera and selection stay the person's."""

from app.widgets.map.message import MapFrame, pack
from app.widgets.map.widget import MapEvents, live_map

__all__ = ["MapEvents", "MapFrame", "live_map", "pack"]
