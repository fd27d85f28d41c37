"""Ports for servers that have to be told one."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
from pathlib import Path

# Below those that the system gives to clients.
RANGE = range(20_000, 32_000)
LOCKS = Path(tempfile.gettempdir()) / "cog-conformance-ports"


class Port:
    """A free port, and kept from the other test processes of this machine until it is released.

    To let the system choose one is not enough: until the server listens, another process may get the same.
    """

    def __init__(self) -> None:
        LOCKS.mkdir(exist_ok=True)
        for number in random.sample(RANGE, len(RANGE)):
            lock = (LOCKS / str(number)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as listener:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind(("0.0.0.0", number))
            except OSError:
                lock.close()
                continue
            self.number = number
            self.lock = lock
            return
        raise OSError(f"no port of {RANGE} is free")

    def release(self) -> None:
        self.lock.close()
