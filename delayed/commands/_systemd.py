"""Tells systemd how a service is; see sd_notify(3). Does nothing where it was not systemd that started this process."""

from __future__ import annotations

import os
import socket
from typing import Optional


def is_waiting() -> bool:
    """Whether systemd wants to be told."""
    return bool(os.environ.get('NOTIFY_SOCKET'))


def notify(state: str) -> None:
    """Tells a state, such as `READY=1`. That nobody hears it is no reason to fail."""
    address = os.environ.get('NOTIFY_SOCKET', '')
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, 'SOCK_CLOEXEC', 0)) as sender:
            sender.settimeout(1.0)
            sender.sendto(state.encode(), '\0' + address[1:] if address.startswith('@') else address)
    except OSError:
        pass


def watchdog_interval() -> Optional[float]:
    """How often, in seconds, to tell `WATCHDOG=1`: twice in the time after which systemd takes the service for dead.
    `None`: it does not watch this process."""
    microseconds = os.environ.get('WATCHDOG_USEC', '')
    if not microseconds.isdecimal() or os.environ.get('WATCHDOG_PID', str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000 or None
