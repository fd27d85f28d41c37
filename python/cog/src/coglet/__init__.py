"""Stands for the server in Python: its version, and whether this process is its worker."""

from types import SimpleNamespace

from cog._version import __version__
from cog.exceptions import CancelationException

__build__ = __version__
server = SimpleNamespace(active=False)

__all__ = ["CancelationException", "__build__", "__version__", "server"]
