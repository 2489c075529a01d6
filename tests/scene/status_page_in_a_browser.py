"""The status page in a real browser: not part of the suite, since a browser takes longer to install than most of it.

    apt-get install chromium && pip install -e '.[test,browser]'
    pytest tests/scene/status_page_in_a_browser.py --basetemp=/tmp/pages    # leaves its screenshots there

ACCEL_CHROMIUM names the browser if it is not /usr/bin/chromium. What of the page needs none is tested in
tests/unit/server/test_status_page.py.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, StartFaultOrigin, raw, reply
from http_clients import ask
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = os.environ.get("ACCEL_CHROMIUM", "/usr/bin/chromium")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ADMIN = "127.0.0.1:19580"
SOON_MS, AT_ONCE_MS = 20_000, 300
PAGES = 200
DEATHS = 5
"""Of one worker, each younger than half a second: then the next one comes after two seconds or more."""
expect.set_options(timeout=SOON_MS)
MOST_HIT = re.compile(r"^([5-9]\d|100)\b.*%")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=20_000)
        yield running
        running.close()


class Shown:
    """The page in one browser window, and what its console said."""

    def __init__(self, browser: Browser, size: dict[str, int], scheme: str = "light") -> None:
        self.said: list[str] = []
        self.page: Page = browser.new_page(viewport=size, color_scheme=scheme)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.set_default_timeout(SOON_MS)
        self.page.goto(f"http://{ADMIN}/")
        self.page.wait_for_selector("#workers tbody tr")

    def figure(self, name: str) -> Locator:
        return self.page.locator(".tile", has_text=name).locator("b")

    def keep(self, picture: Path) -> None:
        """Keep a screenshot."""
        self.page.screenshot(path=picture, full_page=True)

    def close(self, picture: Path) -> None:
        """Keep a screenshot; fail if the page is wider than its window or its console said anything."""
        self.keep(picture)
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        self.page.close()
        assert (self.said, wide) == ([], 0)


class Load:
    """A client that asks on and on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            connection = http.client.HTTPConnection("127.0.0.1", self._port)
            with suppress(ConnectionError, http.client.HTTPException):  # its worker may be killed
                connection.request("GET", f"/page/{number % PAGES if number % 3 else 0}")
                connection.getresponse().read()
            connection.close()


@pytest.fixture
def two(start_fault_origin: StartFaultOrigin) -> list[FaultOrigin]:
    origins = [start_fault_origin(), start_fault_origin()]
    for origin in origins:
        for number in range(PAGES):
            origin.on(f"/page/{number}", reply(b"x" * 20_000, "Cache-Control: max-age=60"))
    return origins


@pytest.fixture
def accel(start_accel: StartAccel, two: list[FaultOrigin]) -> Accel:
    flags = ("--admin", ADMIN, "--memory", "16m", "--probe-interval", "200ms")
    return start_accel([origin.backend for origin in two], *flags)


def test_idle_it_shows_workers_backends_and_an_empty_store(accel: Accel, browser: Browser, tmp_path: Path) -> None:
    shown = Shown(browser, DESKTOP)

    expect(shown.page.locator("#verdict")).to_have_text("all is well")
    expect(shown.page.locator("#backends tbody tr")).to_have_count(2)
    expect(shown.figure("requests a second")).to_have_text("0")
    shown.close(tmp_path / "idle.png")


