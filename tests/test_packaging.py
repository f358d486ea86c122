"""What is shipped: the wheel's content, built without a network, and its metadata."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("nas", "compress", "search_spaces", "benchmarks", "reports")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("leangen-*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_wheel_holds_the_five_rooms_the_pytest_plugin_and_nothing_else(wheel: zipfile.ZipFile):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops - {info} == {*ROOMS, "leangen_pytest.py"}


def test_every_source_file_and_template_is_in_it(wheel: zipfile.ZipFile):
    names = set(wheel.namelist())
    for room in ROOMS:
        assert f"{room}/py.typed" in names
        sources = [path for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".j2", ".css", ".html")]
        assert {path.relative_to(ROOT).as_posix() for path in sources} <= names
    assert any(name.startswith("reports/") and name.endswith(".j2") for name in names)


def test_no_test_and_nothing_compiled_is_in_it(wheel: zipfile.ZipFile):
    wrong = r"(^|/)(tests|conftest\.py|__pycache__|runs|\.git)|\.pyc$|/test_"
    assert [name for name in wheel.namelist() if re.search(wrong, name)] == []


def test_metadata(wheel: zipfile.ZipFile, project: dict[str, object]):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert (metadata["Name"], metadata["Version"]) == ("leangen", project["version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["Version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = set(metadata.get_all("Provides-Extra"))
    assert {"full", "demo", "tensorrt", "tensorrt-rtx", "dashboard", "dev"} <= extras


def test_the_base_install_has_no_torch(wheel: zipfile.ZipFile):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    required = Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist")
    base = {re.split(r"[ <>=!\[]", one)[0].lower() for one in required if "extra ==" not in one}
    assert not base & {"torch", "optuna", "safetensors", "onnxscript", "torch-pruning", "mlxtend"}
    assert {"numpy", "onnx", "onnxruntime", "jinja2", "pydantic", "typer", "rich"} <= base


def test_the_command_is_installed_by_the_wheel(wheel: zipfile.ZipFile):
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "leangen = nas.cli:main" in wheel.read(name).decode()


@pytest.mark.parametrize("how", [(), ("-p", "leangen_pytest")], ids=["by itself", "named"])
def test_pytest_finds_the_plugin(wheel: zipfile.ZipFile, tmp_path: Path, how: tuple[str, ...]):
    """By its entry point, once, also where it is named; from the wheel, whatever is installed here."""
    wheel.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "pytest", *how, "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--no-speed-gate" in done.stdout


def test_every_dependency_was_tested_at_a_pinned_version(project: dict[str, object]):
    """constraints.txt pins what pyproject.toml asks for (tensorrt proper excepted: it needs a GPU to be tested)."""
    pins = {
        line.split("==")[0].strip().lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    dependencies, extras = project["dependencies"], project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(extras, dict)
    wanted = [*dependencies, *(one for requirements in extras.values() for one in requirements)]
    names = {re.split(r"[ <>=!;\[]", one)[0].lower().replace("_", "-") for one in wanted} - {"tensorrt"}
    assert names - pins == set()
