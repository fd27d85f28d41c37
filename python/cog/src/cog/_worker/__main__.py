"""``python -m cog._worker``, started by coglet."""

from .main import main

main()
