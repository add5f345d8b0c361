"""Pulls large.onnx in a process of its own, which may be killed: FOLDER MIRROR SIZE SHA256 [LARGEST_FILE]."""

import logging
import sys
from pathlib import Path

from tiny_packs import pack_of

from visavis.downloads.folder import ModelsFolder
from visavis.downloads.pull import pull
from visavis.downloads.transfer import RetryPolicy, Source
from visavis.errors import VisavisError
from visavis.models.packs import ModelFile


def main(folder: str, mirror: str, size: str, sha256: str, largest: str = "") -> None:
    """Pull, tell the log on standard error, and the outcome on standard output."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if largest:
        import resource  # noqa: PLC0415  # not everywhere

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    file = ModelFile(
        name="large.onnx",
        licence="MIT",
        origin="https://models.example.com",
        size=int(size) if size else None,
        sha256=sha256,
        url="https://models.example.com/large.onnx",
    )
    source = Source(mirror=mirror, retry=RetryPolicy(pauses_s=()))
    try:
        (pulled,) = pull([pack_of("tiny", file)], ModelsFolder(Path(folder)), source)
        print("fetched" if pulled.is_new else "there", pulled.sha256)  # noqa: T201  # to the parent
    except VisavisError as error:
        print(error.code, error)  # noqa: T201  # likewise


if __name__ == "__main__":
    main(*sys.argv[1:])
