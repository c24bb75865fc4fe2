"""Image tiles: retrieval rows, lasso contents, neighbours and mosaics, drawn from an atlas that is sent once."""

from app.widgets.tiles.widget import AtlasLike, Frame, Row, Strip, Tile, atlas_carrier, image_tiles, pack_atlas

__all__ = ["AtlasLike", "Frame", "Row", "Strip", "Tile", "atlas_carrier", "image_tiles", "pack_atlas"]
