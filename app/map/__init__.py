"""The live map: a WebGL2 widget of our own whose points move while camera and selection stay the person's."""

from app.map.message import MapFrame, pack
from app.map.widget import MapEvents, live_map

__all__ = ["MapEvents", "MapFrame", "live_map", "pack"]
