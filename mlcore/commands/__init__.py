"""What `python -m mlcore` does for each of its commands; `mlcore/__main__.py` says what they are called and take."""
