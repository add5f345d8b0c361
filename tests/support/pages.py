"""Pages of documentation taken apart, and a reader who does what they say: Python, shell and JavaScript blocks."""

import ast
import contextlib
import html
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

# The comment before a block that cannot run where tests do, and why.
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")
_PORTS = re.compile(r"\b(8000|8443|9000|8066|8080|32168|5005)\b")
_NUMBER = re.compile(r"(?:(?<![\w.-])-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?|(?<=[\s\[])nan\b")
_END = "\x1e"
_PATIENCE_S = 300
NODE = 20  # the first that the JavaScript client is for
# `visavis serve` goes on in the background until the page starts another one, or ends.
_SHELL = r"""
gone() { ! (exec 3<>"/dev/tcp/127.0.0.1/$VISAVIS_PORT") 2>/dev/null; }
visavis() {
    [[ $1 == serve && " $* " != *" --help "* ]] || { command visavis "$@"; return; }
    [[ ! -s $SERVER ]] || kill "$(cat "$SERVER")" 2>/dev/null
    until gone; do sleep 0.1; done
    command visavis "$@" >"$SERVER.log" 2>&1 </dev/null &
    echo $! >"$SERVER"
    while gone || ! grep -q ":$VISAVIS_PORT" "$SERVER.log"; do
        sleep 0.1
        kill -0 $! 2>/dev/null || { cat "$SERVER.log"; wait $!; return; }
    done
    cat "$SERVER.log"
}
make() { [[ $1 == serve ]] && visavis serve || command make "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: where it begins, from 1.
        language: what the fence says.
        not_run: why it cannot run in a test; empty where it can.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order; one that is indented in place of fenced has no language."""
    blocks, before = [], ""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            why = _NOT_RUN.fullmatch(before)
            line = token.map[0] + 1 if token.map else 0
            blocks.append(Block(page, line, token.info.strip(), token.content, why[1] if why else ""))
        before = token.content if token.type == "html_block" else ""
    return blocks


