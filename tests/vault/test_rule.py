"""Rules about the vault's own source."""

import ast
from pathlib import Path

import solver.vault

PACKAGE = Path(solver.vault.__file__).parent
CLIENTS = {"aiohttp", "httpx", "httpx2", "requests", "urllib3", "http.client", "urllib.request"}


def imports(file: Path) -> set[str]:
    """The modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_there_is_one_way_out() -> None:
    """Only egress has an HTTP client, and it opens sessions in one place."""
    users = [
        file.name
        for file in PACKAGE.glob("*.py")
        if any(name in CLIENTS or name.split(".")[0] in CLIENTS for name in imports(file))
    ]
    assert users == ["egress.py"]
    assert (PACKAGE / "egress.py").read_text().count("ClientSession(") == 1


def test_the_vault_imports_to_the_right_only() -> None:
    """No neighbour adapter, gateway or composition root."""
    allowed = ("solver.vault", "solver.core", "solver.engine", "intents")
    for file in PACKAGE.glob("*.py"):
        ours = {name for name in imports(file) if name.split(".")[0] in ("solver", "contracts")}
        assert all(name.startswith(allowed) for name in ours), file.name


def test_nothing_in_the_vault_gives_a_key_out() -> None:
    """The facade has no method that returns a secret."""
    for name in ("vault", "proxy", "answer"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
                assert "Secret" not in ast.unparse(node.returns), node.name
