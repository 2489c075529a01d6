"""A question to a worker, and what comes of it when the worker answers, does not, or is not there."""

from __future__ import annotations

import asyncio
import zlib
from typing import cast

import pytest

from accel.errors import RequestError
from accel.http.message import Request
from accel.server import inquiries
from accel.server.channel import Ask, Channel, Dump, Explain, Message, Told
from accel.server.inquiries import Inquiries, packed

QUESTION = Explain(Request(b"GET", b"/", b"a.example", b"a.example"), "192.0.2.1")


class Worker:
    """A channel to a worker that takes questions, or does not."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.questions: list[Ask] = []

    def send(self, message: Message) -> bool:
        """As `Channel.send`."""
        assert isinstance(message, Ask)
        if self.takes:
            self.questions.append(message)
        return self.takes


def asking(*workers: Worker) -> Inquiries:
    """Return the arbiter's side before these workers."""
    return Inquiries(lambda: cast(dict[int, Channel], dict(enumerate(workers))))


async def test_one_worker_is_asked_and_its_facts_come_back() -> None:
    stuck, well, other = Worker(takes=False), Worker(), Worker()
    asked = asking(stuck, well, other)

    task = asyncio.create_task(asked.ask(QUESTION))
    await asyncio.sleep(0)
    (question,) = well.questions
    asked.answered(Told(question.ticket + 1, packed({})))
    asked.answered(Told(question.ticket, packed({"outcome": "hit"})))
    asked.answered(Told(question.ticket, packed({"outcome": "late"})))

    assert await task == {"outcome": "hit"}
    assert (question.question, other.questions) == (QUESTION, [])


async def test_a_certain_worker_is_asked_and_one_that_is_not_there_is_said() -> None:
    first, second = Worker(), Worker()
    asked = asking(first, second)

    task = asyncio.create_task(asked.ask(QUESTION, 1))
    await asyncio.sleep(0)
    asked.answered(Told(second.questions[0].ticket, packed({"a": 1})))

    assert (await task, first.questions) == ({"a": 1}, [])
    with pytest.raises(RequestError, match="no worker 3 that serves"):
        await asked.ask(QUESTION, 2)


async def test_of_all_each_answer_stands_for_itself() -> None:
    well, gone = Worker(), Worker(takes=False)
    asked = asking(well, gone)

    task = asyncio.create_task(asked.ask_all(Dump()))
    await asyncio.sleep(0.001)
    asked.answered(Told(well.questions[0].ticket, packed({"tasks": []})))

    assert await task == {0: {"tasks": []}, 1: {"error": "no worker serves"}}


async def test_without_a_worker_or_an_answer_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiries, "ANSWER_S", 0.001)

    with pytest.raises(RequestError, match="no worker serves"):
        await asking(Worker(takes=False)).ask(QUESTION)
    with pytest.raises(RequestError, match="does not answer"):
        await asking(Worker()).ask(QUESTION)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{}", "no answer that can be read"),
        (packed({})[:-9], "no answer that can be read"),
        (zlib.compress(b"[]"), "no answer that can be read"),
        (packed({"error": "busy"}), "busy"),
    ],
)
async def test_what_is_no_answer_is_an_error(data: bytes, said: str) -> None:
    worker = Worker()
    asked = asking(worker)
    task = asyncio.create_task(asked.ask(QUESTION))
    await asyncio.sleep(0)
    asked.answered(Told(worker.questions[0].ticket, data))

    with pytest.raises(RequestError, match=said):
        await task
