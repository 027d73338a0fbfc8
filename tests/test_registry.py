"""The rules of ComfyUI's registry (docs.comfy.org/registry/specifications), and what publishes the pack there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from PIL import Image

from dream_core.command.options import installed_version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT, COMFY = SETTINGS["project"], SETTINGS["tool"]["comfy"]
SYSTEMS = {"OS Independent", "Microsoft :: Windows", "POSIX :: Linux", "MacOS"}
ACCELERATORS = {
    "GPU :: NVIDIA CUDA",
    "GPU :: AMD ROCm",
    "GPU :: Intel Arc",
    "NPU :: Huawei Ascend",
    "GPU :: Apple Metal",
}


def test_the_name_and_the_version_are_as_the_registry_wants_them() -> None:
    name = PROJECT["name"]
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name)
    assert len(name) < 100
    assert "comfyui" not in name.lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])


def test_the_command_knows_the_version_of_the_package_by_its_name() -> None:
    assert installed_version() in {PROJECT["version"], "not installed"}
    source = (ROOT / "dream_core" / "command" / "options.py").read_text("utf-8")
    assert f'version("{PROJECT["name"]}")' in source


def test_the_license_the_systems_and_the_addresses_have_the_registrys_form() -> None:
    assert PROJECT["license"] == {"text": (ROOT / "LICENSE").read_text("utf-8").splitlines()[0]}
    fields = dict.fromkeys(PROJECT["classifiers"])
    systems = {name.split(" :: ", 1)[1] for name in fields if name.startswith("Operating System")}
    accelerators = {name.split(" :: ", 1)[1] for name in fields if name.startswith("Environment")}
    assert systems
    assert systems <= SYSTEMS
    assert accelerators <= ACCELERATORS
    assert PROJECT["urls"]["Repository"].endswith(f"/{PROJECT['name']}")
    assert {"Documentation", "Bug Tracker"} <= PROJECT["urls"].keys()


def test_the_newest_comfyui_may_be_used() -> None:
    assert "99.0.0" in SpecifierSet(COMFY["requires-comfyui"])


@pytest.mark.parametrize(("picture", "shape"), [("Icon", (1, 1)), ("Banner", (21, 9))])
def test_its_pictures_are_in_the_repository_with_the_registrys_shapes(
    picture: str, shape: tuple[int, int]
) -> None:
    repository = PROJECT["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    address = COMFY[picture]
    assert address.startswith(f"{repository}/main/")
    with Image.open(ROOT / address.removeprefix(f"{repository}/main/")) as image:
        assert image.format in {"PNG", "JPEG", "GIF"}
        assert image.width * shape[1] == image.height * shape[0]
        assert picture == "Banner" or image.width <= 400


def test_the_registrys_archive_keeps_what_the_pack_reads() -> None:
    ignored = {
        line.strip("/") for line in (ROOT / ".comfyignore").read_text("utf-8").splitlines() if line[0] != "#"
    }
    assert all((ROOT / name).is_dir() for name in ignored)
    assert not ignored & {"dream_core", "nodes", "web", "locales", "workflows", "subgraphs"}


def test_what_publishes_waits_for_the_checks_and_for_a_tag() -> None:
    steps = (ROOT / ".github" / "workflows" / "publish.yml").read_text("utf-8")
    assert 'tags: ["v*"]' in steps
    assert "needs: check" in steps
    assert steps.index("tools/check_release.py") < steps.index("Comfy-Org/publish-node-action")


def test_the_checks_run_on_the_lowest_and_the_newest_versions() -> None:
    steps = (ROOT / ".github" / "workflows" / "check.yml").read_text("utf-8")
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert f'python: "{lowest}", packages: lowest' in steps
    assert 'python: "3.13", packages: newest' in steps
