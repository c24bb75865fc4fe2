"""What names a run: its id, which is the name of its folder."""

from __future__ import annotations

import re

RUN_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
