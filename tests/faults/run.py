"""`make faults`: what happens to the server when everything around it goes wrong, and to builds that are killed.

One line for each scenario; exits with 1 if one fails. `--quick` is what CI runs, names choose scenarios. After each:
no prediction lost or run twice, no process, file, slot or descriptor left, health READY. `builds` has no server.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import resource
import sys
import time
import traceback

from server import Failure, Skip, coglet_binary

SCENARIOS = [
    "kills", "behaviours", "several", "stopped", "full", "hooks", "slow", "crowd", "bodies", "floods", "builds",
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything; under a minute")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"faults: {coglet_binary()}", flush=True)
    failed = [name for name in arguments.scenarios or SCENARIOS if not passes(name, arguments.quick)]
    return 1 if failed else 0


def passes(name: str, quick: bool) -> bool:
    started = time.monotonic()
    well = True
    try:
        outcome = asyncio.run(importlib.import_module(name).run(quick))
    except Skip as reason:
        outcome = f"skipped: {reason}"
    except Failure as failure:
        well, outcome = False, f"FAILED: {failure}"
    except Exception:
        well, outcome = False, f"FAILED: {traceback.format_exc()}"
    print(f"{name:10} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)
    return well


if __name__ == "__main__":
    sys.exit(main())
