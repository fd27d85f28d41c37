"""``python -m cog.server.http``: becomes the ``coglet`` server, with the same arguments."""

from __future__ import annotations

import os
import shutil
import sys


def main() -> None:
    """Never returns: this process becomes the server."""
    beside = os.path.join(os.path.dirname(sys.executable), "coglet")
    program = beside if os.access(beside, os.X_OK) else shutil.which("coglet")
    if program is None:
        sys.exit("cog: the `coglet` server is not installed: it is in no folder of PATH")
    os.execv(program, ["coglet", *sys.argv[1:]])


if __name__ == "__main__":
    main()
