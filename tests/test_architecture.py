"""Layers, homes of libraries, the shape of folders and modules, and what `import visavis` may load."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "visavis"
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}

# The level of each part: imports point down, or stay within one folder.
LEVELS = {
    **dict.fromkeys(("errors", "record", "files", "hints", "samples"), 0),
    **dict.fromkeys(("types", "options"), 1),
    "core": 2,
    **dict.fromkeys(("models", "galleries"), 3),
    **dict.fromkeys(("fetch", "downloads", "service"), 4),
    **dict.fromkeys(("config", "evaluation"), 5),
    **dict.fromkeys(("server", "client", "compat"), 6),
    "cli": 7,
    "__main__": 8,
}
HOME_OF_LIBRARY: dict[str, str | tuple[str, ...]] = {
    "openvino": "models/runtime.py",
    "onnxruntime": "models/runtime.py",
    "onnx": ("models/onnx_graphs.py", "models/runtime.py"),
    "h5py": "models/keras/reading.py",
    "pillow_heif": "core/formats.py",
    "typer": "cli/",
    "rich": "cli/",
    "click": "cli/",
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), "server/"),
    **dict.fromkeys(("h11", "python_multipart", "prometheus_client"), "server/"),
    **dict.fromkeys(("pydantic", "pydantic_core"), ("server/", "client/", "types.py", "options.py", "records.py")),
    "httpx": ("client/", "downloads/", "server/dialects/immich.py"),
    "filelock": "downloads/",
    "cryptography": "galleries/sealing.py",
    "psycopg": "galleries/postgres/",
    "scipy": "service/clusters.py",
    "matplotlib": "evaluation/page.py",
    "pyarrow": "cli/outputs.py",
    "httpcore": "fetch.py",
    **dict.fromkeys(("boto3", "botocore"), "cli/commands/gallery/rekognition.py"),
}
# These may be imported from anywhere within functions: results become JSON where that is asked for.
LAZY_ANYWHERE = {"pydantic", "pydantic_core"}
MOST_MODULES = 12  # in a folder, besides __init__
MOST_LINES = 700  # of a module whose docstring does not say why it has more ("... because ...")
# What breaks these rules still, with what it has now. The numbers may only fall; what keeps the rules leaves the lists.
CROWDED: dict[str, int] = {}
LONG: dict[str, int] = {}
FAMILIES: dict[str, set[str]] = {}


def imports_of(tree: ast.Module, *, nested: bool = True) -> Iterator[str]:
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: str) -> str:
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def points_down(part: str, name: str) -> bool:
    names = name.split(".")
    if names[0] != "visavis" or not names[1:] or names[1] == part:
        return True
    # What is not a part is a name of the package itself, which stands above the library and below the shells.
    return LEVELS.get(names[1], 4) < LEVELS[part]


def test_imports_point_down() -> None:
    parts = {path: tree for path, tree in TREES.items() if path != "__init__.py"}
    assert {part_of(path) for path in parts} <= LEVELS.keys()
    wrong = [(path, name) for path, tree in parts.items() for name in imports_of(tree)]
    assert [(path, name) for path, name in wrong if not points_down(part_of(path), name)] == []


def test_libraries_stay_at_home() -> None:
    wrong = []
    for path, tree in TREES.items():
        for name in imports_of(tree):
            library = name.split(".")[0]
            if library in HOME_OF_LIBRARY and not path.startswith(HOME_OF_LIBRARY[library]):
                lazy = library in LAZY_ANYWHERE and name not in imports_of(tree, nested=False)
                wrong += [] if lazy else [(path, name)]
    assert wrong == []


def test_the_environment_is_read_by_the_shell_only() -> None:
    below = {path: tree for path, tree in TREES.items() if part_of(path) not in ("cli", "__main__")}
    reads = [(path, node) for path, tree in below.items() for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [path for path, node in reads if node.attr in ("environ", "getenv")] == []


def test_folders_and_modules_keep_their_shape() -> None:
    modules = [Path(path) for path in TREES if not path.endswith("__init__.py")]
    folders = Counter(path.parent.as_posix() for path in modules)
    assert {name for name, count in folders.items() if count > MOST_MODULES} == CROWDED.keys()
    assert [name for name, most in CROWDED.items() if folders[name] > most] == []

    lines = {path: len((PACKAGE / path).read_text().splitlines()) for path in TREES}
    unexplained = [path for path, tree in TREES.items() if "because" not in (ast.get_docstring(tree) or "")]
    assert {path for path in unexplained if lines[path] > MOST_LINES} == LONG.keys()
    assert [path for path, most in LONG.items() if lines[path] > most] == []

    prefixed = Counter((path.parent.as_posix(), path.stem.split("_")[0]) for path in modules if "_" in path.stem[1:])
    families = {(folder, prefix) for (folder, prefix), count in prefixed.items() if prefix and count > 1}
    assert families == {(folder, prefix) for folder, prefixes in FAMILIES.items() for prefix in prefixes}


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
