"""Images go to registries and come back: Debian's `docker-registry`, plain, with passwords, with a certificate."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import termios
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from network import Authority, own_address, serve
from registry import OFFICIAL
from support import COG, STORE, Done, Project, hello

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RegistryBase

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DIGEST = r"sha256:[0-9a-f]{64}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return hello(tmp_path / "project")


def pushed_digest(done: Done, repository: str) -> str:
    found = re.search(rf"^  image  {re.escape(repository)}@({DIGEST})$", done.works().stderr, re.MULTILINE)
    assert found, done
    return found[1]


def other_store(tmp_path: Path) -> Project:
    """A place that knows of no image yet."""
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    return Project(tmp_path / "elsewhere", tmp_path / "elsewhere-store")


def test_an_image_is_pushed_and_pulled(tmp_path: Path, registry: DockerRegistry, project: Project) -> None:
    repository = f"{registry.host}/team/hello"
    done = project.cog("push", f"{repository}:v1")
    digest = pushed_digest(done, repository)
    assert done.stdout == ""
    assert f"Building the image from environment in cog.yaml as {repository}:v1..." in done.stderr
    assert f"Pushing to {repository}:v1..." in done.stderr
    assert "replicate.com" not in done.stderr
    manifest, named = registry.document("team/hello/manifests/v1")
    assert named == digest
    again = project.cog("push", "--no-build", digest).works()
    assert f"Pushing to {repository}:v1..." in again.stderr

    elsewhere = other_store(tmp_path)
    schema = elsewhere.cog("schema", f"{repository}:v1").works().stdout
    assert schema == project.cog("schema").works().stdout
    assert json.loads(elsewhere.cog("images", "--json").works().stdout) == []
    pulled = elsewhere.cog("pull", f"{repository}:v1").works()
    assert f"({digest})" in pulled.stderr and pulled.stdout == ""
    listed = json.loads(elsewhere.cog("images", "--json").works().stdout)
    assert [(image["name"], image["digest"]) for image in listed] == [(f"{repository}:v1", digest)]
    assert elsewhere.cog("run", f"{repository}:v1", "-i", "text=there").works().stdout == "hello there\n"

    # One changed line: the source and the documents.
    with (project.directory / "run.py").open("a") as source:
        source.write("# changed\n")
    again = project.cog("push", f"{repository}:v2")
    assert pushed_digest(again, repository) != digest
    assert again.stderr.count(": pushed (") == 2, again
    assert "were there already" in again.stderr
    later, _ = registry.document("team/hello/manifests/v2")
    assert later["layers"][:-1] == manifest["layers"][:-1]  # type: ignore[index]
    labels = [labels_of(registry, "team/hello", version) for version in ("v1", "v2")]
    ids = [label["run.cog.push_id"] for label in labels]
    assert all(UUID7.fullmatch(one) for one in ids) and ids[0] < ids[1], ids

    # Another repository takes over what this one has.
    mounted = project.cog("push", f"{registry.host}/other/hello").works()
    assert mounted.stderr.count(": pushed (") == 1, mounted
    assert "taken from another repository" in mounted.stderr
    registry.document("other/hello/manifests/latest")


def labels_of(registry: DockerRegistry, repository: str, version: str) -> dict[str, str]:
    manifest, _ = registry.document(f"{repository}/manifests/{version}")
    config, _ = registry.document(f"{repository}/blobs/{manifest['config']['digest']}")  # type: ignore[index]
    labels: dict[str, str] = config["config"]["Labels"]  # type: ignore[index]
    return labels


def test_other_tools_take_what_was_pushed(tmp_path: Path, registry: DockerRegistry, project: Project) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    name = f"{registry.host}/team/hello:v1"
    digest = pushed_digest(project.cog("push", name), name.removesuffix(":v1"))
    plain = "--tls-verify=false"
    inspected = json.loads(skopeo("inspect", plain, f"docker://{name}"))
    assert inspected["Digest"] == digest
    assert inspected["Labels"]["run.cog.version"]
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path / 'copy'}:v1")
    copied = json.loads(skopeo("inspect", f"oci:{tmp_path / 'copy'}:v1"))
    assert copied["Digest"] == digest


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_large_layers_go_in_pieces(tmp_path: Path, registry: DockerRegistry, project: Project) -> None:
    (project.directory / "weights").write_bytes(bytes(range(256)) * 4096)
    name = f"{registry.host}/team/hello:v1"
    pieces = {"COG_PUSH_MULTIPART_THRESHOLD": "100000", "COG_PUSH_DEFAULT_CHUNK_SIZE": "1000000"}
    digest = pushed_digest(project.cog("push", name, **pieces), name.removesuffix(":v1"))
    pulled = other_store(tmp_path).cog("pull", name).works()
    assert digest in pulled.stderr
    wrong = project.cog("push", name, COG_PUSH_CONCURRENCY="many")
    wrong.fails_with("`COG_PUSH_CONCURRENCY` is `many`, not a whole number above 0")


def test_layers_of_a_registry_base_go_through_without_a_file(
    registry: DockerRegistry, project: Project, base_in_registry: RegistryBase, tmp_path: Path
) -> None:
    project.store = tmp_path / "store"
    base = base_in_registry.registry
    assert base.root is not None
    root, _ = base.root
    environment = {"COG_BASE": base.reference(OFFICIAL), "UV_CACHE_DIR": str(STORE / "uv/cache")}
    # Compiling the SDK runs something, for which the base has to be here.
    project.cog("build", **environment).works()
    blob = project.store / "blobs/sha256" / root.digest.removeprefix("sha256:")
    blob.unlink(missing_ok=True)
    project.cog("push", f"{registry.host}/team/hello:v1", **environment).works()
    manifest, _ = registry.document("team/hello/manifests/v1")
    assert root.digest in [layer["digest"] for layer in manifest["layers"]]  # type: ignore[attr-defined]
    assert not blob.exists()


def test_a_registry_with_passwords(tmp_path: Path, project: Project) -> None:
    with docker_registry(tmp_path / "registry", passwords=True) as registry:
        name = f"{registry.host}/team/hello:v1"
        config = tmp_path / "docker"
        environment = {"DOCKER_CONFIG": str(config)}
        refused = project.cog("push", name, **environment)
        refused.fails_with("failed to push image", f"{registry.host} refuses access", "cog login --registry")

        wrong = login(project, registry, "", environment)
        wrong.fails_with("password cannot be empty")
        done = login(project, registry, PASSWORD + "\n", environment).works()
        assert f"Login succeeded for {registry.host}" in done.stderr and done.stdout == ""
        file = config / "config.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list(json.loads(file.read_text())["auths"]) == [registry.host]

        digest = pushed_digest(project.cog("push", name, **environment), name.removesuffix(":v1"))
        pulled = other_store(tmp_path).cog("pull", name, **environment).works()
        assert digest in pulled.stderr
        assert PASSWORD not in done.stderr + pulled.stderr
        stranger = other_store(tmp_path).cog("pull", name, DOCKER_CONFIG=str(tmp_path / "nothing"))
        stranger.fails_with("refuses access")


def login(project: Project, registry: DockerRegistry, answer: str, environment: dict[str, str]) -> Done:
    arguments = ["login", "--registry", registry.host, "--username", USER, "--token-stdin"]
    return with_input(project, answer, arguments, environment)


def with_input(project: Project, answer: str, arguments: list[str], environment: dict[str, str]) -> Done:
    done = subprocess.run(
        [str(COG), *arguments],
        cwd=project.directory,
        env=project.environment(**environment),
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_login_asks_and_keeps_what_is_in_the_file(tmp_path: Path, project: Project) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"auths": {"other.example": {"auth": "eDp5"}}, "HttpHeaders": {"X": "1"}}')
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    arguments = ["login", "--registry", "registry.example"]
    done = with_input(project, "me\nmy password\n", arguments, environment).works()
    assert "Logging in to registry.example" in done.stderr and "Username: " in done.stderr
    document = json.loads(config.read_text())
    assert document["HttpHeaders"] == {"X": "1"}
    assert set(document["auths"]) == {"other.example", "registry.example"}
    with_input(project, "\n", arguments, environment).fails_with("username cannot be empty")
    nonsense = ["login", "--registry", "https://registry.example/x"]
    with_input(project, "me\nx\n", nonsense, environment).fails_with("is not the name of a registry")
    with_input(project, "r8_token\n", ["login", "--token-stdin"], environment).fails_with(
        "that looks like a Replicate API token, not a CLI auth token"
    )
    with_input(project, " \n", ["login", "--token-stdin"], environment).fails_with("token is empty")


def test_a_password_is_not_shown_while_it_is_typed(tmp_path: Path, project: Project) -> None:
    environment = project.environment(DOCKER_CONFIG=str(tmp_path), TERM="xterm")
    arguments = [str(COG), "login", "--registry", "registry.example"]

    def typed(answer: bytes) -> tuple[int, bytes, bool]:
        """Exit status, what was shown, and whether the terminal shows again what is typed."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(arguments, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            shown = until(ours, b"Username: ")
            os.write(ours, b"me\n")
            shown += until(ours, b"Password: ")
            # Only then is it hidden: the question comes first.
            while termios.tcgetattr(ours)[3] & termios.ECHO:
                assert process.poll() is None
            os.write(ours, answer)
            status = process.wait(timeout=60)
        echoes = bool(termios.tcgetattr(ours)[3] & termios.ECHO)
        os.close(theirs)
        # The other side is closed, which Linux calls an error.
        with suppress(OSError):
            while piece := os.read(ours, 1024):
                shown += piece
        os.close(ours)
        return status, shown, echoes

    status, shown, echoes = typed(b"my secret\x7ft\r")
    assert (status, echoes) == (0, True), shown
    assert b"secre" not in shown and b"Login succeeded" in shown
    auths = json.loads((tmp_path / "config.json").read_text())["auths"]
    assert base64.b64decode(auths["registry.example"]["auth"]) == b"me:my secret"
    status, shown, echoes = typed(b"my\x03")
    assert (status, echoes) == (-signal.SIGINT, True), shown


