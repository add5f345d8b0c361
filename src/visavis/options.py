"""Options of the library, the command line, HTTP and the client: each declared once, with its text.

A set of options is a ``TypedDict`` whose fields carry an ``Option``. Functions take one as ``**options: Unpack[Set]``
and are decorated with ``takes(Set)``; commands, forms, request models and settings are made from ``options_of(Set)``.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, wraps
from os import PathLike
from textwrap import fill
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import TypedDict

from visavis.errors import InvalidOption
from visavis.record import Record

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

FacesPolicy: TypeAlias = Literal["all", "prominent", "largest", "main", "only"]
"""Which faces of an image count: all, or one of them; see ``OneFace``."""
OneFace: TypeAlias = Literal["prominent", "largest", "main", "only"]
"""Which face of an image counts: the one that is both large and central; the largest; main, the only
one of at least half the largest one's area; or the only one at all, several being an error.
"""
Attribute: TypeAlias = Literal["liveness", "pose", "age", "gender"]
"""What can be told of a face besides, where the pack has a part for it; see ``Attributes``."""
Rate: TypeAlias = float | Literal["strict", "balanced", "lenient"]
"""A false match rate: the part of pairs of strangers that may be taken for one person; or the name of one."""
Runtime: TypeAlias = Literal["openvino", "onnxruntime"]
Precision: TypeAlias = Literal["auto", "f32"]

DEFAULT_PACK = "sface"
# Of images that the caller owns: at the command line and in the library. A server has limits of its own.
DEFAULT_MAX_BYTES = 100_000_000
DEFAULT_MAX_PIXELS = 100_000_000
MOST_CANDIDATES = 1000
INDEX_NAME = ".visavis-index"
"""What an index is called that lies beside its photos."""
DEFAULT_FPIR = 0.01
MOST_FPIR = 0.5


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option besides its name and type.

    Attributes:
        text: what it is for, in sentences, for docstrings, ``--help`` and the OpenAPI document.
        default: what it is where it is not given.
        unset: what None stands for, in words.
        metavar: what stands for its value in ``--help``, such as N.
        above, at_least, at_most: bounds of a number; of a text, how many characters it has at most.
    """

    text: str
    default: object = None
    unset: str | None = None
    metavar: str | None = None
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def description(self) -> str:
        """The text, for JSON, and what null stands for."""
        return f"{self.text} Null for {self.unset}." if self.unset else self.text

    def check(self, name: str, kind: object, value: object) -> None:
        """Insist on one of the choices that there are, or on a whole number in its bounds.

        Raises:
            InvalidOption: it is neither.
        """
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise InvalidOption(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
        if self.at_most is not None and kind is int and not (type(value) is int and 1 <= value <= self.at_most):
            raise InvalidOption(f"{name} must be a whole number from 1 to {self.at_most}, not {value!r}")

    def __get_pydantic_core_schema__(self, kind: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":  # noqa: ANN401  # a type
        """Keep members of records and of requests within the bounds."""
        from pydantic import Field  # noqa: PLC0415  # the library alone does without pydantic

        if str in (kind, *get_args(kind)):
            return handler(Annotated[kind, Field(max_length=cast("int", self.at_most))])
        return handler(Annotated[kind, Field(gt=self.above, ge=self.at_least, le=self.at_most)])

    def __get_pydantic_json_schema__(self, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        """Describe members of records and of requests."""
        return {**handler(schema), "description": self.description}


_MIN_FACE = Option(
    "Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. "
    "Half the size takes four times as long.",
    unset="that of the Recognizer or server",
    metavar="N",
)


class Smallest(TypedDict, total=False):
    """How small faces are looked for."""

    min_face: Annotated[float | None, _MIN_FACE]


class Chips(TypedDict, total=False):
    """Whether faces can be looked at."""

    chips: Annotated[
        bool,
        Option("Whether to return the aligned face that the models saw, as a JPEG in base64.", default=False),
    ]


class Find(Smallest, Chips, total=False):
    """Which faces of an image count."""

    faces: Annotated[
        FacesPolicy,
        Option(
            "Which faces count: all; at most one, found faster: prominent, large and central, or largest; or exactly "
            "one, none or several being an error: main, which passes over those of less than half its area, or only.",
            default="all",
        ),
    ]


class Describe(Find, total=False):
    """What is told of faces."""

    quality: Annotated[
        bool,
        Option("Whether to tell how well the image shows each face: size, sharpness, score, angles.", default=False),
    ]
    attributes: Annotated[
        Sequence[Attribute],
        Option(
            "What else to tell of each face, where the pack can: liveness, pose, age, gender. Each is a network more.",
            default=(),
            metavar="LIST",
        ),
    ]


class Observe(Find, total=False):
    """What is told of faces that are enrolled or identified."""

    attributes: Annotated[Sequence[Attribute], Option("What else to tell of each face.", default=())]


class Threshold(TypedDict, total=False):
    """Where a distance becomes a decision; at most one of both."""

    threshold: Annotated[
        float | None,
        Option(
            "Distance below which two faces are the same person, above 0.",
            unset="that of the pack, or of the gallery",
            metavar="X",
            above=0,
        ),
    ]
    fmr: Annotated[
        Rate | None,
        Option(
            "False match rate of one comparison, to keep in place of a threshold: a number between 0 and 1, or strict "
            "(1e-4), balanced (1e-3) or lenient (1e-2).",
            metavar="RATE",
        ),
    ]


NOTHING_ASKED: Threshold = {}


class Compare(Threshold, total=False):
    """How two embeddings are compared."""

    space: Annotated[
        str | None,
        Option("ID of the space that the embeddings are of, where it is known: another than the pack's is refused."),
    ]


_FPIR = Option(
    "False positive identification rate: the part of strangers who may be taken for one of the subjects, however many "
    "these are. The threshold follows from it, from their number and from the pack's rates.",
    unset="that of the gallery",
    metavar="RATE",
    above=0,
    at_most=MOST_FPIR,
)


class Decide(Threshold, total=False):
    """How faces of images are decided about."""

    require_live: Annotated[
        bool,
        Option(
            "Whether to refuse faces that look like a print or a screen; needs a pack that can tell, such as open.",
            default=False,
        ),
    ]


class Verify(Smallest, Chips, Decide, total=False):
    """How two faces are compared."""

    faces: Annotated[
        OneFace,
        Option(
            "Which face of each image to compare: prominent, large and central; largest; or exactly one: main, which "
            "passes over those of less than half its area, or only.",
            default="prominent",
        ),
    ]


class Person(Smallest, Threshold, total=False):
    """How photos are searched for a person."""

    faces: Annotated[
        OneFace,
        Option(
            "Which face of each image of the person counts: prominent, large and central; largest; or exactly one: "
            "main, which passes over those of less than half its area, or only.",
            default="prominent",
        ),
    ]


GroupBy: TypeAlias = Literal["subject", "sample"]
"""What candidates are: subjects, or single samples of them."""


class IdentifyEmbeddings(Threshold, total=False):
    """How a gallery is searched."""

    group_by: Annotated[
        GroupBy,
        Option(
            "What candidates are: subjects, each as far as its template; or sample, single samples of them, so that a "
            "subject may come several times. The match is a subject either way.",
            default="subject",
        ),
    ]
    fpir: Annotated[float | None, _FPIR]
    limit: Annotated[
        int,
        Option(
            "How many candidates to return for each face.", default=5, metavar="N", at_least=1, at_most=MOST_CANDIDATES
        ),
    ]


class Identify(Find, IdentifyEmbeddings, Decide, total=False):
    """How faces of images are looked for in a gallery."""


class EnrolEmbeddings(TypedDict, total=False):
    """What is enrolled, and as what."""

    allow_conflict: Annotated[
        bool, Option("Whether to enrol a face although it already is another subject.", default=False)
    ]
    counter: Annotated[
        bool,
        Option(
            "Whether the faces are counter-samples: of people who resemble the subject, and are not it. A face nearer "
            "to one of these than to the subject is not the subject.",
            default=False,
        ),
    ]


class Enrol(Smallest, EnrolEmbeddings, total=False):
    """How images are enrolled."""

    faces: Annotated[
        OneFace,
        Option(
            "Which face of each image to enrol: main, the only one of at least half the largest one's area; only, "
            "where there is no other at all; prominent, large and central; or largest.",
            default="main",
        ),
    ]


class EnrolImage(Enrol, total=False):
    """How one image is enrolled."""

    box: Annotated[
        Sequence[float] | None,
        Option(
            "Where the face is, if there are several: left, top, right and bottom in pixels of the upright image. The "
            "one that overlaps this most is enrolled, whatever faces says.",
            metavar="L,T,R,B",
        ),
    ]


class Loading(TypedDict, total=False):
    """How models are found and run."""

    runtime: Annotated[
        Runtime, Option("What runs the networks; onnxruntime is an extra.", default="openvino", metavar="NAME")
    ]
    precision: Annotated[
        Precision,
        Option("auto: bfloat16 where the processor is faster in it; f32: always float32.", default="auto"),
    ]
    threads: Annotated[
        int | None, Option("Threads that one inference may use.", unset="all cores", metavar="N", at_least=1)
    ]
    cache_dir: Annotated[
        str | PathLike[str] | None,
        Option("Folder of converted models.", unset="the user's cache folder", metavar="DIR"),
    ]
    models_dir: Annotated[
        str | PathLike[str] | None,
        Option("Folder of pulled models and calibrations.", unset="the user's data folder", metavar="DIR"),
    ]


Keep: TypeAlias = Literal["nothing", "chips", "images"]
"""What a gallery keeps of an enrolled image besides its embedding: nothing, the aligned chip, or the whole image."""
LONGEST_RETENTION_DAYS = 100_000
_PACK = "the pack's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Record):
    """How a gallery enrols, decides and forgets. Where a limit is None, the pack's own counts."""

    fpir: Annotated[
        float | None,
        replace(_FPIR, unset=f"{DEFAULT_FPIR:g}, or a threshold: the policy's, or the pack's where it has no rates"),
    ] = None
    threshold: Annotated[
        float | None,
        Option("Distance below which a subject is identified, in place of fpir.", unset="by fpir", above=0),
    ] = None
    margin: Annotated[
        float | None,
        Option(
            "By how much the next subject must be farther away than the nearest, or the face is unknown.",
            unset=_PACK,
            at_least=0,
        ),
    ] = None
    conflict_threshold: Annotated[
        float | None,
        Option(
            "Distance to another subject below which a face is not enrolled; 0 to enrol it all the same.",
            unset=_PACK,
            at_least=0,
        ),
    ] = None
    candidate_threshold: Annotated[
        float | None,
        Option(
            "Distance beyond which no candidate is told of, and no call may set its threshold.",
            unset="the threshold, and the lenient operating point for calls",
            above=0,
        ),
    ] = None
    most_candidates: Annotated[
        int, Option("Most candidates of a face, whatever a call's limit.", at_least=1, at_most=MOST_CANDIDATES)
    ] = 10
    min_face_px: Annotated[
        float | None, Option("Fewest pixels of a face that is enrolled.", unset=_PACK, at_least=0)
    ] = None
    min_sharpness: Annotated[
        float | None, Option("Least sharpness of a face that is enrolled.", unset=_PACK, at_least=0)
    ] = None
    min_score: Annotated[
        float | None, Option("Least detector score of a face that is enrolled.", unset=_PACK, at_least=0)
    ] = None
    max_yaw: Annotated[
        float | None,
        Option(
            "Most degrees by which a head that is enrolled is turned sideways; 90 for any.", unset=_PACK, at_least=0
        ),
    ] = None
    max_pitch: Annotated[
        float | None,
        Option("Most degrees by which a head that is enrolled looks up or down; 90 for any.", unset=_PACK, at_least=0),
    ] = None
    probe_min_face_px: Annotated[
        float | None, Option("Fewest pixels of a face that is identified; else it is unknown.", unset=_PACK, at_least=0)
    ] = None
    probe_min_sharpness: Annotated[
        float | None,
        Option("Least sharpness of a face that is identified; else it is unknown.", unset=_PACK, at_least=0),
    ] = None
    probe_min_score: Annotated[
        float | None,
        Option("Least detector score of a face that is identified; else it is unknown.", unset=_PACK, at_least=0),
    ] = None
    min_validity: Annotated[
        float | None,
        Option(
            "Least validity of a face that is enrolled, identified or verified; 0 for any.", unset=_PACK, at_least=0
        ),
    ] = None
    max_occluded: Annotated[
        float | None,
        Option(
            "Most occlusion, as by a mask, of a face that is enrolled, identified or verified; 1 for any.",
            unset=_PACK,
            at_least=0,
        ),
    ] = None
    allow_children: Annotated[
        bool,
        Option("Whether faces that look like children's, below about 12 years, are enrolled, identified and verified."),
    ] = False
    require_live: Annotated[
        bool,
        Option(
            "Whether images must show faces that look live to be enrolled, identified or verified; needs a pack that "
            "can tell, such as open."
        ),
    ] = False
    keep: Annotated[Keep, Option("What is kept of enrolled images: nothing, aligned faces, or whole images.")] = (
        "nothing"
    )
    retention_days: Annotated[
        float | None,
        Option(
            "Days after its last enrolment after which a subject is forgotten.",
            unset="never",
            above=0,
            at_most=LONGEST_RETENTION_DAYS,
        ),
    ] = None
    consent_required: Annotated[bool, Option("Whether to enrol nobody without a note of consent.")] = False
    log_searches: Annotated[bool, Option("Whether the log tells of every identification and verification.")] = True
    search_unlogged: Annotated[
        bool,
        Option(
            "Whether searches are answered also where the log cannot be written, as on a full disk; else they fail."
        ),
    ] = False

    def __post_init__(self) -> None:
        for name, (kind, option) in options_of(Policy).items():
            value = getattr(self, name)
            if option.unset and value is not None:
                check_number(name, value, at_least=option.at_least, above=option.above, at_most=option.at_most)
            if kind is bool and not isinstance(value, bool):
                raise InvalidOption(f"{name} must be true or false")
            option.check(name, kind, value)
        if None not in (self.fpir, self.threshold):
            raise InvalidOption("fpir and threshold say the same: use one of them, and None for the other")


_Limit: TypeAlias = float | None


def check_number(
    name: str, value: object, *, at_least: _Limit = None, above: _Limit = None, at_most: _Limit = None
) -> None:
    """Insist on a finite number.

    Raises:
        InvalidOption: it is none, or beyond a limit.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if (
        not is_number
        or (at_least is not None and value < at_least)  # type: ignore[operator]  # it is a number
        or (above is not None and value <= above)  # type: ignore[operator]  # likewise
        or (at_most is not None and value > at_most)  # type: ignore[operator]  # likewise
    ):
        limit = "" if at_least is None else f" of {at_least:g} or more"
        limit = limit if above is None else f" above {above:g}"
        limit += "" if at_most is None else f" and at most {at_most:,g}"
        raise InvalidOption(f"{name} must be a finite number{limit}, not {value!r}")


class Recognition(Loading, Threshold, total=False):
    """What a Recognizer is made with."""

    allow_children: Annotated[
        bool,
        Option(
            "Whether to decide about faces that look like children's, below about 12 years, whom models hardly tell "
            "apart; else they are uncertain.",
            default=False,
        ),
    ]

    streams: Annotated[
        int, Option("Inferences that run at the same time when several threads share the Recognizer.", default=1)
    ]
    min_face: Annotated[float | None, replace(_MIN_FACE, unset="that of the pack")]


Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def options_of(options: type) -> Mapping[str, tuple[Any, Option]]:
    """Return the type and the option of each field of a set, inherited ones too."""
    hints = get_type_hints(options, include_extras=True)
    known = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Annotated}
    return {name: (kind, option) for name, (kind, option, *_) in known.items()}


def defaults_of(options: type) -> dict[str, Any]:
    """Return the default of each option of a set."""
    return {name: option.default for name, (_, option) in options_of(options).items()}


def takes(options: type) -> Callable[[Function], Function]:
    """Make a function with ``**options: Unpack[Set]`` one that has each option of the set as an argument.

    An option that is not given gets its default, an unknown one is a ``TypeError``. The signature names each option,
    and the docstring tells of it in place of the line that begins with ``**options``.

    Args:
        options: the set.
    """

    def decorate(function: Function) -> Function:
        kinds, defaults = options_of(options), defaults_of(options)
        declared = inspect.signature(function)
        own = [each for each in declared.parameters.values() if each.kind is not each.VAR_KEYWORD]
        known = {*defaults, *(each.name for each in own)}

        def complete(given: Mapping[str, Any]) -> dict[str, Any]:
            if unknown := given.keys() - known:
                raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {min(unknown)!r}")
            for name in given.keys() & kinds.keys():
                kind, option = kinds[name]
                option.check(name, kind, given[name])
            return {**defaults, **given}

        @wraps(function)
        def call(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # whatever the function takes
            return function(*args, **complete(given))

        @wraps(function)
        async def call_async(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # likewise
            return await function(*args, **complete(given))

        taken = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=kind)
            for name, (kind, option) in kinds.items()
        ]
        taking: Callable[..., Any] = call_async if inspect.iscoroutinefunction(function) else call
        taking.__annotations__ = {**function.__annotations__, **{name: kind for name, (kind, _) in kinds.items()}}
        taking.__annotations__.pop("options")
        vars(taking)["__signature__"] = declared.replace(parameters=[*own, *taken])
        taking.__doc__ = re.sub(r"( *)\*\*options: .*", partial(_arguments, options), function.__doc__ or "")
        return cast("Function", taking)

    return decorate


def _arguments(options: type, line: re.Match[str]) -> str:
    """Return the lines of a docstring that tell of the options of a set."""
    told = []
    for name, (_, option) in options_of(options).items():
        unset = f" None for {option.unset}." if option.unset else ""
        text = f"{name}: {option.text}{unset}"
        told.append(fill(text, 120, initial_indent=line[1], subsequent_indent=line[1] + "    "))
    return "\n".join(told)