def same(shown: str, printed: str) -> bool:
    """Whether that is what a page shows, but for numbers, and for what it leaves out with ``...``."""
    parts = _plain(shown).split("...")
    return re.fullmatch(".*?".join(map(re.escape, parts)), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    text = _NUMBER.sub("0", text.strip())
    if text.startswith(("{", "[")):  # JSON, however it is laid out
        return re.sub(r"\s+", "", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what the page shows below it."""

    text: str
    shown: str


def commands_of(text: str) -> list[Command]:
    """Take a console block apart: what begins with ``$`` is a command, and what does not end there goes on."""
    commands: list[Command] = []
    typed: list[str] = []
    shown: list[str] = []
    until = ""  # the end of a here-document

    def close() -> None:
        if typed:
            commands.append(Command("\n".join(typed), "\n".join(shown)))

    for line in text.splitlines():
        if until or (typed and not shown and typed[-1].endswith("\\")):
            typed.append(line)
            until = "" if line == until else until
        elif line.startswith("$ "):
            close()
            typed, shown = [line[2:]], []
        else:
            shown.append(line)
        if begun := re.search(r"<<'?(\w+)'?", line):
            until = begun[1]
    close()
    return commands


@dataclass
class Reader:
    """Somebody who does what a page says, from its first block to its last, in a folder.

    Attributes:
        folder: where the reader is; has the files that pages speak of.
        environment: all that is set.
        codes: the exit codes of commands, to be compared with those of another time.
    """

    folder: Path
    environment: Mapping[str, str]
    names: dict[str, object] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self._server = Path(self.environment["HOME"], "server")
        self._server.write_text("")

    def read(self, blocks: list[Block], *, again: bool = False) -> None:
        """Run blocks; the first time compare what they print with what the page shows.

        Raises:
            AssertionError: a command failed, or printed something else.
        """
        after = [*blocks[1:], None]
        for block, next_ in zip(blocks, after, strict=True):
            if block.not_run:
                continue
            shown = next_.text if next_ and next_.language == "text" else ""
            if block.language == "console":
                if "names.json" in block.text:  # which the page before saves for whoever types names
                    page = max(self.folder.glob("*.html"), key=lambda each: each.stat().st_mtime_ns)
                    names = json.dumps(named(page.read_text(), "Ada", "Grace"))
                    (self.folder / "names.json").write_text(names)
                self._console(block, again=again)
            elif block.language == "python":
                printed = self._python(block)
                assert again or not shown or same(shown, printed), f"{block} prints:\n{printed}"
            elif block.language == "js":
                printed = self._run(["node", "--input-type=module", "-"], block.text, block)
                assert again or not shown or same(shown, printed), f"{block} prints:\n{printed}"

    def leave(self) -> None:
        """End the server that the page started, if any."""
        if number := self._server.read_text().strip():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGTERM)
            self._server.write_text("")

    def _python(self, block: Block) -> str:
        code = _PORTS.sub(self._port, block.text)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # As many lines before it as in the page, so that an error names its line.
            compiled = compile("\n" * block.line + code, str(block.page), "exec")
            exec(compiled, self.names)  # noqa: S102  # our own documentation
        lines = iter(printed.getvalue().splitlines())
        for comment in _printed_as(code):
            assert any(same(comment, line) for line in lines), f"{block}: {comment} is not what it prints:\n" + (
                printed.getvalue()
            )
        return printed.getvalue()

    def _console(self, block: Block, *, again: bool) -> None:
        commands = commands_of(block.text)
        script = "".join(f"{command.text}\nprintf '{_END}%s{_END}' $?\n" for command in commands)
        printed = self._run(["bash"], _SHELL + script, block).split(_END)
        assert len(printed) == 2 * len(commands) + 1, f"{block} ends before its end:\n{printed}"
        for command, output, code in zip(commands, printed[::2], map(int, printed[1::2]), strict=False):
            told = f"{block}: {command.text}\nends with {code} and prints:\n{output}"
            if again:
                assert code == self.codes.pop(0), f"the second time {told}"
                continue
            self.codes.append(code)
            assert same(command.shown, output) if command.shown else code == 0, told

    def _run(self, program: list[str], text: str, block: Block) -> str:
        ended = subprocess.run(
            program,
            input=_PORTS.sub(self._port, text),
            cwd=self.folder,
            env={**self.environment, "VISAVIS_PORT": self._port, "SERVER": str(self._server)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        assert ended.returncode == 0 or program == ["bash"], f"{block} ends with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout


def _printed_as(code: str) -> Iterator[str]:
    """Yield the comments behind what is printed: what is printed there."""
    lines = {
        node.end_lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT and token.start[0] in lines:
            yield token.string.lstrip("# ")


def named(page: str, *names: str) -> dict[str, Any]:
    """Return what the page of ``visavis cluster`` saves once groups have these names, as its script does."""
    groups = [json.loads(html.unescape(each)) for each in re.findall(r'data-faces="(.*?)"', page)]
    faces = [{"name": name, "photo": photo, "box": box} for name, of in zip(names, groups) for photo, box in of]  # noqa: B905  # the others have none
    return {"visavis_names": 1, "faces": faces}


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a reader whose home is empty: nothing of visavis is set.

    Args:
        home: the folder; gets the settings of curl, which tells failure by its exit code then.
    """
    home.mkdir()
    (home / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VISAVIS_", "XDG_"))}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Unbuffered, so that what goes to standard error and to standard output is in order.
    terminal = {"TERM": "dumb", "COLUMNS": "200", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, **terminal, "HOME": str(home), "PATH": programs}


def lacks(block: Block) -> str:
    """Return the program that a block needs and that is not here, or nothing."""
    if block.language == "js":
        node = shutil.which("node")
        version = (
            subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else "v0"
        )
        return "" if int(version.strip("v\n").split(".")[0]) >= NODE else f"Node {NODE}"
    needed = ["bash", *(name for name in ("curl", "parallel") if f"{name} " in block.text)]
    return next((name for name in needed if block.language == "console" and shutil.which(name) is None), "")
