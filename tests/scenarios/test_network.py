"""One trust and one way out for all that a build starts: on this machine and in containers."""

from __future__ import annotations

import tarfile
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import package_index
import pytest
import registry
from network import Authority, Proxy, own_address, serve
from support import STORE, Project

if TYPE_CHECKING:
    from conftest import RegistryBase

TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "COG_CA_CERT")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# What a build takes besides what a project names.
UNDECLARED = ("requests", "PyYAML", "structlog", "typing_extensions", "pip", "setuptools")
DOWNLOADS = {"UV_CACHE_DIR": str(STORE / "uv/cache")}

# Asks the server while it is built.
SETUP = """\
from urllib.request import urlopen

from setuptools import setup

said = urlopen("{url}data.txt").read().decode().strip()
with open("private_source.py", "w") as file:
    file.write(f"SAID = {{said!r}}\\n")
setup(name="private-source", version="1.0", py_modules=["private_source"])
"""
MODEL = """\
from urllib.request import urlopen

import private_source
import private_wheel
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, url: str) -> str:
        said = [private_wheel.SAID, private_source.SAID, urlopen(url).read().decode()]
        for name in ("curl", "wget", "python", "pip"):
            with open(f"/{name}.txt") as file:
                said.append(file.read())
        return " ".join(text.strip() for text in said)
"""
CONFIG = """\
build:
  python_version: "3.11"
  python_requirements: requirements.txt
  run:
    - curl -fsS {url}data.txt -o /curl.txt
    - wget -q {url}data.txt -O /wget.txt
    - /usr/bin/python3.11 -c "from urllib.request import *; urlretrieve('{url}data.txt', '/python.txt')"
    - pip download -q --no-deps --no-cache-dir --index-url {url} private-wheel -d /tmp/w && echo pip > /pip.txt
run: "run.py:Runner"
"""
BARE = 'build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n'
PLAIN_MODEL = """\
from cog import BaseRunner


class Runner(BaseRunner):
    def run(self) -> str:
        return "x"
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings: each test says whom to trust."""
    for name in TRUST:
        monkeypatch.delenv(name, raising=False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def private_index(folder: Path) -> Path:
    """An index with a wheel, and a file."""
    root = folder / "index"
    package_index.add_wheel(root, "private-wheel", "1.0", private_wheel="SAID = 'wheel'\n")
    (root / "data.txt").write_text("said\n")
    return root


def add_source(root: Path, url: str) -> None:
    """A source distribution that asks the server at the URL."""
    page = root / "private-source"
    page.mkdir()
    name = "private_source-1.0"
    source = page / name
    source.mkdir()
    (source / "setup.py").write_text(SETUP.format(url=url))
    (source / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: private-source\nVersion: 1.0\n")
    with tarfile.open(page / f"{name}.tar.gz", "w:gz") as tar:
        tar.add(source, name)
    link = f'<a href="{name}.tar.gz">{name}.tar.gz</a>'
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")


def project(directory: Path, config: str, requirements: str = "", model: str = "") -> Project:
    directory.mkdir()
    return Project(directory).write(cog__yaml=config, requirements__txt=requirements, run__py=model)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "COG_CA_CERT"])
def test_an_authority_of_ones_own_is_trusted_everywhere(tmp_path: Path, variable: str) -> None:
    authority = Authority(tmp_path / "authority")
    root = private_index(tmp_path)
    files = partial(package_index.Quiet, directory=str(root))
    with serve(files, authority.context()) as port:
        url = f"https://127.0.0.1:{port}/"
        add_source(root, url)
        requirements = f"--extra-index-url {url}\nprivate-wheel==1.0\nprivate-source==1.0\n"
        model = project(tmp_path / "project", CONFIG.format(url=url), requirements, MODEL)
        refused = model.cog("run", "-i", f"url={url}data.txt")
        refused.fails_with("certificate", "COG_CA_CERT")
        trusted = {variable: str(authority.bundle() if variable == "SSL_CERT_FILE" else authority.certificate)}
        done = model.cog("run", "-i", f"url={url}data.txt", **trusted).works()
    assert done.stdout == "wheel said said said said said pip\n", done


