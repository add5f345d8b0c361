"""Runs the command line in the tests' own process, as a user would in a shell."""

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typing_extensions import Unpack

from visavis import ImageLimits
from visavis.cli.main import main
from visavis.errors import VisavisError
from visavis.models.catalogue import DLIB
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.options import Observe
from visavis.types import Faces, ImageSource

# Exact on every machine, as dlib is, and quick: the portraits' faces are large. The store is in the shell's folder.
SETTINGS = {
    "VISAVIS_PACK": "dlib",
    "VISAVIS_PRECISION": "f32",
    "VISAVIS_MIN_FACE": "0.15",
    "VISAVIS_THREADS": "1",
    "VISAVIS_STORE": "sqlite:///visavis.db",
}


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str


@dataclass(frozen=True)
class OnlyPack:
    """In the place of a Recognizer where no image is looked at."""

    pack: Pack = DLIB
    limits: ImageLimits = field(default_factory=ImageLimits)

    def observe_many(
        self, images: Iterable[ImageSource], **options: Unpack[Observe]
    ) -> Iterator[Faces[Observed] | VisavisError]:
        raise AssertionError(f"no image is looked at, but {images} with {options}")


class Shell:
    """A shell in a folder of its own."""

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        settings: Mapping[str, str],
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.folder = folder
        for name, value in {**SETTINGS, **settings}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Outcome:
        """Run ``visavis`` with these arguments."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Outcome(exit_.value.code, captured.out, captured.err)
