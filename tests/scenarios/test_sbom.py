"""What is said beside an image: other people's tools understand it, and it is true."""

from __future__ import annotations

import json
from pathlib import Path

from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support import hello


def test_a_bill_of_materials_is_valid_and_true(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    project.cog("build", "-t", "scenario-sbom:v1", "--sbom", "--provenance").works()
    text = project.cog("inspect", "--sbom", "scenario-sbom:v1").works().stdout
    file = tmp_path / "sbom.spdx.json"
    file.write_text(text)
    document = parse_file(str(file))
    assert [message.validation_message for message in validate_full_spdx_document(document)] == []
    names = {package.name for package in document.packages}
    assert {"libc6", "coglet", "cog-image"} <= names, names
    freeze = json.loads(project.cog("inspect", "--json", "scenario-sbom:v1").works().stdout)["model"]["packages"]
    for line in freeze:
        assert line.split("==")[0] in names, line


def test_the_digest_does_not_depend_on_what_is_said(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")

    def built(*flags: str) -> tuple[str, str]:
        project.cog("build", "-t", "scenario-sbom:v2", *flags).works()
        image = json.loads(project.cog("inspect", "--json", "scenario-sbom:v2").works().stdout)
        return image["digest"], project.cog("inspect", "--sbom", "scenario-sbom:v2").works().stdout

    assert built() == built("--sbom", "--provenance")


def test_where_an_image_came_from_is_in_its_archive(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    layout = tmp_path / "layout"
    project.cog("build", "-t", "scenario-sbom:v3", "--provenance", "--output", f"oci-dir={layout}").works()
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    (entry,) = [entry for entry in entries if entry.get("artifactType") == "application/vnd.in-toto+json"]
    assert entry["annotations"]["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"

    def blob(digest: str) -> str:
        return (layout / "blobs" / digest.replace(":", "/")).read_text()

    manifest = json.loads(blob(entry["digest"]))
    statement = json.loads(blob(manifest["layers"][0]["digest"]))
    assert "sha256:" + statement["subject"][0]["digest"]["sha256"] == manifest["subject"]["digest"]
    built = statement["predicate"]["buildDefinition"]
    assert built["externalParameters"]["config"]["predict"] == "run.py:Runner"
    uris = [one["uri"] for one in built["resolvedDependencies"]]
    assert any(uri.startswith("pkg:deb/debian/libc6@") for uri in uris), uris


# A package that is installed, and one that is removed, as far as those know who ask for them.
PACKAGES = """$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"""
INFO = f'"{PACKAGES}/cogdep-1.5.dist-info"'
INSTALL = f"mkdir {INFO} && printf 'Metadata-Version: 2.1\\nName: cogdep\\nVersion: 1.5\\n' > {INFO}/METADATA"
REMOVE = f'rm -r "{PACKAGES}"/six-*.dist-info'


def test_packages_that_commands_install_and_remove_are_known(tmp_path: Path) -> None:
    project = hello(tmp_path / "project")
    (project.directory / "requirements.txt").write_text("six==1.17.0\nattrs==25.3.0\n")
    build = {
        "python_version": "3.11",
        "python_requirements": "requirements.txt",
        "run": [INSTALL, REMOVE],
    }
    (project.directory / "cog.yaml").write_text(json.dumps({"build": build, "run": "run.py:Runner"}))

    def packages() -> list[str]:
        project.cog("build", "-t", "scenario-sbom:v4").works()
        image = json.loads(project.cog("inspect", "--json", "scenario-sbom:v4").works().stdout)
        names: list[str] = image["model"]["packages"]
        return names

    found = packages()
    assert "attrs==25.3.0" in found and "cogdep==1.5" in found, found
    assert not any(line.startswith("six==") for line in found), found
    assert packages() == found
