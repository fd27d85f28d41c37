"""Release archives, and the script that installs them: what goes wrong on the way changes nothing."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import COG, REPOSITORY, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = REPOSITORY / "scripts/install.sh"
MACHINE = platform.machine()
PATIENCE_SECONDS = 120
NOBODY = 65534
LICENCE = "doc/cog/LICENSE"
MODEL = "class Runner:\n    def run(self, text: str) -> str:\n        return text.upper()\n"


@dataclass
class Site:
    """Serves what it has over HTTP; `broken` files end in the middle, and wait there if they are to."""

    files: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    waits: bool = False
    url: str = ""
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, content: bytes) -> None:
        """Adds an archive, and its checksum to the list."""
        self.files[name] = content
        line = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self.files["SHA256SUMS"] = self.files.get("SHA256SUMS", b"") + line.encode()

    def offer(self, version: str, *texts: str) -> None:
        """Has a small archive of this version, and nothing else any more."""
        self.files.clear()
        self.put(name_of(version), small(version, *texts))


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/cog/")
            content = site.files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if content is None:
                return
            if name in site.broken:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                site.reached.set()
                if site.waits:
                    site.go_on.wait(PATIENCE_SECONDS)
                return
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/cog"
    try:
        yield site
    finally:
        site.go_on.set()
        server.shutdown()
        server.server_close()


def name_of(version: str, machine: str = MACHINE) -> str:
    return f"cog-{version}-linux-{machine}.tar.gz"


def small(version: str, *texts: str, program: str | None = None) -> bytes:
    """An archive as `scripts/release` makes them, whose `cog` knows nothing but its version."""
    said = program or f"#!/bin/sh\necho 'cog version {version} (built today)'\n"
    files = {"bin/cog": said, "bin/coglet": f"#!/bin/sh\necho coglet {version}\n"}
    files |= {f"share/{text}": f"{text} of {version}\n" for text in (LICENCE, *texts)}
    files["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(content.encode()).hexdigest()}  {name}\n" for name, content in files.items()
    )
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cog-{version}-linux-{MACHINE}/{name}")
            member.size, member.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(content.encode()))
    return whole.getvalue()


def environment(prefix: Path | None, **env: str) -> dict[str, str]:
    base = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "SHELL": "/bin/bash"}
    return base | ({"COG_INSTALL_DIR": str(prefix)} if prefix else {}) | env


def install(
    *arguments: str, prefix: Path | None = None, status: int = 0, before: tuple[str, ...] = (), **env: str
) -> str:
    """What the script says; it comes over standard input, as from `curl`."""
    done = subprocess.run(
        [*before, "sh", "-s", "--", *arguments],
        env=environment(prefix, **env),
        input=SCRIPT.read_text(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return said


def tree(folder: Path) -> dict[str, str]:
    """Everything below the folder: content of files, and where links lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes().hex()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def version_of(prefix: Path) -> str:
    return subprocess.run([prefix / "bin/cog", "--version"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "installed here"


# --- the archive ---


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs under test, without what only debuggers read: packing that would take long."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("cog", "coglet"):
        subprocess.run(["strip", "-o", folder / name, (COG.parent / name).resolve()], check=True)
    return folder


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page for each command; what is in them is tested where they are made."""
    folder = tmp_path_factory.mktemp("man")
    listed = subprocess.run([str(COG), "--help"], check=True, capture_output=True, text=True).stdout
    commands = re.findall(r"^  ([a-z-]+) ", listed.partition("Commands:\n")[2], re.MULTILINE)
    for name in ["cog", *(f"cog-{command}" for command in commands if command != "help")]:
        (folder / f"{name}.1").write_text(f".TH {name} 1\n")
    return folder


def release(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts/release"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def archive(programs: Path, manual: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = release(programs, manual, tmp_path_factory.mktemp("release"))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_an_archive_is_the_same_each_time(archive: Path, programs: Path, manual: Path, tmp_path: Path) -> None:
    again = Path(release(programs, manual, tmp_path).stdout.strip())
    assert again.name == archive.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(archive.read_bytes()).digest()
    sums = (archive.parent / "SHA256SUMS").read_text()
    assert (
        sums
        == (tmp_path / "SHA256SUMS").read_text()
        == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
    )


def test_an_archive_has_what_belongs_to_a_program(archive: Path, manual: Path) -> None:
    with tarfile.open(archive) as opened:
        members = {member.name.partition("/")[2]: member for member in opened}
    assert members.keys() == {
        "SHA256SUMS",
        "bin/cog",
        "bin/coglet",
        "share/bash-completion/completions/cog",
        "share/doc/cog/LICENSE",
        "share/doc/cog/README.md",
        "share/fish/vendor_completions.d/cog.fish",
        "share/zsh/site-functions/_cog",
        *(f"share/man/man1/{page.name}" for page in manual.iterdir()),
    }
    assert {member.mode for name, member in members.items() if name.startswith("bin/")} == {0o755}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}


def test_an_archive_has_the_server_for_another_platform_if_there_is_one(
    programs: Path, manual: Path, tmp_path: Path, prefix: Path
) -> None:
    other = {"x86_64": "arm64", "aarch64": "amd64"}.get(MACHINE)
    if other is None:
        pytest.skip("there is no other platform than this one")
    folder = tmp_path / "programs"
    shutil.copytree(programs, folder)
    server = bytearray((folder / "coglet").read_bytes())
    # The machine that a program is for is a number in its header.
    server[18:20] = {"arm64": 183, "amd64": 62}[other].to_bytes(2, "little")
    (folder / f"coglet-linux-{other}").write_bytes(server)
    (folder / f"coglet-linux-{other}").chmod(0o755)
    packed = Path(release(folder, manual, tmp_path / "out").stdout.strip())
    install(str(packed), prefix=prefix)
    beside = (prefix / "bin/cog").resolve().parent
    assert (beside / f"coglet-linux-{other}").read_bytes() == server
    # It is found there: what is missing is something else.
    project = Project(tmp_path).write(cog__yaml='run: "run.py:Runner"\n', run__py=MODEL)
    env = project.environment(COG_BASE="127.0.0.1:9/none:1") | {f"COG_COGLET_BINARY_{other.upper()}": ""}
    command = [prefix / "bin/cog", "build", "--platform", f"linux/{other}"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr, done.stderr


def test_an_archive_is_installed_and_runs_a_model(archive: Path, prefix: Path, tmp_path: Path) -> None:
    said = install(str(archive), prefix=prefix)
    assert f"Installed cog {archive.name.split('-')[1]} in {prefix}/bin\n" in said
    assert f'export PATH="{prefix}/bin:$PATH"' in said
    project = Project(tmp_path).write(cog__yaml='run: "run.py:Runner"\n', run__py=MODEL)
    env = project.environment(COG_ENGINE="host") | {"PATH": f"{prefix / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["cog", "run", "-i", "text=hello"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "HELLO\n"), done.stderr
    assert (prefix / "share/man/man1/cog-run.1").is_file()
    completions = (prefix / "share/bash-completion/completions/cog").read_text()
    bash = f"{completions}\nCOMP_WORDS=(cog serv) COMP_CWORD=1; _cog cog serv cog; echo ${{COMPREPLY[@]}}"
    assert subprocess.run(["bash", "-c", bash], check=True, capture_output=True, text=True).stdout == "serve\n"


@pytest.mark.parametrize("flags", [[], ["-shared", "-fPIC"]], ids=["program", "library"])
def test_programs_that_need_a_new_c_library_are_not_packed(
    programs: Path, manual: Path, tmp_path: Path, flags: list[str]
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path / "programs"
    shutil.copytree(programs, folder)
    # Of glibc 2.34; where it is older there is no such program.
    source = "#include <dlfcn.h>\nint main(void) { return dlopen(0, RTLD_NOW) == 0; }\n"
    (tmp_path / "new.c").write_text(source)
    command = [compiler, *flags, str(tmp_path / "new.c"), "-o", str(folder / "coglet"), "-ldl"]
    if subprocess.run(command, check=False).returncode or b"GLIBC_2.34" not in (folder / "coglet").read_bytes():
        pytest.skip("needs glibc 2.34")
    done = release(folder, manual, tmp_path / "out")
    assert done.returncode == 1
    assert f"{folder}/coglet would not run everywhere: it needs glibc 2.34; 2.28 is the newest allowed" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_page_that_is_missing_is_told(programs: Path, manual: Path, tmp_path: Path) -> None:
    shutil.copytree(manual, tmp_path / "man")
    (tmp_path / "man/cog-run.1").rename(tmp_path / "man/cog-walk.1")
    done = release(programs, tmp_path / "man", tmp_path / "out")
    assert done.returncode == 1
    assert "(cog-run.1, cog-walk.1): write them anew" in done.stderr


# --- the script ---


def test_the_script_is_clean() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_it_comes_over_http(tmp_path: Path, prefix: Path, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    # Everything but the other program.
    tools = tmp_path / "tools"
    tools.mkdir()
    for path in (path for folder in ("/usr/bin", "/bin") for path in Path(folder).iterdir()):
        if path.name not in {"curl", "wget"} - {program} and not (tools / path.name).exists():
            (tools / path.name).symlink_to(path)
    with serving() as site:
        site.put(name_of("1.0.0"), small("1.0.0"))
        site.put(name_of("1.0.0", "riscv64"), b"for others")
        said = install(prefix=prefix, COG_DOWNLOAD_URL=f"{site.url}/", PATH=str(tools))
    assert f"Fetching {name_of('1.0.0')} from {site.url}" in said
    assert version_of(prefix).startswith("cog version 1.0.0")


def test_a_url_of_an_archive_is_taken_and_its_password_not_shown(prefix: Path) -> None:
    with serving() as site:
        site.put(name_of("1.0.0"), small("1.0.0"))
        site.put(name_of("2.0.0"), small("2.0.0"))
        assert "several archives" in install(site.url, prefix=prefix, status=1)
        secret = site.url.replace("//", "//me:hidden@")
        said = install(f"{secret}/{name_of('2.0.0')}", prefix=prefix)
        said += install(f"{secret}/{name_of('3.0.0')}", prefix=prefix, status=1)
    assert version_of(prefix).startswith("cog version 2.0.0")
    assert "hidden" not in said
    assert f"{site.url}/SHA256SUMS does not list {name_of('3.0.0')}" in said


def test_a_wrong_checksum_installs_nothing(prefix: Path) -> None:
    with serving() as site:
        site.put(name_of("1.0.0"), small("1.0.0"))
        site.files[name_of("1.0.0")] = small("1.0.0", "man/man1/cog.1")
        said = install(site.url, prefix=prefix, status=1)
    assert f"{name_of('1.0.0')} is not what SHA256SUMS says" in said
    assert not prefix.exists()


def test_a_download_that_is_cut_installs_nothing(prefix: Path) -> None:
    with serving() as site:
        site.offer("1.0.0")
        install(site.url, prefix=prefix)
        before = tree(prefix)
        site.offer("2.0.0")
        site.broken.add(name_of("2.0.0"))
        said = install(site.url, prefix=prefix, status=1)
        assert f"could not get {site.url}/{name_of('2.0.0')}. Nothing was installed" in said
        assert "could not get" in install(f"{site.url}/nowhere", prefix=prefix, status=1)
    assert tree(prefix) == before


def heed_interrupts() -> None:
    """Whoever runs the tests in the background has them ignored, and a shell cannot change that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_who_stops_it_has_what_was_there_before(prefix: Path, number: signal.Signals) -> None:
    with serving() as site:
        site.offer("1.0.0", "man/man1/cog.1")
        install(site.url, prefix=prefix)
        before = tree(prefix)
        site.offer("2.0.0", "man/man1/cog.1")
        site.broken.add(name_of("2.0.0"))
        site.waits = True
        child = subprocess.Popen(
            ["sh", SCRIPT, site.url], env=environment(prefix), start_new_session=True, preexec_fn=heed_interrupts
        )
        assert site.reached.wait(PATIENCE_SECONDS)
        os.killpg(child.pid, number)
        assert child.wait(PATIENCE_SECONDS) != 0
        left = tree(prefix)
        if number == signal.SIGKILL:
            left = {name: content for name, content in left.items() if not name.startswith("lib/cog/.new.")}
        assert left == before
        # And the next one finds nothing in its way.
        site.broken.clear()
        install(site.url, prefix=prefix)
    assert version_of(prefix).startswith("cog version 2.0.0")


def test_another_machine_is_refused(tmp_path: Path, prefix: Path) -> None:
    fake = tmp_path / "uname"
    fake.write_text('#!/bin/sh\n[ "$1" = -s ] && echo Darwin || echo arm64\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = install("http://127.0.0.1:9", prefix=prefix, status=1, PATH=path)
    assert said == "install: there is no cog for Darwin arm64: it runs on Linux, on x86_64 and aarch64\n"
    other = name_of("1.0.0", "riscv64")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {other}\n")
    assert f"has no archive for linux-{MACHINE}" in install(str(tmp_path), prefix=prefix, status=1)
    assert "is not for this machine" in install(str(tmp_path / other), prefix=prefix, status=1)
    assert not prefix.exists()


def test_without_a_source_it_says_how() -> None:
    assert "where is the archive?" in install(status=1)


def test_who_may_not_write_is_told_where_to(tmp_path: Path) -> None:
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv")
        as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with serving() as site:
        site.put(name_of("1.0.0"), small("1.0.0"))
        said = install(site.url, prefix=Path("/usr/no-such-place"), status=1, before=as_nobody)
        assert "cannot write to /usr/no-such-place/bin: run this as a user who can" in said
        if as_nobody:
            # The place for people: its folders are made.
            home = Path("/tmp") / f"cog-home-{tmp_path.name}-{os.getpid()}"
            home.mkdir()
            os.chown(home, NOBODY, NOBODY)
            try:
                install(site.url, before=as_nobody, HOME=str(home))
                assert version_of(home / ".local").startswith("cog version 1.0.0")
            finally:
                shutil.rmtree(home)


def test_an_upgrade_takes_the_place_of_the_older_one(prefix: Path) -> None:
    with serving() as site:
        for version, page in (("1.0.0", "old"), ("2.0.0", "new"), ("3.0.0", "new")):
            site.offer(version, f"man/man1/{page}.1")
            install(site.url, prefix=prefix)
            assert version_of(prefix).startswith(f"cog version {version}")
    # The one before may still be running; those before it are gone.
    kept = sorted(path.name.split("-")[1] for path in (prefix / "lib/cog").iterdir())
    assert kept == ["2.0.0", "3.0.0"]
    assert [path.name for path in (prefix / "share/man/man1").iterdir()] == ["new.1"]
    assert (prefix / "share" / LICENCE).read_text() == f"{LICENCE} of 3.0.0\n"
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == ["cog", "coglet"]
    # A program's path is that of its own `coglet`.
    assert (prefix / "bin/cog").resolve().parent == (prefix / "bin/coglet").resolve().parent


def test_a_file_of_another_installer_is_replaced_and_a_folder_is_not(prefix: Path, tmp_path: Path) -> None:
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/cog").write_text("#!/bin/sh\necho 'cog version 0.1'\n")
    (tmp_path / name_of("1.0.0")).write_bytes(small("1.0.0"))
    digest = hashlib.sha256((tmp_path / name_of("1.0.0")).read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  {name_of('1.0.0')}\n")
    install(str(tmp_path), prefix=prefix)
    assert version_of(prefix).startswith("cog version 1.0.0")
    folder = tmp_path / "other"
    (folder / "bin/cog").mkdir(parents=True)
    assert f"{folder}/bin/cog is a folder" in install(str(tmp_path), prefix=folder, status=1)


def test_programs_that_do_not_run_are_not_installed(prefix: Path) -> None:
    with serving() as site:
        site.put(name_of("1.0.0"), small("1.0.0", program="#!/no/such/shell\n"))
        assert "do not run in" in install(site.url, prefix=prefix, status=1)
    assert not prefix.exists()


def test_what_the_path_lacks_is_said(prefix: Path, tmp_path: Path) -> None:
    with serving() as site:
        site.offer("1.0.0", "zsh/site-functions/_cog")
        said = install(site.url, prefix=prefix, SHELL="/usr/bin/zsh")
        assert f'export PATH="{prefix}/bin:$PATH"' in said
        assert f"fpath=({prefix}/share/zsh/site-functions $fpath)" in said
        assert "PATH" not in install(site.url, prefix=prefix, PATH=f"{prefix}/bin:{os.environ['PATH']}")
        (tmp_path / "cog").write_text("#!/bin/sh\n")
        (tmp_path / "cog").chmod(0o755)
        said = install(site.url, prefix=prefix, PATH=f"{tmp_path}:{prefix}/bin:{os.environ['PATH']}")
        assert f"But `cog` is {tmp_path}/cog, which comes before it in PATH" in said
