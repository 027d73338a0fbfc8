"""The stand-in for nodes/adapters/host.py has what the real one has."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
ITS_OWN = {"Interrupted", "Block", "Record", "Patcher"}


def public(path: Path) -> dict[str, str]:
    """Qualified name -> signature of every public function and method, and the value of every constant."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id.isupper()
        ):
            found[node.targets[0].id] = ast.unparse(node.value)
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = prefix + member.name
            private = [part for part in name.split(".") if part.startswith("_") and part != "__init__"]
            if not private and name.split(".")[0] not in ITS_OWN:
                kind = "async " if isinstance(member, ast.AsyncFunctionDef) else ""
                found[name] = f"{kind}({ast.unparse(member.args)}) -> {ast.unparse(member.returns or member)}"
    return found


def test_the_standin_has_the_hosts_functions_signatures_and_constants() -> None:
    real = public(ROOT / "nodes" / "adapters" / "host.py")
    assert {"load", "Progress.update", "HostedNode.call", "DREAM_FOLDER"} <= real.keys()
    assert public(ROOT / "tests" / "standin" / "host.py") == real
