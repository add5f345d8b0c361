"""Interface that the service needs of a Recognizer."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from typing_extensions import Unpack

from visavis.core.image import ImageLimits
from visavis.errors import VisavisError
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.options import Observe
from visavis.types import ImageSource


class Eyes(Protocol):
    """Sees faces; a ``Recognizer`` does. What looks at no image touches nothing but the pack."""

    @property
    def pack(self) -> Pack:
        """The models that it sees with."""

    @property
    def limits(self) -> ImageLimits:
        """On images."""

    def observe_many(
        self, images: Iterable[ImageSource], **options: Unpack[Observe]
    ) -> Iterator[tuple[Observed, ...] | VisavisError]:
        """Return for each image the faces with embedding, quality and chip, or why there are none."""
