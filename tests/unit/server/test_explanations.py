"""A question to a worker, and what comes of it when the worker answers, does not, or is not there."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from accel.errors import RequestError
from accel.http.message import Request
from accel.server import explaining
from accel.server.channel import Channel, Explain, Explained, Message
from accel.server.explaining import Explanations

REQUEST = Request(b"GET", b"/", b"a.example", b"a.example")


class Worker:
    """A channel to a worker that takes questions, or does not."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.questions: list[Explain] = []

    def send(self, message: Message) -> bool:
        """As `Channel.send`."""
        assert isinstance(message, Explain)
        if self.takes:
            self.questions.append(message)
        return self.takes


def asking(*workers: Worker) -> Explanations:
    """Return the arbiter's side before these workers."""
    return Explanations(lambda: cast(list[Channel], list(workers)))


async def test_one_worker_is_asked_and_its_facts_come_back() -> None:
    stuck, well, other = Worker(takes=False), Worker(), Worker()
    explanations = asking(stuck, well, other)

    task = asyncio.create_task(explanations.ask(REQUEST, "192.0.2.1"))
    await asyncio.sleep(0)
    (question,) = well.questions
    explanations.answered(Explained(question.ticket + 1, b"{}"))
    explanations.answered(Explained(question.ticket, b'{"outcome": "hit"}'))
    explanations.answered(Explained(question.ticket, b'{"outcome": "late"}'))

    assert await task == {"outcome": "hit"}
    assert (question.request, question.client_ip, other.questions) == (REQUEST, "192.0.2.1", [])


async def test_without_a_worker_or_an_answer_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "ANSWER_S", 0.001)

    with pytest.raises(RequestError, match="no worker serves"):
        await asking(Worker(takes=False)).ask(REQUEST, "")
    with pytest.raises(RequestError, match="does not answer"):
        await asking(Worker()).ask(REQUEST, "")


async def test_what_is_no_explanation_is_an_error() -> None:
    worker = Worker()
    explanations = asking(worker)
    task = asyncio.create_task(explanations.ask(REQUEST, ""))
    await asyncio.sleep(0)
    explanations.answered(Explained(worker.questions[0].ticket, b"[]"))

    with pytest.raises(RequestError, match="no explanation"):
        await task
