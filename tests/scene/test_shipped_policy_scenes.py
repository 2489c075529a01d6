"""The policies that come with the project, as they are, before real applications: Django, Flask, Tornado, nginx.

WordPress has a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import origins
import pytest
from accel_process import Accel, StartAccel
from children import eventually
from http_clients import Answer, ask
from visitors import Visitor

POLICIES = Path(__file__).parents[2] / "policies"
DAY_S = 86400
DJANGO, SHOP, API, DOCS, MEDIA = (f"{name}.example.org" for name in ("django", "shop", "api", "docs", "media"))

pytestmark = pytest.mark.scene


@pytest.fixture(scope="module")
def django_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[origins.Origin]:
    """Return the Django site, run by gunicorn."""
    origin = origins.gunicorn(tmp_path_factory.mktemp("django"), "sync", 2, "django_site:application")
    yield origin
    origin.stop()


@pytest.fixture(scope="module")
def flask_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[origins.Origin]:
    """Return the Flask shop, run by gunicorn."""
    origin = origins.gunicorn(tmp_path_factory.mktemp("flask"), "sync", 2, "flask_shop:app")
    yield origin
    origin.stop()


@pytest.fixture
def django(start_accel: StartAccel, django_site: origins.Origin) -> Accel:
    """Return accel before the Django site, with the policy for it."""
    return start_accel(django_site.backends, "--policy", str(POLICIES / "django.policy"))


@pytest.fixture
def shop(start_accel: StartAccel, flask_shop: origins.Origin) -> Accel:
    """Return accel before the shop, with the policy for it."""
    return start_accel(flask_shop.backends, "--policy", str(POLICIES / "shop.policy"))


def lifetime_s(answer: Answer) -> int:
    """Return how long a hit will be fresh still."""
    found = re.search(r"\bttl=(-?\d+)", answer.cache_status)
    assert found, answer.cache_status
    return int(found[1])


def token_of(answer: Answer) -> str:
    """Return the CSRF token in a form."""
    found = re.search(rb'value="(\w+)"', answer.body)
    assert found, answer.body
    return found[1].decode()


# Django.


def test_strangers_share_django_pages_whatever_links_they_followed(django: Accel) -> None:
    first = Visitor(django, DJANGO).get("/news/?page=1")

    others = [
        Visitor(django, DJANGO, {"_ga": str(number)}).get(f"/news/?utm_source={number}&page=1&gclid={number}")
        for number in range(8)
    ]

    assert first.fields["vary"] == "Cookie"
    assert first.fields["x-saw"] == "/news/?page=1 cookies="
    assert all(answer.is_hit for answer in others)
    assert {answer.served for answer in others} == {first.served}
    assert 0 < lifetime_s(others[0]) <= 60


def test_a_django_session_is_passed_from_login_to_logout(django: Accel) -> None:
    stranger, ada = Visitor(django, DJANGO), Visitor(django, DJANGO)
    token = token_of(ada.get("/accounts/login/"))

    redirected = ada.post("/accounts/login/", name="Ada", csrfmiddlewaretoken=token)
    greeted, again = ada.get("/"), ada.get("/")

    assert (redirected.status, redirected.fields["location"]) == (302, "/")
    assert b"Hello Ada" in greeted.body
    assert greeted.served != again.served
    assert "fwd=bypass" in greeted.cache_status
    pages = [stranger.get("/"), ada.get("/"), stranger.get("/")]
    assert [b"Hello Ada" in page.body for page in pages] == [False, True, False]
    assert pages[2].is_hit and pages[2].served == pages[0].served
    ada.get("/accounts/logout/")
    assert "sessionid" not in ada.cookies
    assert ada.get("/").is_hit


def test_django_forms_have_their_own_tokens_and_a_comment_drops_the_page_it_is_on(django: Accel) -> None:
    ada, bob = Visitor(django, DJANGO), Visitor(django, DJANGO)
    before = bob.get("/news/")
    forms = [token_of(ada.get("/comment/")), token_of(bob.get("/comment/"))]

    posted = ada.post("/news/", text="well said", csrfmiddlewaretoken=forms[0])
    thanked = ada.get("/news/")

    assert forms[0] != forms[1]
    assert ada.cookies["csrftoken"] != bob.cookies["csrftoken"]
    assert posted.status == 302
    assert b"Thank you" in thanked.body
    after = bob.get("/news/")
    assert b"well said" in after.body
    assert b"Thank you" not in after.body
    assert after.served != before.served
    assert ada.get("/news/").served == after.served


def test_a_forged_form_is_refused_and_drops_nothing(django: Accel) -> None:
    stranger = Visitor(django, DJANGO)
    before = stranger.get("/news/")

    forged = stranger.post("/news/", text="spam", csrfmiddlewaretoken="a" * 64)

    assert forged.status == 403
    assert stranger.get("/news/").served == before.served


def test_django_static_files_live_long_and_need_no_cookies(django: Accel) -> None:
    ada, stranger = Visitor(django, DJANGO, {"sessionid": "x"}), Visitor(django, DJANGO)
    first = ada.get("/static/site.0123456789ab.css")
    plain = ada.get("/static/site.css")

    again, plain_again = stranger.get("/static/site.0123456789ab.css"), stranger.get("/static/site.css")

    assert first.fields["x-saw"].endswith(".css cookies=")
    assert again.is_hit and lifetime_s(again) > 300 * DAY_S
    assert plain_again.served == plain.served and 3000 < lifetime_s(plain_again) <= 3600


def test_after_a_deployment_django_pages_are_purged_by_tag_without_a_wait(django: Accel) -> None:
    stranger = Visitor(django, DJANGO)
    home, news = stranger.get("/"), stranger.get("/news/")

    purged = ask(django, "/", "PURGE", host=DJANGO, surrogate_key="news")

    assert purged.status == 200
    assert stranger.get("/news/").served == news.served
    eventually("the page is made anew", lambda: stranger.get("/news/").served != news.served)
    assert stranger.get("/").served == home.served
    assert "surrogate-key" not in news.fields


# Flask.


def test_strangers_share_the_shops_pages_and_each_currency_has_its_own(shop: Accel) -> None:
    first = Visitor(shop, SHOP).get("/p/17")

    clicked = Visitor(shop, "www." + SHOP, {"_ga": "1"}).get("/p/17?utm_source=mail&fbclid=2")
    dollars = [Visitor(shop, SHOP, {"currency": "usd", "_ga": str(number)}).get("/p/17") for number in range(3)]

    assert clicked.is_hit and clicked.served == first.served
    assert b"34 eur" in first.body
    assert all(b"34 usd" in answer.body for answer in dollars)
    assert len({answer.served for answer in dollars}) == 1
    assert dollars[0].fields["x-saw"] == "/p/17? cookies=currency"


def test_a_cart_is_nobody_elses_and_whoever_has_one_is_passed(shop: Accel) -> None:
    ada, bob = Visitor(shop, SHOP), Visitor(shop, SHOP)
    shared = bob.get("/")

    ada.post("/cart/", product="17")
    ada.post("/cart/", product="18")

    assert ada.get("/cart/").body == b"in your cart: 17 18"
    assert bob.get("/cart/").body == b"in your cart: "
    assert ada.get("/").served != ada.get("/").served
    assert bob.get("/").served == shared.served


def test_a_login_to_the_shop_is_never_shared(shop: Accel) -> None:
    ada, stranger = Visitor(shop, SHOP), Visitor(shop, SHOP)

    ada.post("/login", name="Ada")
    pages = [ada.get("/").body, stranger.get("/").body, ada.get("/").body, stranger.get("/").body]

    assert [b"Hello Ada" in page for page in pages] == [True, False, True, False]
    assert stranger.get("/").is_hit


def test_a_review_drops_the_product_in_every_currency(shop: Accel) -> None:
    euros, dollars = Visitor(shop, SHOP), Visitor(shop, SHOP, {"currency": "usd"})
    before = [euros.get("/p/21").served, dollars.get("/p/21").served]

    assert euros.post("/p/21", text="splendid").status == 303

    after = [euros.get("/p/21"), dollars.get("/p/21")]
    assert all(b"splendid" in answer.body for answer in after)
    assert not {answer.served for answer in after} & set(before)


def test_after_a_deployment_the_shop_is_purged_without_a_wait(shop: Accel) -> None:
    stranger = Visitor(shop, SHOP)
    old = {target: stranger.get(target).served for target in ("/p/1", "/p/2", "/static/shop.css?v=1")}

    purged = ask(shop, "/", "PURGE", host=SHOP, surrogate_key="product-1")

    assert purged.status == 200
    assert stranger.get("/p/1").served == old["/p/1"]
    eventually("the product is made anew", lambda: stranger.get("/p/1").served != old["/p/1"])
    assert stranger.get("/p/2").served == old["/p/2"]
    style = stranger.get("/static/shop.css?v=1&utm_source=a")
    assert style.served == old["/static/shop.css?v=1"]
    assert lifetime_s(style) > 300 * DAY_S


# Tornado and nginx.


def test_an_apis_answers_are_shared_by_format_and_credentials_are_passed(
    start_accel: StartAccel, tornado: origins.Origin
) -> None:
    accel = start_accel(tornado.backends, "--policy", str(POLICIES / "api.policy"))
    client = Visitor(accel, API)
    first = client.get("/v1/prices?b=2&a=1", accept="application/json", user_agent="a")

    again = client.get("/v1/prices?a=1&b=2&_=17", accept="application/json", user_agent="b")
    table = client.get("/v1/prices?a=1&b=2", accept="text/csv")
    mine = client.get("/v1/prices?a=1&b=2", accept="application/json", authorization="Bearer ada")

    assert again.served == first.served and again.fields["x-cache"] == "hit"
    assert table.body == b"hat,17"
    assert b"Bearer ada" in mine.body and mine.fields["x-cache"] == "pass"
    assert client.get("/.env").status == 404
    assert ask(accel, "/", "PURGE", host=API, surrogate_key="prices").status == 200
    assert client.get("/v1/prices?a=1&b=2", accept="application/json").served != first.served


def test_a_static_site_is_one_page_an_address(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, "--policy", str(POLICIES / "static-site.policy"))
    visitor = Visitor(accel, DOCS, {"a": "1"})
    visitor.get("/coded/page.html?utm_source=a")
    visitor.get("/media/style.3f2a9c1b.css")

    page, style = visitor.get("/coded/page.html?utm_source=b"), visitor.get("/media/style.3f2a9c1b.css")

    assert page.is_hit and "server" not in page.fields
    assert style.is_hit and lifetime_s(style) > 300 * DAY_S
    moved = Visitor(accel, "www." + DOCS).get("/guide/?a=1")
    assert (moved.status, moved.fields["location"]) == (301, f"http://{DOCS}/guide/?a=1")


def test_media_are_answered_in_ranges_from_the_stored_whole(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, "--policy", str(POLICIES / "media.policy"))
    player = Visitor(accel, MEDIA)
    before = player.get("/media/film.mp4?token=a", range="bytes=0-1")
    whole = player.get("/media/film.mp4?token=a&_=1")

    part = Visitor(accel, MEDIA, {"player": "2"}).get("/media/film.mp4?token=a&_=2", range="bytes=256-259")

    assert (before.status, before.body) == (206, b"\x00\x01")
    assert len(whole.body) == 65536
    assert (part.status, part.body) == (206, b"\x00\x01\x02\x03")
    assert part.is_hit and part.fields["content-range"] == "bytes 256-259/65536"


def test_several_sites_are_served_by_one_daemon_each_with_its_rules_and_pool(
    start_accel: StartAccel, flask_shop: origins.Origin, tornado: origins.Origin, tmp_path: Path
) -> None:
    servers = {"shop.policy": flask_shop, "api.policy": tornado}
    for path in (POLICIES / "sites").glob("*.policy"):
        text = path.read_text("utf-8")
        if path.name in servers:
            text, count = re.subn(r"servers .*", f"servers {', '.join(servers[path.name].backends)}", text)
            assert count == 1
        (tmp_path / path.name).write_text(text, "utf-8")
    accel = start_accel([], "--policy", str(tmp_path))

    pages = [Visitor(accel, host).get("/p/3?gclid=1") for host in ("www." + SHOP, SHOP)]
    prices = [Visitor(accel, host).get("/v1/prices").body for host in (API, "eu." + API)]

    assert pages[1].is_hit and pages[0].served == pages[1].served
    assert all(b"hat" in body for body in prices)
    assert Visitor(accel, SHOP).get("/v1/prices").status == 404
    assert Visitor(accel, "elsewhere.example").get("/p/3").body == b"there is no such site here"
