"""Transcripts of commands: what they print where, and how they exit."""

import getpass
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import PIL.Image
from command_line import Outcome, Shell

import visavis

_STDOUT, _STDERR = "  ", "! "
_PASSING = re.compile(r"Converting .*\(once")  # which the first of all tests sees
_MANY_NUMBERS = re.compile(r"(?:-?\d[\d.e+-]*,\s*){20,}-?\d[\d.e+-]*")
_MANY_NAMES = re.compile(r"(?:e\d+,){20,}e\d+")  # of columns
_PRECISE = re.compile(r"\d+\.\d{5,}")  # more than machines agree on


class Transcript:
    """Commands with what they said, without what differs from run to run or from machine to machine."""

    def __init__(self, shell: Shell) -> None:
        self.lines: list[str] = []
        self._shell = shell
        self._names: dict[str, str] = {}

    def __call__(self, command: str, stdin: bytes = b"") -> Outcome:
        """Run a command."""
        kept = dict(os.environ)  # which serve changes, for the processes that it starts
        outcome = self._shell(*shlex.split(command), stdin=stdin)
        os.environ.clear()
        os.environ.update(kept)
        self.lines += [f"$ visavis {self._plain(command)}", f"exit {outcome.code}"]
        for mark, text in ((_STDOUT, outcome.out), (_STDERR, outcome.err)):
            self.lines += [
                f"{mark}{line}".rstrip() for line in self._plain(text).splitlines() if not _PASSING.match(line)
            ]
        self.lines.append("")
        return outcome

    def call(self, name: str, value: str) -> None:
        """Let a random text be called by a name."""
        self._names[value] = name

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _plain(self, text: str) -> str:
        for value, name in {
            **self._names,
            str(self._shell.folder): "FOLDER",
            str(self._shell.folder.parent): "ABOVE",
            sys.prefix: "PREFIX",
        }.items():
            text = text.replace(value, name)
        text = _MANY_NUMBERS.sub(lambda found: f"{found[0].count(',') + 1} numbers", text)
        text = _MANY_NAMES.sub(lambda found: f"{found[0].count(',') + 1} columns", text)
        text = re.sub(rf"\buser {re.escape(getpass.getuser())}\b", "user NAME", text)
        now = datetime.now(timezone.utc)
        for day in {f"{now + timedelta(days=days):%Y-%m-%d}" for days in (-1, 0, 1)}:
            text = re.sub(rf"{day}[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", "TIME", text).replace(day, "DAY")
        text = _PRECISE.sub(lambda found: f"{float(found[0]):.4f}", text)
        return text.replace(f"visavis {visavis.__version__}", "visavis VERSION")


def general(run: Transcript) -> None:
    run("")
    run("--version")
    run("--nonsense")
    run("nonsense")
    run("gallery")
    run("gallery nonsense")
    run("keys")
    run("verify one.jpg")
    run("verify one.jpg two.jpg --threshold 0.5 --fmr strict")
    run("verify one.jpg two.jpg --fmr often")
    run("verify one.jpg two.jpg --pack nonsense")
    run("verify one.jpg two.jpg --runtime nonsense")
    run("detect")
    run("detect nowhere.jpg --json --csv")
    run("detect nowhere.jpg --faces some")
    run("detect nowhere.jpg --min-face 0")
    run("detect nowhere.jpg --threads 0")
    run("detect .")
    run("identify nowhere.jpg --json --csv")
    run("identify nowhere.jpg --limit 0")
    run("identify nowhere.jpg --store nonsense")
    run("identify nowhere.jpg --gallery nobody")
    run("enrol nowhere/")
    run("calibrate nowhere/")
    run("evaluate")
    run("evaluate nowhere/")
    run("serve --port 99999")
    run("serve --pack nonsense")
    run("serve --workers 0")


def keys(run: Transcript) -> None:
    run("keys list")
    run("keys list --json")
    told = len(run.lines)
    made = run("keys create --name 'door 3' --scope read --json")
    about = json.loads(made.out)
    run.call("KEY", about["key"])
    run.call("ID", about["id"])
    del run.lines[told:]  # which hold what is only now known to be random
    run("keys list")
    run("keys list --json")
    run("keys create --name x --scope owner")
    run("keys create --scope read")
    run("keys create --name x --scope read --gallery 'Not a name'")
    run("keys revoke nonsense")
    run("keys revoke ID".replace("ID", about["id"]))
    run("keys revoke ID --json".replace("ID", about["id"]))
    run("keys list")
    run("keys list --keys-file nowhere/keys.db --quiet")
    Path("text").write_text("this is no database, but long enough to be taken for one")
    run("keys list --keys-file text")


def models(run: Transcript) -> None:
    for command in ("models", "models list", "models list --json", "models list --commercial"):
        run(command)
    for command in ("show dlib", "show dlib --json", "show open", "show buffalo_l", "show facenet512 --json"):
        run(f"models {command}")
    run("models show nonsense")
    run("models verify")
    run("models verify --json")
    run("models pull nonsense")
    run("models pull buffalo_l")
    run("models import nowhere.onnx")
    run("models remove open")
    run("models remove nonsense")


