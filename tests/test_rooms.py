"""Which room may import which (docs/architecture.md): read from the sources, so that nothing has to be installed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("nas", "compress", "search_spaces", "benchmarks", "reports")
ALLOWED = {
    "nas": {"nas", "compress", "search_spaces", "benchmarks", "reports"},
    "compress": {"compress", "search_spaces", "benchmarks"},
    "search_spaces": {"search_spaces", "benchmarks"},
    "benchmarks": {"benchmarks"},
    "reports": {"reports"},
}


def imports_in(source: str) -> Iterator[str]:
    """Every module that ``source`` imports, wherever in it, also for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, so that rooms can be read off them"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(room: str) -> list[tuple[str, str]]:
    """(file, module) of every import in ``room``."""
    return [
        (path.relative_to(ROOT).as_posix(), module)
        for path in sorted((ROOT / room).rglob("*.py"))
        for module in imports_in(path.read_text(encoding="utf-8"))
    ]


def users_of(package: str, room: str) -> set[str]:
    return {file for file, module in imports_of(room) if module.split(".")[0] == package}


def test_imports_are_found_wherever_they_hide():
    source = "import a.b\ndef f():\n    from c import d\nif TYPE_CHECKING:\n    import e as x, f\n"
    assert set(imports_in(source)) == {"a.b", "c.d", "e", "f"}


@pytest.mark.parametrize("room", ROOMS)
def test_arrows(room: str):
    found = imports_of(room)
    assert found
    wrong = [(file, name) for file, name in found if name.split(".")[0] in set(ROOMS) - ALLOWED[room]]
    assert wrong == []


def test_search_spaces_take_from_benchmarks_the_inputs_only():
    taken = {name for _, name in imports_of("search_spaces") if name.startswith("benchmarks")}
    assert all(name.startswith("benchmarks.inputs") for name in taken), taken


def test_optuna_is_known_to_nas_only():
    for room in ("compress", "search_spaces", "benchmarks", "reports"):
        assert users_of("optuna", room) == set(), room


def test_torch_is_known_to_one_file_of_benchmarks_and_to_none_of_reports():
    assert users_of("torch", "benchmarks") == {"benchmarks/runtimes/torch.py"}
    assert users_of("torch", "reports") == set()


def test_nobody_imports_tests_or_examples():
    for room in ROOMS:
        assert users_of("tests", room) | users_of("examples", room) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_typed_and_light(room: str):
    assert (ROOT / room / "py.typed").is_file()
    heavy = {"torch", "optuna", "onnx", "onnxruntime", "pandas", "numpy"}
    front = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    top = [node for node in front.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for node in top for name in imports_in(ast.unparse(node))}
    assert not names & heavy
