"""A run is a folder: its specification, its states, and the only code that touches its files."""