def galleries(run: Transcript) -> None:
    run("gallery list")
    run("gallery list --json")
    run("gallery log")
    run("gallery show staff")
    run("gallery create staff --keep images --threshold 0.6 --consent-required")
    run("gallery create staff")
    run("gallery create 'Not a name'")
    run("gallery create others --json --retention-days 30 --no-log-searches --max-yaw 30")
    run("gallery create locked --encrypt")
    run("gallery create odd --threshold 0")
    run("gallery create odd --keep all")
    run("gallery create odd --require-live")
    run("gallery policy staff --margin 0.125 --threshold default")
    run("gallery policy staff --json --retention-days never")
    run("gallery policy nobody")
    run("gallery import staff -", stdin=_people())
    run("gallery import staff -", stdin=_people())
    run("gallery import staff - --json", stdin=_people())
    run("gallery import staff nowhere.jsonl")
    for command in ("gallery list", "gallery show staff", "gallery show others", "gallery show staff ada"):
        run(command)
        run(f"{command} --json")
    run("gallery show staff nobody")
    run("gallery audit staff")
    run("gallery audit staff --json")
    run("gallery audit others")
    run("gallery export staff")
    run("gallery export staff --pictures -o staff.jsonl.gz")
    run("gallery export staff --subject ada")
    run("gallery export nobody")
    run("gallery import copy staff.jsonl.gz")
    run("gallery merge staff a-lovelace ada --yes")
    run("gallery merge staff grace nobody --yes")
    run("gallery merge staff grace ada --json --yes")
    run("gallery forget staff ada 2 --yes")
    run("gallery forget staff ada 999 --yes")
    run("gallery forget staff ada --json --yes")
    run("gallery forget staff ada --yes")
    run("gallery forget others", stdin=b"n\n")
    run("gallery forget others --yes --quiet")
    run("gallery backup copy.db")
    run("gallery backup copy.db")
    run("gallery list --store sqlite:///copy.db")
    run("gallery log")
    run("gallery log --json")
    run("gallery log others --all")


def faces(run: Transcript, portrait: Path, stranger: Path) -> None:
    Path("people/ada").mkdir(parents=True)
    with PIL.Image.open(portrait) as image:
        ada = image.convert("RGB").resize((320, 320))
    ada.save("people/ada/1.png")
    ada.rotate(6).crop((50, 0, 250, 200)).save("again.png")
    with PIL.Image.open(stranger) as image:
        image.convert("RGB").resize((250, 300)).save("other.png")
    PIL.Image.new("RGB", (80, 80)).save("empty.png")
    Path("broken.png").write_bytes(Path("other.png").read_bytes()[:500])
    run("verify people/ada/1.png again.png")
    run("verify people/ada/1.png other.png --json")
    run("verify people/ada/1.png again.png --fmr strict")
    run("verify people/ada/1.png empty.png")
    run("detect again.png empty.png broken.png nowhere.png")
    run("detect again.png empty.png broken.png --json")
    run("detect again.png empty.png broken.png --csv --quality")
    run("embed again.png --json")
    run("embed again.png --json --attributes pose")
    run("embed again.png broken.png --csv")
    run("enrol people/ --keep chips")
    run("enrol people/ --json")
    run("enrol broken.png empty.png --subject ada")
    run("identify again.png other.png empty.png broken.png")
    run("identify again.png other.png empty.png broken.png --json")
    run("identify again.png other.png broken.png --csv")
    run("identify again.png --gallery nobody")
    run("cluster . --json")
    run("gallery log --json")


def _people() -> bytes:
    """Return lines: of people of whom two are one, and one who has not consented."""
    quality = {"face_px": 120.0, "sharpness": 0.25, "score": 1.0}
    ada = {"name": "Ada Lovelace", "metadata": {"room": 3}, "consent": "form 7", "expires_at": "2222-01-02T03:04:05Z"}
    return b"".join(
        json.dumps(line, ensure_ascii=False).encode() + b"\n"
        for line in (
            {
                "subject": "ada",
                "embedding": _at(1),
                **ada,
                "quality": quality,
                "source": "ada/1.jpg",
                "picture": "cG5n",
            },
            {"subject": "ada", "embedding": _at(1, 0.125), "quality": {**quality, "sharpness": 0.001}},
            {"subject": "a-lovelace", "embedding": _at(1, 0, 0.125), "consent": "form 8"},
            {"subject": "grace", "embedding": _at(-1), "name": "人 \x1b[31m", "consent": "form 9"},
            {"subject": "bob", "embedding": _at(0, 0, 0, 1)},
            {"subject": "cyd", "embedding": [1.0], "consent": "form 10"},
            {"subject": "dan"},
        )
    )


def _at(*places: float) -> list[float]:
    return [*places, *[0.0] * (128 - len(places))]


Story = Callable[[Transcript], None]
STORIES: Sequence[Story] = (general, keys, models, galleries)
