"""`--backend docker`: a daemon does what takes a container, and the image is the same."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from docker_daemon import NO_NETWORK, Daemon, Docker
from support import Done, Project, hello, needs_root

CONFIG = """\
build:
  python_version: "3.11"
  system_packages: [tree]
  python_requirements: requirements.txt
  run:
    - mkdir -p /made/deep && echo "$GREETING" > /made/deep/one && ln -s one /made/deep/link
    - rm /usr/share/common-licenses/GPL-1 && rm -r /usr/share/keyrings && chmod 600 /made/deep/one
    - command: cp /root/.token /tmp/token && test "$(wc -c < /tmp/token)" = 6 && rm /tmp/token && echo done > /made/two
      mounts:
        - type: secret
          id: token
          target: /root/.token
environment:
  - GREETING=it's "quoted" $HOME
run: "run.py:Runner"
"""
MODEL = "class Runner:\n    def run(self, text: str) -> str:\n        return text\n"
#: A wheel, and a package that is built in a container.
REQUIREMENTS = "six==1.17.0\n--no-binary docopt\ndocopt==0.6.2\n"
#: What differs from build to build, whoever builds: dates and caches that packages' scripts write.
VARYING = ("var/log", "var/cache", "etc/ld.so.cache")


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with Daemon(*NO_NETWORK) as daemon:
        yield daemon


@dataclass
class Image:
    """What an image is, whatever it is called."""

    config: dict[str, object]
    #: By path: kind, permissions, content or target.
    files: dict[str, tuple[str, int, str]] = field(default_factory=dict)


def image(archive: Path) -> Image:
    """Reads a Docker archive, and puts its layers together."""
    with tarfile.open(archive) as outer:

        def member(name: str) -> bytes:
            content = outer.extractfile(name)
            assert content is not None, name
            return content.read()

        [listed] = json.loads(member("manifest.json"))
        read = Image(json.loads(member(listed["Config"])))
        for layer in listed["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                for entry in inner:
                    add(read.files, inner, entry)
    return read


def add(files: dict[str, tuple[str, int, str]], layer: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    path = entry.name.rstrip("/")
    folder, _, name = path.rpartition("/")
    if name == ".wh..wh..opq":
        remove(files, folder, keep=True)
    elif name.startswith(".wh."):
        remove(files, f"{folder}/{name.removeprefix('.wh.')}".lstrip("/"))
    elif entry.isdir():
        files[path] = ("folder", entry.mode & 0o7777, "")
    elif entry.issym():
        files[path] = ("link", 0, entry.linkname)
    elif entry.islnk():
        files[path] = files[entry.linkname]
    else:
        content = layer.extractfile(entry)
        assert content is not None, path
        files[path] = ("file", entry.mode & 0o7777, hashlib.sha256(content.read()).hexdigest())


def remove(files: dict[str, tuple[str, int, str]], path: str, *, keep: bool = False) -> None:
    for known in [known for known in files if known.startswith(f"{path}/") or (known == path and not keep)]:
        del files[known]


def varies(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in VARYING)


def write_project(directory: Path) -> Project:
    directory.mkdir()
    (directory / "token").write_text("s3cret")
    # A step with another environment is another one, so that nothing comes from the store.
    config = CONFIG + f"# {uuid4()}\n"
    config = config.replace("environment:\n", f"environment:\n  - BUILD={uuid4()}\n")
    return Project(directory).write(cog__yaml=config, run__py=MODEL, requirements__txt=REQUIREMENTS)


def build(project: Project, name: str, *flags: object, **env: str) -> tuple[Done, Image]:
    archive = project.directory.parent / f"{name}.tar"
    secret = ("--secret", "id=token,src=token")
    output = ("--output", f"docker-archive={archive}")
    done = project.cog("build", "-t", f"backends:{name}", *secret, *output, *flags, **env).works()
    return done, image(archive)


def test_both_backends_give_the_same_image(tmp_path: Path, docker: Docker) -> None:
    project = write_project(tmp_path / "project")
    environment = {"DOCKER_HOST": docker.host}
    _, native = build(project, "native", "--backend", "native", **environment)
    # What the first one has left in the store counts for nothing.
    loaded = {**environment, "COG_LOAD": "auto"}
    done, theirs = build(project, "docker", "--backend", "docker", "--no-cache", "--debug", **loaded)
    assert "Building with the docker backend: Docker " in done.stderr, done.stderr
    assert "system packages: tree (" in done.stderr and "run: mkdir" in done.stderr, done.stderr
    assert "Dockerfile:\nFROM cog-build/below:" in done.stderr, done.stderr
    ours = {path: what for path, what in native.files.items() if not varies(path)}
    built = {path: what for path, what in theirs.files.items() if not varies(path)}
    assert ours.keys() == built.keys()
    assert {path: (what, built[path]) for path, what in ours.items() if what != built[path]} == {}
    assert "made/deep/one" in built and "made/two" in built and "usr/bin/tree" in built
    assert "usr/share/common-licenses/GPL-1" not in built and "usr/share/keyrings" not in built
    assert "tmp/token" not in built and "root/.token" not in built
    # So much so that it is the same image, layer by layer.
    assert native.config == theirs.config
    # It is where it was built, and nothing of the building is left there.
    assert docker.has("backends:docker")
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert not [name for name in names if name.startswith(("cog-build", "127.0.0.1"))], names
    assert "s3cret" not in docker("history", "--no-trunc", "backends:docker")


def test_what_a_daemon_has_built_is_an_image_like_any_other(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    config = project.directory / "cog.yaml"
    config.write_text(config.read_text().replace("build:\n", f'build:\n  run: ["echo {uuid4()} > /made"]\n'))
    environment = {"COG_BACKEND": "docker", "DOCKER_HOST": docker.host, "COG_LOAD": "auto"}
    project.cog("build", "-t", "hello:backend", **environment).works()
    assert project.cog("run", "hello:backend", "-i", "text=image").works().stdout == "hello image\n"
    inspected = json.loads(project.cog("inspect", "hello:backend", "--json").works().stdout)
    assert [layer["created_by"] for layer in inspected["layers"]][-3].startswith("run: echo"), inspected
    assert project.cog("run", "-i", "text=project", **environment).works().stdout == "hello project\n"
    # Nothing that runs has changed: nobody is asked to build.
    (project.directory / "run.py").write_text((project.directory / "run.py").read_text() + "\n# Changed.\n")
    again = project.cog("build", "-t", "hello:backend", **environment).works()
    assert "run: echo" not in again.stderr and "B sent)" in again.stderr, again.stderr


def test_a_failure_says_what_failed_and_how(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    environment = {"COG_BACKEND": "docker", "DOCKER_HOST": docker.host}
    config = (project.directory / "cog.yaml").read_text()
    commands = 'run: ["echo first", "echo so it ends >&2; exit 3", "echo never"]'
    project.write(cog__yaml=config.replace("build:\n", f"build:\n  {commands}\n"))
    done = project.cog("build", "-t", "hello:failed", **environment)
    done.fails_with("`echo so it ends >&2; exit 3` failed with exit status 3", "so it ends")
    assert "\nnever\n" not in done.stderr, done.stderr
    project.write(cog__yaml=config.replace("build:\n", "build:\n  system_packages: [no-such-package]\n"))
    missing = project.cog("build", "-t", "hello:failed", **environment)
    missing.fails_with("has no package `no-such-package`")
    names = docker("images", "--format", "{{.Repository}}").split()
    assert "cog-build/below" not in names and "cog-build/step" not in names, names


def without_namespaces(folder: Path) -> tuple[str, ...]:
    """Before a command, which then can make no containers."""
    needs_root()
    zero = folder / "zero"
    zero.write_text("0\n")
    script = f'mount --bind {zero} /proc/sys/user/max_user_namespaces && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def test_a_daemon_makes_the_debian_base_where_no_container_of_ours_can_run(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    flags = ("build", "-t", "hello:base", "--base", "debian")
    project.cog(*flags).works()
    ours = diff_ids(project, "hello:base")
    # Another store knows no base; packages need not come over the network again.
    elsewhere = Project(project.directory, tmp_path / "store")
    for downloads in ("debian", "uv"):
        shutil.copytree(project.store / downloads, elsewhere.store / downloads, symlinks=True)
    environment = {"COG_ENGINE": "auto", "COG_LOAD": "none", "DOCKER_HOST": docker.host}
    done = elsewhere.cog(*flags, before=without_namespaces(tmp_path), **environment).works()
    assert "Building with the docker backend: Docker" in done.stderr and "base: Debian" in done.stderr, done
    assert diff_ids(elsewhere, "hello:base") == ours


def diff_ids(project: Project, name: str) -> list[str]:
    inspected = json.loads(project.cog("inspect", name, "--json").works().stdout)
    return [layer["diff_id"] for layer in inspected["layers"]]


def test_a_daemon_builds_where_no_container_of_ours_can_run(tmp_path: Path, docker: Docker) -> None:
    before = without_namespaces(tmp_path)
    project = hello(tmp_path / "project")
    # The base is there, and only what is built on it takes a container.
    project.cog("build", "-t", "hello:here").works()
    config = project.directory / "cog.yaml"
    config.write_text(config.read_text().replace("build:\n", f'build:\n  run: ["echo {uuid4()} > /made"]\n'))
    environment = {"COG_ENGINE": "auto", "COG_LOAD": "none"}
    done = project.cog("build", "-t", "hello:auto", before=before, DOCKER_HOST=docker.host, **environment).works()
    assert "Using the docker engine\nBuilding with the docker backend: Docker" in done.stderr, done.stderr
    assert "no container of our own can run: user namespaces are disabled" in done.stderr, done.stderr
    config.write_text(config.read_text().replace("echo ", "echo again "))
    nobody = project.cog("build", "-t", "hello:auto", before=before, **environment)
    nobody.fails_with("needs a container, and none can run here", "start Docker or Podman")
    # Where one can, nobody is asked.
    can = project.cog("build", "-t", "hello:auto", DOCKER_HOST=docker.host, **environment).works()
    assert "docker backend" not in can.stderr, can.stderr


def test_a_dockerfile_of_ones_own_is_built_and_labelled(tmp_path: Path, docker: Docker) -> None:
    project = hello(tmp_path / "project")
    environment = {"DOCKER_HOST": docker.host, "COG_LOAD": "auto"}
    project.cog("build", "-t", "own-base:1", **environment).works()
    dockerfile = 'FROM own-base:1\nRUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = s3cret\n'
    dockerfile += "RUN echo own > /made\nENV OWN=1\nCOPY run.py cog.yaml /src/\n"
    project.write(Mine=dockerfile, token="s3cret", __dockerignore="token\n")
    flags = ("--dockerfile", "Mine", "--secret", "id=token,src=token")
    archive = tmp_path / "own.tar"
    done = project.cog("build", "-t", "hello:own", *flags, "--output", f"docker-archive={archive}", **environment)
    assert "Building with the docker backend" in done.works().stderr
    built = image(archive)
    assert built.files["made"] == ("file", 0o644, hashlib.sha256(b"own\n").hexdigest())
    assert "src/.cog/openapi_schema.json" in built.files and "src/token" not in built.files
    config = built.config["config"]
    assert isinstance(config, dict) and "OWN=1" in config["Env"]
    labels = config["Labels"]
    assert labels["run.cog.has_init"] == "true" and "cog==" in labels["run.cog.pip_freeze"]
    assert '"openapi"' in labels["run.cog.openapi_schema"]
    assert docker.has("hello:own")
    run = project.cog("run", "hello:own", "-i", "text=own").works()
    assert run.stdout == "hello own\n"
    project.write(Mine=dockerfile.replace("RUN --mount", "#"))
    assert project.cog("run", *flags[:2], "-i", "text=run", **environment).works().stdout == "hello run\n"
    project.write(Mine="FROM own-base:1\nRUN exit 5\n")
    project.cog("build", *flags, **environment).fails_with("Docker could not build", "exit code: 5")
    project.cog("build", *flags, "--sbom", **environment).fails_with("`--sbom` and `--dockerfile` do not go together")
