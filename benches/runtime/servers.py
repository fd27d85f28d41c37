"""The servers: started on a model, watched through /proc, ended."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cog-bench"
PUBLISHED = "0.23.1"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TIME_LIMIT_SECONDS = 60


def environments() -> dict[str, Path]:
    """Two virtual environments of one interpreter: `published` has the wheels to compare with, `ours` has nothing."""
    found = {}
    for name, packages in (("published", [f"cog=={PUBLISHED}", f"coglet=={PUBLISHED}"]), ("ours", [])):
        directory = CACHE / f"{name}-{PUBLISHED}-py{sys.version_info[0]}.{sys.version_info[1]}"
        if not (directory / "complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            if packages:
                subprocess.run([directory / "bin/pip", "install", "--quiet", *packages], check=True)
            (directory / "complete").touch()
        found[name] = directory
    found["hop"] = found["ours"]
    # As in an image: a copy with compiled modules.
    sdk = found["ours"] / "sdk"
    shutil.rmtree(sdk, ignore_errors=True)
    shutil.copytree(REPOSITORY / "python/cog/src", sdk)
    subprocess.run([found["ours"] / "bin/python", "-m", "compileall", "-q", sdk], check=True)
    return found


class Server:
    """One running server. Its temporary files are in a folder of its own."""

    def __init__(self, name: str, environment: Path, project: Path, model: str, slots: int = 1) -> None:
        self.name = name
        self.scratch = project / f"tmp-{name}"
        self.scratch.mkdir(exist_ok=True)
        self.port = free_port()
        command = [str(REPOSITORY / "dist/release/coglet")]
        env = {
            **os.environ,
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "PORT": str(self.port),
            "COG_PREDICT_TYPE_STUB": f"models.py:{model}",
            "COG_MAX_CONCURRENCY": str(slots),
            "COG_LOG_LEVEL": "error",
            "TMPDIR": str(self.scratch),
        }
        env.pop("PYTHONPATH", None)
        if name == "ours":
            env["PYTHONPATH"] = str(environment / "sdk")
        elif name == "hop":
            command = [str(REPOSITORY / "dist/release/bare-hop")]
        else:
            command = [str(environment / "bin/python"), "-m", "cog.server.http"]
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait_listening(self) -> float:
        """Seconds from its start until it accepts connections."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return time.perf_counter() - self.started
            except OSError:
                self._check()
                time.sleep(0.0005)

    def wait_ready(self) -> float:
        """Seconds from its start until it says READY."""
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health-check")
                status = json.load(connection.getresponse())["status"]
                connection.close()
                if status == "READY":
                    return time.perf_counter() - self.started
                if status == "SETUP_FAILED":
                    sys.exit(f"{self.name}: setup failed")
            except OSError:
                pass
            self._check()
            time.sleep(0.001)

    def _check(self) -> None:
        if self.process.poll() is not None or time.perf_counter() - self.started > TIME_LIMIT_SECONDS:
            sys.exit(f"{self.name}: the server does not start")

    def stop(self) -> float:
        """Seconds from SIGTERM to its end."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=TIME_LIMIT_SECONDS)
        return time.perf_counter() - started

    def tree(self) -> list[int]:
        """It and all that it started."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for pid in found:
            found.extend(child for child, parent in parents.items() if parent == pid)
        return found

    def cpu_seconds(self) -> float:
        """Processor time of the tree so far."""
        ticks = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def pss_mib(self) -> float:
        """Memory of the tree, shared pages divided among those who share them."""
        return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in self.tree()) / 1024

    def reset_peak(self) -> float:
        """Begins anew to watch for the peak; MiB resident now."""
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return sum(_kib(f"/proc/{pid}/status", "VmRSS:") for pid in self.tree()) / 1024

    def peak_mib(self) -> float:
        """The most that was resident since then."""
        return sum(_kib(f"/proc/{pid}/status", "VmHWM:") for pid in self.tree()) / 1024

    def files_left(self) -> int:
        """Files and folders among its temporary files."""
        return sum(len(folders) + len(files) for _, folders, files in os.walk(self.scratch))


def _kib(path: str, field: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
