"""Lines of a body as it comes: split, counted, timed, held in bounded memory."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from visavis.server.limits import Intake, Memory
from visavis.server.ndjson import LineReader
from visavis.server.problems import Problem
from visavis.server.runner import ClientGone

GONE: Message = {"type": "http.disconnect"}
T = TypeVar("T")


class Body:
    """What a client sends: pieces; then nothing more, unless it says that this is all, or leaves."""

    def __init__(self, *pieces: bytes, ends: bool = True, leaves: bool = False, most: int = 1000) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if ends:
            self.messages.append({"type": "http.request", "body": b"", "more_body": False})
        if leaves:
            self.messages.append(GONE)
        self.more = asyncio.Event()
        self.memory = Memory(most)
        self.stopping = False

    async def receive(self) -> Message:
        while not self.messages:
            self.more.clear()
            await self.more.wait()
        return self.messages.pop(0)

    def send(self, piece: bytes) -> None:
        self.messages.append({"type": "http.request", "body": piece, "more_body": True})
        self.more.set()

    def reader(self, timeout_s: float = 0.2) -> LineReader:
        intake = Intake({"type": "http", "headers": self.headers}, self.receive, self.memory, timeout_s)
        return LineReader(intake, lambda: self.stopping)


def run(test: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(test())


async def all_batches(reader: LineReader) -> list[list[tuple[int, bytes]]]:
    batches = []
    while batch := await reader.batch():
        batches.append([(line.number, line.data) for line in batch])
        for line in batch:
            reader.release(line)
    reader.close()
    return batches


def lines_of(*pieces: bytes, most: int = 1000) -> list[tuple[int, bytes]]:
    async def read() -> list[tuple[int, bytes]]:
        return [line for batch in await all_batches(Body(*pieces, most=most).reader()) for line in batch]

    return run(read)


@pytest.mark.parametrize("pieces", [(), (b"",), (b"\n",), (b"\r\n \n", b"\t\n")])
def test_no_lines(pieces: Sequence[bytes]) -> None:
    assert lines_of(*pieces) == []


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"a",), [(1, b"a")]),
        ((b"a\n",), [(1, b"a")]),
        ((b"a\nb",), [(1, b"a"), (2, b"b")]),
        ((b"a\r\n\r\nb\r\n",), [(1, b"a"), (3, b"b")]),
        ((b"a", b"b\nc", b"", b"\n", b"\n", b"d"), [(1, b"ab"), (2, b"c"), (4, b"d")]),
        ((b" a \n\n\n  b",), [(1, b"a"), (4, b"b")]),
        (
            (
                b"\xef\xbb",
                b"\xbfa\n\xef\xbb\xbfb",
            ),
            [(1, b"a"), (2, b"\xef\xbb\xbfb")],
        ),
        ((b"\xff\x00\n",), [(1, b"\xff\x00")]),
    ],
)
def test_lines(pieces: Sequence[bytes], lines: list[tuple[int, bytes]]) -> None:
    assert lines_of(*pieces) == lines


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\xef", b"")), max_size=10))
def test_however_it_is_cut_the_lines_are_those_of_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces).split(b"\n")
    expected = [(number, line.strip()) for number, line in enumerate(whole, 1) if line.strip()]
    assert lines_of(*pieces) == expected


def test_whole_lines_are_not_kept_waiting_for_more() -> None:
    async def test() -> None:
        body = Body(b'{"a":1}\n{"b', ends=False)
        reader = body.reader()
        assert [line.data for line in await reader.batch()] == [b'{"a":1}']
        body.send(b'":2}\n')
        assert [line.data for line in await reader.batch()] == [b'{"b":2}']
        reader.close()

    run(test)


def test_a_batch_has_some_hundreds_of_lines_and_about_so_many_bytes_as_a_request() -> None:
    async def test() -> None:
        batches = await all_batches(Body(*[b"x\n"] * 1100, most=10_000).reader())
        assert [len(batch) for batch in batches] == [500, 500, 100]
        batches = await all_batches(Body(*[b"x" * 499 + b"\n"] * 5, most=1000).reader())
        assert [len(batch) for batch in batches] == [2, 2, 1]

    run(test)


@pytest.mark.parametrize("pieces", [(b"x" * 1001,), (b"x" * 1001 + b"\n",), (b"x" * 600, b"x" * 401, b"\nb\n")])
def test_a_line_that_is_too_long_ends_it_after_the_lines_before(pieces: tuple[bytes, ...]) -> None:
    async def test() -> None:
        reader = Body(b"\na\n", *pieces, b"\nc\n", ends=False).reader()
        assert [line.data for line in await reader.batch()] == [b"a"]
        for _ in range(2):
            with pytest.raises(Problem, match="line 3 is too long: a line may have 1,000 bytes") as caught:
                await reader.batch()
            assert caught.value.code == "body_too_large"
        reader.close()

    run(test)


def test_the_longest_line_there_may_be() -> None:
    assert lines_of(b"x" * 1000 + b"\n", b"y" * 1000) == [(1, b"x" * 1000), (2, b"y" * 1000)]


def test_a_client_that_stalls() -> None:
    async def test() -> None:
        body = Body(b"a\n", ends=False)
        reader = body.reader()
        assert len(await reader.batch()) == 1
        await asyncio.sleep(0.3)  # the server's own time is not the client's
        body.send(b"b\n{")
        assert len(await reader.batch()) == 1
        with pytest.raises(Problem, match=r"the next bytes must arrive within 0\.2 s") as caught:
            await reader.batch()
        assert caught.value.code == "request_timeout"
        reader.close()

    run(test)


@pytest.mark.parametrize("pieces", [(), (b"a",), (b"a\nb",)])
def test_a_client_that_leaves(pieces: tuple[bytes, ...]) -> None:
    async def test() -> None:
        reader = Body(*pieces, ends=False, leaves=True).reader()
        with pytest.raises(ClientGone):
            await all_batches(reader)
        reader.close()

    run(test)


def test_a_server_that_stops() -> None:
    async def test() -> None:
        for pieces in ((), (b"b\n",) * 1000):  # nothing more comes, or there is no end to it
            body = Body(b"a\n", *pieces, ends=False)
            reader = body.reader(timeout_s=60)
            await reader.batch()
            reading = asyncio.ensure_future(all_batches(reader))
            await asyncio.sleep(0)
            body.stopping = True
            with pytest.raises(Problem, match="the server is stopping") as caught:
                await reading
            assert caught.value.code == "overloaded"
            reader.close()

    run(test)


def test_what_is_released_is_not_held() -> None:
    async def test() -> None:
        body = Body(b"a" * 100 + b"\n\n\n", b"b" * 100 + b"\r\n", b"c", ends=False)
        reader = body.reader()
        batch = await reader.batch()
        held = body.memory.held
        for line in batch:
            reader.release(line)
        assert (held, body.memory.held) == (204, 1)
        reader.close()

    run(test)


@pytest.mark.parametrize(("announced", "left"), [(None, 3), (b"1001", 3), (b"x", 3), (b"1000", 0), (b"0", 0)])
def test_a_small_body_may_be_taken_in_first(announced: bytes | None, left: int) -> None:
    async def test() -> None:
        body = Body(b"a\nb", b"c\n")
        body.headers = [] if announced is None else [(b"content-length", announced)]
        reader = body.reader()
        await reader.read_ahead()
        assert len(body.messages) == left
        assert [line.data for batch in [await reader.batch()] for line in batch] == [b"a", b"bc"]
        reader.close()

    run(test)


def test_what_goes_wrong_with_a_small_body_is_told_after_the_lines_before() -> None:
    async def test() -> None:
        body = Body(b"a\nb", ends=False)
        body.headers = [(b"content-length", b"9")]
        reader = body.reader()
        await reader.read_ahead()
        assert [line.data for line in await reader.batch()] == [b"a"]
        with pytest.raises(Problem, match="the next bytes must arrive"):
            await reader.batch()
        reader.close()

    run(test)


def test_where_memory_is_short_whole_lines_go_first_then_there_is_a_wait() -> None:
    async def test() -> None:
        body = Body(b"a\n", b"b\n", ends=False)
        body.memory.take(8001)
        reader = body.reader()
        waiting = asyncio.ensure_future(reader.batch())
        await asyncio.sleep(0.05)
        assert body.messages != []
        body.memory.free(10)
        batch = await waiting
        assert [line.data for line in batch] == [b"a", b"b"]
        body.send(b"c\n")
        body.memory.take(10)
        assert [line.data for line in await reader.batch()] == [b"c"]  # which was on its way
        with pytest.raises(Problem, match="too many large requests at once") as caught:
            await reader.batch()
        assert caught.value.code == "overloaded"
        reader.close()

    run(test)


def test_no_more_than_a_little_is_taken_in_ahead() -> None:
    async def test() -> None:
        body = Body(*[b"x" * 99_999 + b"\n"] * 5, ends=False, most=1_000_000)
        reader = body.reader()
        gone = asyncio.ensure_future(reader.gone())
        await asyncio.sleep(0.05)
        assert (gone.done(), len(body.messages)) == (False, 2)
        gone.cancel()
        assert len(await reader.batch()) == 5
        reader.close()

    run(test)


def test_while_a_batch_is_worked_on_leaving_is_noticed_and_nothing_is_lost() -> None:
    async def test() -> None:
        body = Body(b"a\n", ends=False)
        reader = body.reader()
        await reader.batch()
        gone = asyncio.ensure_future(reader.gone())
        for piece in (b"b\n", b"c", b"\nd\n"):
            body.send(piece)
        await asyncio.sleep(0.05)
        assert (gone.done(), body.messages) == (False, [])
        gone.cancel()
        assert [line.data for line in await reader.batch()] == [b"b", b"c", b"d"]
        gone = asyncio.ensure_future(reader.gone())
        body.send(b"e")
        body.messages.append(GONE)
        await asyncio.wait_for(gone, 5)
        await asyncio.wait_for(reader.gone(), 5)
        with pytest.raises(ClientGone):
            await reader.batch()
        reader.close()

    run(test)
