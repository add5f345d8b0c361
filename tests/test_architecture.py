"""Holds the lines that DESIGN draws: who may import whom, and what `import visavis` may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "visavis"
FILES = sorted(PACKAGE.rglob("*.py"))

# The level of each part: imports point down, or stay within one folder.
LEVELS = {
    **dict.fromkeys(("errors", "types"), 0),
    "core": 1,
    **dict.fromkeys(("models", "galleries"), 2),
    **dict.fromkeys(("fetch", "pulling", "service"), 3),
    **dict.fromkeys(("config", "evaluation"), 4),
    **dict.fromkeys(("server", "client"), 5),
    "cli": 6,
    "__main__": 7,
}
HOME_OF_LIBRARY: dict[str, str | tuple[str, ...]] = {
    "openvino": "models/runtime.py",
    "onnxruntime": "models/runtime.py",
    "onnx": ("models/onnx_graphs.py", "models/onnx_shapes.py"),
    "h5py": "models/keras_reading.py",
    "pillow_heif": "core/decoding.py",
    "typer": "cli/",
    "rich": "cli/",
    "click": "cli/",
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "pydantic", "pydantic_core"), "server/"),
    "httpx": ("client/", "pulling/"),
    "filelock": "pulling/",
    "cryptography": "galleries/sealing.py",
    "psycopg": "galleries/postgres",
    "scipy": "service/clusters.py",
    "matplotlib": "evaluation/plots.py",
    "httpcore": "fetch.py",
    **dict.fromkeys(("h11", "python_multipart", "prometheus_client"), "server/"),
}
LARGEST_FILE = 300


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    for name in imports_of(path):
        names = name.split(".")
        if names[0] == "visavis" and names[1:] and names[1] != part:
            # What is not a part is a name of the package itself, which stands above the library and below the shells.
            assert LEVELS.get(names[1], 3) < LEVELS[part], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_at_home(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    for name in imports_of(path):
        home = HOME_OF_LIBRARY.get(name.split(".")[0])
        assert home is None or relative.startswith(home), f"{relative} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_by_the_shell_only(path: Path) -> None:
    if part_of(path) in ("cli", "__main__"):
        return
    reads = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    assert not [node for node in reads if node.attr in ("environ", "getenv")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LARGEST_FILE


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_visavis_loads_no_heavy_library() -> None:
    heavy = {"numpy", "cv2", "PIL", "openvino", "onnxruntime", "onnx", "typer", "rich"}
    assert not loaded_by("import visavis") & heavy


def test_importing_the_recognizer_loads_no_runtime() -> None:
    assert not loaded_by("from visavis import Recognizer") & {"openvino", "onnxruntime", "onnx"}


def test_every_public_name_is_there() -> None:
    import visavis  # noqa: PLC0415

    assert [name for name in visavis.__all__ if not hasattr(visavis, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        visavis.nonsense  # noqa: B018