@pytest.mark.parametrize(
    ("name", "size", "scheme"), [("load", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")]
)
def test_under_load_its_figures_move(
    accel: Accel, browser: Browser, tmp_path: Path, name: str, size: dict[str, int], scheme: str
) -> None:
    shown = Shown(browser, size, scheme)

    with Load(accel.port):
        expect(shown.figure("hit ratio")).to_have_text(MOST_HIT)
        first = shown.page.locator("#about").inner_text()
        expect(shown.page.locator("#about")).not_to_have_text(first)
        expect(shown.figure("requests a second")).not_to_have_text("0")
        expect(shown.page.locator("#store div", has_text="stored in all").locator("dd")).to_have_text(str(PAGES))
        expect(shown.page.locator("#misses tbody")).to_contain_text("nothing was stored for it")
        expect(shown.figure("median time of misses")).to_have_text(re.compile("s$"))
        paper = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown.close(tmp_path / f"{name}.png")

    assert (paper == "rgb(18, 21, 26)") is (scheme == "dark")


def test_a_button_takes_a_backend_out_and_gives_it_back(
    accel: Accel, two: list[FaultOrigin], browser: Browser, tmp_path: Path
) -> None:
    shown, address = Shown(browser, DESKTOP), two[0].backend
    row = shown.page.locator("#backends tbody tr", has_text=address)

    row.get_by_role("button", name="Drain").click()
    accel.wait_backend(address, "draining")
    expect(row.locator(".state")).to_have_text("draining")
    expect(row.get_by_role("button")).to_have_text("Enable", timeout=AT_ONCE_MS)
    shown.keep(tmp_path / "draining.png")
    row.get_by_role("button", name="Enable").click()
    accel.wait_backend(address, "up")

    expect(row.get_by_role("button")).to_have_text("Drain")
    shown.close(tmp_path / "enabled.png")


def test_a_backend_that_is_down_is_said_with_its_reason(
    accel: Accel, two: list[FaultOrigin], browser: Browser, tmp_path: Path
) -> None:
    shown = Shown(browser, DESKTOP)

    for origin in two:
        origin.on("/broken", raw(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
    ask(accel, "/broken")
    two[0].end()
    with Load(accel.port):
        expect(shown.page.locator("#problems")).to_contain_text(f"backend {two[0].backend} is down")

    expect(shown.page.locator("#verdict")).to_have_text("one thing to look at")
    expect(shown.page.locator("#errors tbody tr")).to_contain_text("/broken")
    shown.close(tmp_path / "down.png")


def test_a_worker_that_is_replaced_is_counted(accel: Accel, browser: Browser, tmp_path: Path) -> None:
    shown = Shown(browser, DESKTOP)

    os.kill(accel.worker_pids()[0], signal.SIGKILL)

    expect(shown.page.locator("#workers tbody tr").first.locator("[data-label=restarts]")).to_have_text("1")
    expect(shown.page.locator("#workers .state").first).to_have_text("accepting")
    shown.close(tmp_path / "restarted.png")


def test_a_worker_that_dies_young_is_shown_restarting_until_its_successor_accepts(
    accel: Accel, browser: Browser, tmp_path: Path
) -> None:
    shown = Shown(browser, DESKTOP)
    first = shown.page.locator("#workers tbody tr").first

    with Load(accel.port):
        kill_young(accel, DEATHS)
        expect(first.locator(".state")).to_have_text("restarting")
        expect(shown.page.locator("#problems")).to_contain_text("1 of 2 workers accept connections")
        shown.keep(tmp_path / "restarting.png")
        expect(first.locator(".state")).to_have_text("accepting")
        expect(first.locator("[data-label=restarts]")).to_have_text(str(DEATHS))
        expect(shown.page.locator("#verdict")).to_have_text("all is well")

    shown.close(tmp_path / "restarted_again.png")


def kill_young(accel: Accel, times: int) -> None:
    """Kill worker 1 and its successors, each as soon as it is there: the more often, the longer accel waits."""
    killed = 0
    while killed < times:
        row = eventually("one is there", lambda: next((one for one in accel.workers() if one["number"] == 1), None))
        if row["restarts"] == killed:
            os.kill(row["pid"], signal.SIGKILL)
            killed += 1


def test_when_accel_stops_the_page_says_so_and_goes_on_with_the_next(
    accel: Accel, start_accel: StartAccel, two: list[FaultOrigin], browser: Browser
) -> None:
    shown = Shown(browser, DESKTOP)

    accel.stop()
    expect(shown.page.locator("#verdict")).to_have_text("accel does not answer")
    start_accel([two[0].backend], "--admin", ADMIN)

    expect(shown.page.locator("#backends tbody tr")).to_have_count(1)
    shown.page.close()
