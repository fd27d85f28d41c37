"""The registry that everybody runs, as Debian packages it, on an address of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from ports import accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

START_LIMIT_SECONDS = 30
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
USER, PASSWORD = "user", "secret"
# Of the password: nothing that everybody has makes one.
PASSWORDS = f"{USER}:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


class DockerRegistry:
    """Runs as long as the test; its content is in the test's folder."""

    def __init__(self, folder: Path, host: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder = folder
        self.process = process
        self.host = f"{host}:{port}"

    def document(self, path: str) -> tuple[dict[str, object], str]:
        """A manifest, index or blob without a password, and the digest that the registry names."""
        content, headers = self.content(path)
        return json.loads(content), headers["Docker-Content-Digest"]

    def content(self, path: str) -> tuple[bytes, Message]:
        """The same as bytes, and all headers that came with it."""
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", headers={"Accept": MANIFESTS})
        with urllib.request.urlopen(request) as answer:
            return answer.read(), answer.headers


@contextmanager
def docker_registry(
    folder: Path, *, host: str = "127.0.0.1", passwords: bool = False, tls: tuple[Path, Path] | None = None
) -> Iterator[DockerRegistry]:
    """Starts one: with a user and a password, with a certificate and its key."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(host)
    http: dict[str, object] = {"addr": f"{host}:{port}"}
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": http,
    }
    if tls:
        http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    if passwords:
        (folder / "passwords").write_text(PASSWORDS)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "passwords")}}
    # JSON is YAML.
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(path)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not accepts(host, port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip("docker-registry does not start here: " + (folder / "log").read_text()[-500:])
            time.sleep(0.05)
        yield DockerRegistry(folder, host, process, port)
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_SECONDS)
