"""What a backbone expects of its images; it stands in a room that is read without torch."""

from mlcore.networks.input_format import InputFormat, as_side, scaled_size

__all__ = ["InputFormat", "as_side", "scaled_size"]
