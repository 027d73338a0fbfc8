"""Check that the repository is what a tag says, before it is published: `tools/check_release.py v0.1.0`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Return what stands against publishing `root` as `tag`, one sentence each."""
    text = (root / "pyproject.toml").read_text("utf-8")
    settings = tomllib.loads(text)
    version = settings["project"]["version"]
    newest = re.search(r"^## (.+)$", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    found = []
    if tag != f"v{version}":
        found.append(
            f"expected the tag v{version}, the version of pyproject.toml, got {tag}; change one of them"
        )
    if newest is None or newest[1] != version:
        found.append(f"expected '## {version}' first in CHANGELOG.md, got {newest and newest[0]!r}; write it")
    if "OWNER/" in text:
        found.append(
            "expected the repository's address in pyproject.toml, got OWNER; put the account's name there"
        )
    if not settings["tool"]["comfy"]["PublisherId"]:
        found.append("expected a PublisherId in pyproject.toml, got none; create one at registry.comfy.org")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"expected one tag, got {len(sys.argv) - 1}; run tools/check_release.py v0.1.0")
    if found := problems(sys.argv[1]):
        raise SystemExit("\n".join(found))
