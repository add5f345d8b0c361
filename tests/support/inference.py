"""A memory of models and of what they made of each input, for tests that are about something else."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from visavis.models import heads, recognizer, runtime
from visavis.models.heads import Models
from visavis.models.installation import Installation
from visavis.models.packs import Pack
from visavis.models.runtime import Graph, Infer, RuntimeSpec

Outputs = tuple[NDArray[np.float32], ...]
MOST_BYTES = 256 * 1024**2


@dataclass(eq=False)
class Inference:
    """Stands between the package and OpenVINO: loads and compiles once, and computes once what comes of an input.

    Attributes:
        remembers: whether it does. Where it does not, it lets everything pass.
        cache_dir: whose packs are loaded once where their files come with the installation, which no test changes.
    """

    remembers: bool = True
    cache_dir: Path | None = None
    _loaded: dict[tuple[Any, ...], Models] = field(default_factory=dict)
    _compiled: dict[bytes, Infer] = field(default_factory=dict)
    _known: dict[bytes, Outputs] = field(default_factory=dict)
    _bytes: int = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put it into its place."""
        load, compile_ = heads.load_models, runtime._compile_openvino  # noqa: SLF001  # below all that tests use

        def load_once(pack: Pack, installation: Installation) -> Models:
            packaged = all(file.package for file in pack.files) and installation.cache_dir == self.cache_dir
            if not (self.remembers and packaged):
                return load(pack, installation)
            key = (pack.name, pack.files, installation)
            if key not in self._loaded:
                self._loaded[key] = load(pack, installation)
            return self._loaded[key]

        def compile_once(graph: Graph, spec: RuntimeSpec) -> Infer:
            key = _digest(graph.model, graph.weights or b"", repr((graph.shape, graph.outputs, spec)).encode())
            if not self.remembers or key not in self._compiled:
                self._compiled[key] = self._remembering(compile_(graph, spec), key)
            return self._compiled[key]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "_compile_openvino", compile_once)
            patch.setattr(recognizer, "load_models", load_once)
            yield

    def _remembering(self, infer: Infer, network: bytes) -> Infer:
        def infer_once(images: NDArray[Any]) -> Outputs:
            if not self.remembers:
                return infer(images)
            key = _digest(network, repr((images.shape, images.dtype)).encode(), np.ascontiguousarray(images))
            if key not in self._known:
                self._keep(key, infer(images))
            return tuple(output.copy() for output in self._known[key])

        return infer_once

    def _keep(self, key: bytes, outputs: Outputs) -> None:
        self._bytes += sum(output.nbytes for output in outputs)
        if self._bytes > MOST_BYTES:
            self._known, self._bytes = {}, 0
        self._known[key] = outputs


def _digest(*parts: Any) -> bytes:  # noqa: ANN401  # what hashlib takes
    digest = hashlib.sha256()  # which processors know
    for part in parts:
        digest.update(part)
    return digest.digest()
