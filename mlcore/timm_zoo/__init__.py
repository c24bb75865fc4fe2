"""timm's networks as a list: how large, with which weights, how fast here. Read without torch and timm."""

from mlcore.timm_zoo.model_table import ModelSearch, network_list, search

__all__ = ["ModelSearch", "network_list", "search"]
