"""What may be published."""

from __future__ import annotations

from pathlib import Path

from check_release import ROOT, problems

PROJECT = """
[project]
version = "1.2.3"
[project.urls]
Repository = "https://github.com/{owner}/deepdream-video"
[tool.comfy]
PublisherId = "{publisher}"
"""


def repository(
    folder: Path, owner: str = "ann", publisher: str = "ann", changes: str = "## 1.2.3\n\n## 1.2.2\n"
) -> Path:
    (folder / "pyproject.toml").write_text(PROJECT.format(owner=owner, publisher=publisher), "utf-8")
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{changes}", "utf-8")
    return folder


def test_a_tag_that_all_files_agree_on_may_be_published(tmp_path: Path) -> None:
    assert problems("v1.2.3", repository(tmp_path)) == []


def test_another_tag_an_old_changelog_and_missing_names_are_told_together(tmp_path: Path) -> None:
    found = problems("v1.2.4", repository(tmp_path, "OWNER", "", "## 1.2.2\n"))
    assert [
        next(word for word in ("tag", "CHANGELOG", "OWNER", "PublisherId") if word in line) for line in found
    ] == [
        "tag",
        "CHANGELOG",
        "OWNER",
        "PublisherId",
    ]


def test_this_version_lacks_nothing_but_its_publisher() -> None:
    assert all("OWNER" in line or "PublisherId" in line for line in problems("v0.1.0", ROOT))
