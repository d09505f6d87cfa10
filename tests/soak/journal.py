"""What happened: a file to which every process appends lines. Moments are `time.monotonic()`, which they share."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List


def note(path: str, kind: str, **facts: Any) -> None:
    """Appends a line, by one write: it stays whole, whoever is killed."""
    line = json.dumps({'kind': kind, 'at': time.monotonic(), **facts}).encode() + b'\n'
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def read(path: str) -> List[Dict[str, Any]]:
    with open(path, 'rb') as journal:
        return [json.loads(line) for line in journal]