def until(terminal: int, text: bytes) -> bytes:
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 1024)
    return shown


def test_login_gives_credentials_to_the_helper(tmp_path: Path, project: Project) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-tests"
    helper.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\ncat > {tmp_path}/stored\n')
    helper.chmod(0o755)
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "tests"}')
    path = f"{programs}:{project.environment()['PATH']}"
    environment = {"DOCKER_CONFIG": str(tmp_path), "PATH": path}
    with_input(project, "me\nmy password\n", ["login", "--registry", "registry.example"], environment).works()
    assert (tmp_path / "asked").read_text() == "store\n"
    stored = json.loads((tmp_path / "stored").read_text())
    assert stored == {"ServerURL": "registry.example", "Username": "me", "Secret": "my password"}
    assert json.loads(config.read_text()) == {"credsStore": "tests"}


def test_a_registry_with_a_certificate_of_our_own(tmp_path: Path, project: Project) -> None:
    # Without TLS, loopback addresses would do.
    address = own_address()
    authority = Authority(tmp_path / "authority", address)
    pair = (authority.folder / "server.pem", authority.folder / "server.key")
    with docker_registry(tmp_path / "registry", host=address, tls=pair) as registry:
        name = f"{registry.host}/team/hello:v1"
        proxies = {"HTTPS_PROXY": "", "https_proxy": "", "ALL_PROXY": "", "all_proxy": ""}
        done = project.cog("push", name, **proxies)
        done.fails_with(f"the certificate of {registry.host} is not trusted", "COG_CA_CERT")
        trusted = {**proxies, "COG_CA_CERT": str(authority.certificate)}
        digest = pushed_digest(project.cog("push", name, **trusted), name.removesuffix(":v1"))
        pulled = other_store(tmp_path).cog("pull", name, **trusted).works()
        assert digest in pulled.stderr


