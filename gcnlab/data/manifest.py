"""The manifest: what is known of every named data set."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def catalog() -> dict[str, dict[str, Any]]:
    """Every named data set: name -> title, task, description, licence, source, citation, files, counts, ..."""
    return json.loads(Path(__file__).with_name("manifest.json").read_text(encoding="utf-8"))
