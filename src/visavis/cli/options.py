"""The options that commands share, and the Recognizer they describe."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from visavis import ImageLimits, Recognizer
    from visavis.options import Rate

# The library's own defaults, repeated here so that --help need not load it; a test compares them.
DEFAULT_PACK = "dlib"
DEFAULT_MIN_FACE = 0.08
DEFAULT_MAX_BYTES = 20_000_000
DEFAULT_MAX_PIXELS = 50_000_000
DEFAULT_STORE = "sqlite:///visavis.db"
# What a gallery is called that nobody named.
DEFAULT_GALLERY = "default"

PackOption = Annotated[
    str, typer.Option("--pack", envvar="VISAVIS_PACK", metavar="NAME", help="Models to use; see: visavis models.")
]
OwnPackOption = Annotated[
    str | None, typer.Option("--pack", metavar="NAME", hidden=True, help="Not needed: a gallery knows its pack.")
]
RuntimeOption = Annotated[
    Literal["openvino", "onnxruntime"],
    typer.Option("--runtime", envvar="VISAVIS_RUNTIME", help="What runs the networks."),
]
PrecisionOption = Annotated[
    Literal["auto", "f32"],
    typer.Option(
        "--precision",
        envvar="VISAVIS_PRECISION",
        help="auto: bfloat16 where the processor has it; f32: always float32.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        envvar="VISAVIS_THREADS",
        metavar="N",
        min=1,
        show_default="all cores",
        help="Threads that an inference may use.",
    ),
]
CacheDirOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="VISAVIS_CACHE_DIR",
        metavar="DIR",
        show_default="the user's cache folder",
        help="Where converted models are kept.",
    ),
]
ModelsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        envvar="VISAVIS_MODELS_DIR",
        metavar="DIR",
        show_default="the user's data folder",
        help="Where pulled models and calibrations are kept.",
    ),
]
MinFaceOption = Annotated[
    float,
    typer.Option(
        "--min-face",
        envvar="VISAVIS_MIN_FACE",
        metavar="N",
        help="Smallest face to look for: from 1 on in pixels, below 1 as a fraction of the image's shorter side. "
        "Half the size takes four times as long.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(metavar="X", show_default="the pack's own", help="Faces at a smaller distance are the same person."),
]
FmrOption = Annotated[
    str | None,
    typer.Option(
        "--fmr",
        metavar="RATE",
        help="The false match rate to keep, in place of a threshold: 1e-3 or another number, or strict (1e-4), "
        "balanced (1e-3) or lenient (1e-2).",
    ),
]
RequireLiveOption = Annotated[
    bool,
    typer.Option(
        "--require-live", help="Refuse faces that look like a print or a screen; needs a pack that can, such as open."
    ),
]
MaxBytesOption = Annotated[int, typer.Option("--max-bytes", metavar="N", help="Refuse larger files.")]
MaxPixelsOption = Annotated[int, typer.Option("--max-pixels", metavar="N", help="Refuse images of more pixels.")]
GalleryOption = Annotated[
    str, typer.Option("--gallery", "-g", metavar="NAME", help="The gallery; see: visavis gallery list.")
]
GalleryArgument = Annotated[str, typer.Argument(metavar="NAME", help="The gallery's name.")]
WholeJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="VISAVIS_STORE",
        metavar="URL",
        help="Where galleries are kept: sqlite:///FILE or postgresql://USER@HOST/DATABASE.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="VISAVIS_GALLERY_KEY_FILE",
        metavar="FILE",
        show_default="the variable VISAVIS_GALLERY_KEY",
        help="Holds the key of encrypted galleries, as openssl rand -hex 32 makes one.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Say more, with a traceback where something fails.")]


def rate_of(text: str | None) -> "Rate | None":
    """Return a false match rate as the library takes it, which checks it: a number, or a name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return cast("Rate", text)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a Recognizer is made from."""

    pack: str = DEFAULT_PACK
    runtime: Literal["openvino", "onnxruntime"] = "openvino"
    precision: Literal["auto", "f32"] = "auto"
    threads: int | None = None
    cache_dir: Path | None = None
    min_face: float = DEFAULT_MIN_FACE
    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS
    models_dir: Path | None = None

    def models_folder(self) -> Path:
        """Return where pulled models are kept."""
        from visavis.models.installation import default_models_dir  # noqa: PLC0415  # brings NumPy

        return self.models_dir or default_models_dir()

    def limits(self) -> "ImageLimits":
        """Return the limits on images.

        Raises:
            InvalidOption: one is below 1.
        """
        from visavis import ImageLimits  # noqa: PLC0415  # brings NumPy and OpenCV

        return ImageLimits(self.max_bytes, self.max_pixels)

    def check_installed(self) -> None:
        """Check that the pack was pulled or imported.

        Raises:
            InvalidOption: there is no such pack.
            ModelMissing: it was not.
        """
        from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy
        from visavis.models.installation import check_installed  # noqa: PLC0415  # likewise

        check_installed(find_pack(self.pack), self.models_folder())

    def load(self, streams: int = 1) -> "Recognizer":
        """Load the models.

        Args:
            streams: how many inferences run at the same time.

        Raises:
            InvalidOption: an option is out of its range.
            SetupError: a model or the runtime is missing or damaged.
        """
        from visavis import Recognizer  # noqa: PLC0415  # brings the runtime

        return Recognizer(
            self.pack,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            streams=streams,
            min_face=self.min_face,
            limits=self.limits(),
            cache_dir=self.cache_dir,
            models_dir=self.models_dir,
        )