def test_a_registry_of_an_authority_of_ones_own(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    # Loopback addresses need no TLS.
    address = own_address()
    authority = Authority(tmp_path / "authority", address)
    model = project(tmp_path / "project", BARE, "", PLAIN_MODEL)
    with serve(registry.handler(base_in_registry.registry), authority.context(), address) as port:
        base = f"{address}:{port}/{registry.REPOSITORY}:{registry.OFFICIAL}"
        env = {"COG_ENGINE": "host", "COG_BASE": base, **DOWNLOADS}
        refused = model.cog("build", "-t", "of-authority:v1", **env)
        refused.fails_with(f"the certificate of {address}:{port} is not trusted", "COG_CA_CERT")
        for trusted in ({"COG_CA_CERT": authority.certificate}, {"SSL_CERT_FILE": authority.bundle()}):
            name, value = next(iter(trusted.items()))
            model.cog("build", "--no-cache", "-t", "of-authority:v1", **env, **{name: str(value)}).works()


class Empty(BaseHTTPRequestHandler):
    """A server that has nothing, and notes what it was asked for."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def empty() -> type[Empty]:
    class Fresh(Empty):
        asked: ClassVar[list[str]] = []

    return Fresh


def test_a_debian_mirror_of_an_authority_of_ones_own(tmp_path: Path, empty: type[Empty]) -> None:
    authority = Authority(tmp_path / "authority")
    model = project(tmp_path / "project", BARE, "", PLAIN_MODEL)
    model.store = tmp_path / "store"
    with serve(empty, authority.context()) as port:
        env = {"COG_DEBIAN_MIRROR": f"https://127.0.0.1:{port}/debian"}
        model.cog("build", "-t", "x", **env).fails_with("certificate", "COG_CA_CERT")
        assert not empty.asked
        for trusted in ({"COG_CA_CERT": authority.certificate}, {"SSL_CERT_FILE": authority.bundle()}):
            name, value = next(iter(trusted.items()))
            model.cog("build", "-t", "x", **env, **{name: str(value)}).fails_with("answered 404")
            assert "/debian/dists/bookworm/InRelease" in empty.asked
            empty.asked.clear()


def test_a_proxy_is_used_by_all_but_for_exceptions(tmp_path: Path, empty: type[Empty]) -> None:
    authority = Authority(tmp_path / "authority")
    root = private_index(tmp_path)
    for name in UNDECLARED:
        package_index.add_wheel(root, name, "65.0")
    files = partial(package_index.Quiet, directory=str(root))
    with serve(files, authority.context()) as secure, serve(files, None) as open_port, Proxy() as proxy:
        urls = (f"https://localhost:{secure}/", f"http://localhost:{open_port}/")
        commands = [f"from urllib.request import *; urlretrieve('{url}data.txt', '/{n}')" for n, url in enumerate(urls)]
        run = "".join(f'    - /usr/bin/python3.11 -c "{command}"\n' for command in commands)
        config = BARE.replace("run: ", f"  python_requirements: requirements.txt\n  run:\n{run}run: ", 1)
        requirements = f"--index-url {urls[0]}\nprivate-wheel==1.0\n"
        model = project(tmp_path / "project", config, requirements, PLAIN_MODEL)
        env = {"COG_CA_CERT": str(authority.certificate)}
        through = {"HTTPS_PROXY": proxy.url, "http_proxy": proxy.url}
        both = {f"localhost:{secure}", f"localhost:{open_port}"}

        model.cog("build", "--no-cache", "-t", "proxied:v1", **env, **through, NO_PROXY="localhost").works()
        assert not both & set(proxy.targets)
        model.cog("build", "--no-cache", "-t", "proxied:v1", **env, **through).works()
        assert both <= set(proxy.targets)
        # The index once when resolving, once when installing; and what ran in containers.
        assert proxy.targets.count(f"localhost:{open_port}") == 1

    model = project(tmp_path / "other", BARE, "", PLAIN_MODEL)
    model.store = tmp_path / "store"
    with serve(empty, None) as port, Proxy() as proxy:
        env = {"COG_DEBIAN_MIRROR": f"http://127.0.0.1:{port}/debian", "HTTP_PROXY": proxy.url, "http_proxy": proxy.url}
        model.cog("build", "-t", "x", **env).fails_with("answered 404")
        assert f"127.0.0.1:{port}" in proxy.targets
        assert empty.asked


def test_a_registry_behind_a_proxy(tmp_path: Path, base_in_registry: RegistryBase) -> None:
    address = own_address()
    authority = Authority(tmp_path / "authority", address)
    model = project(tmp_path / "project", BARE, "", PLAIN_MODEL)
    with serve(registry.handler(base_in_registry.registry), authority.context(), address) as port, Proxy() as proxy:
        base = f"{address}:{port}/{registry.REPOSITORY}:{registry.OFFICIAL}"
        env = {"COG_ENGINE": "host", "COG_CA_CERT": str(authority.certificate), **DOWNLOADS}
        through = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "http_proxy": proxy.url}
        model.cog("build", "--no-cache", "-t", "behind:v1", COG_BASE=base, **env, **through).works()
        assert f"{address}:{port}" in proxy.targets
        # A registry of this machine is not on the other side of a proxy.
        local = base_in_registry.registry.reference(registry.OFFICIAL)
        model.cog("build", "--no-cache", "-t", "behind:v1", COG_BASE=local, **env, **through).works()
        assert local.split("/")[0] not in proxy.targets