def test_a_certificate_that_signs_itself(tmp_path: Path, project: Project) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    address = own_address()
    proxies = {"HTTPS_PROXY": "", "https_proxy": "", "ALL_PROXY": "", "all_proxy": ""}
    for is_authority in ("TRUE", "FALSE"):
        pair = (tmp_path / "own.pem", tmp_path / "own.key")
        making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        making += ["-subj", f"/CN={address}", "-days", "2", "-out", str(pair[0]), "-keyout", str(pair[1])]
        making += ["-addext", f"subjectAltName=IP:{address}"]
        making += ["-addext", f"basicConstraints=critical,CA:{is_authority}"]
        subprocess.run(making, capture_output=True, check=True)
        with docker_registry(tmp_path / f"registry-{is_authority}", host=address, tls=pair) as registry:
            name = f"{registry.host}/team/hello:v1"
            done = project.cog("push", name, **proxies, COG_CA_CERT=str(pair[0]))
            if is_authority == "FALSE":
                pushed_digest(done, name.removesuffix(":v1"))
                continue
            done.fails_with("is not trusted", "`CA:TRUE`", f"subjectAltName=IP:{address}", "CA:FALSE")


def test_uploads_do_not_leave_tls(tmp_path: Path, project: Project) -> None:
    address = own_address()
    authority = Authority(tmp_path / "authority", address)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(404)

        def do_POST(self) -> None:
            asked.append(self.path)
            self.answer(202, Location=f"http://{self.headers['Host']}/upload")

        def do_PATCH(self) -> None:
            asked.append("content")
            self.answer(500)

        def answer(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    proxies = {"HTTPS_PROXY": "", "https_proxy": "", "ALL_PROXY": "", "all_proxy": ""}
    with serve(Handler, authority.context(), address) as port:
        done = project.cog("push", f"{address}:{port}/a/b:1", **proxies, SSL_CERT_FILE=str(authority.bundle()))
    done.fails_with("the address of its upload is not protected by TLS")
    assert asked and "content" not in asked


def test_a_model_is_pushed_as_a_bundle(tmp_path: Path, registry: DockerRegistry, project: Project) -> None:
    repository = f"{registry.host}/test/bundle-model"
    done = project.cog("push", COG_MODEL=f"{repository}:v1").works()
    tree = re.search(
        rf"^  model   {re.escape(repository)}@({DIGEST})\n  └─ image   {re.escape(repository)}@({DIGEST})$",
        done.stderr,
        re.MULTILINE,
    )
    assert tree, done
    index, named = registry.document("test/bundle-model/manifests/v1")
    assert named == tree[1]
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    [entry] = index["manifests"]  # type: ignore[misc]
    assert entry["digest"] == tree[2] and entry["platform"]["os"] == "linux"
    _, image = registry.document("test/bundle-model/manifests/cog-image.v1")
    assert image == tree[2]
    pulled = other_store(tmp_path).cog("pull", f"{repository}:v1").works()
    assert tree[2] in pulled.stderr
    listed = project.cog("images").works().stdout
    assert "cog-image.v1" not in listed

    with (project.directory / "cog.yaml").open("a") as config:
        config.write(f"model: {repository}\n")
    project.cog("push", COG_MODEL_TAG="v2").works()
    registry.document("test/bundle-model/manifests/cog-image.v2")
    timed = project.cog("push").works()
    assert re.search(rf"Pushing to {re.escape(repository)}:\d{{8}}T\d{{6}}Z\.\.\.", timed.stderr), timed


def test_mistakes_are_told_before_anything_is_built(project: Project) -> None:
    file = project.directory / "cog.yaml"
    plain = file.read_text()
    no_target = project.cog("push")
    no_target.fails_with("To push images, you must either set the 'image' option in cog.yaml")
    mistakes = [no_target]
    pinned = f"localhost:1/a@sha256:{'0' * 64}"
    mistakes.append(project.cog("push", pinned).fails_with(f"cannot push to digest-pinned ref {pinned}"))
    mistakes.append(project.cog("push", "UPPER/case").fails_with("is not an image reference"))
    nowhere = project.cog("push", "localhost:5611")
    nowhere.fails_with("`localhost:5611` is a registry, and names no repository in it", "`localhost:5611/NAME`")
    mistakes.append(nowhere)
    project.cog("pull", "localhost:5611").fails_with("`localhost:5611` is a registry", "`localhost:5611/NAME`")
    file.write_text(plain + "model: localhost:1/a/b\n")
    with_model = project.cog("push", "localhost:1/c")
    mistakes.append(with_model.fails_with("positional image argument not supported with 'model' config", "COG_MODEL"))
    reserved = project.cog("push", COG_MODEL_TAG="cog-x")
    mistakes.append(reserved.fails_with('invalid COG_MODEL_TAG "cog-x": "cog-" is a reserved prefix'))
    file.write_text(plain + "image: localhost:1/a/b\n")
    both = project.cog("push", COG_MODEL_REPO="a/b")
    mistakes.append(both.fails_with("'image' in cog.yaml cannot be combined with COG_MODEL* env vars"))
    for done in mistakes:
        assert "Building the image" not in done.stderr, done
    # The same mistakes end builds.
    file.write_text(plain)
    project.cog("build", COG_MODEL_REPO="a/b", COG_MODEL_TAG="-bad").fails_with('invalid COG_MODEL_TAG "-bad"')


def test_a_registry_that_is_not_there_is_named(project: Project) -> None:
    done = project.cog("push", "127.0.0.1:9/a/b:1")
    done.fails_with("failed to push image", "could not reach 127.0.0.1:9")


def test_a_registry_that_hangs_is_told_of(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        for command in ("inspect", "pull"):
            process = subprocess.Popen(
                [str(COG), command, f"{host}/a/b:1"],
                cwd=project.directory,
                env=project.environment(),
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stderr is not None
            line = next(line for line in process.stderr if "asking" in line)
            assert re.fullmatch(rf"asking {host} for {host}/a/b:1 \(\d s\)\n", line), line
            process.kill()
            process.communicate()


def test_a_pull_tells_why_it_waits_and_once(tmp_path: Path, project: Project) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"errors": [{"code": "X", "message": "we are moving"}]}).encode()
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with serve(Handler, None) as port:
        name = f"127.0.0.1:{port}/a/b:1"
        for command in (["pull", name], ["inspect", name], ["run", name]):
            done = project.cog(*command).fails_with("answered 503", "we are moving")
            told = f"{name}: the answer was 503 Service Unavailable: we are moving; trying again in 1 s"
            assert done.stderr.count(told) == 1, done
            assert "image not found" not in done.stderr, done
    other_store(tmp_path).cog("run", f"{name}2").fails_with("failed to pull", "could not reach")


def test_an_image_that_is_not_there_is_not_found(registry: DockerRegistry, project: Project) -> None:
    name = f"{registry.host}/team/absent:v1"
    for command in ("run", "inspect", "schema"):
        project.cog(command, name).fails_with(f"image {name}: image not found")
    project.cog("pull", f"sha256:{'0' * 64}").fails_with("is a digest, not a name")
