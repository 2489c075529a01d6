"""policies/wordpress.policy, as it is, before a real WordPress: strangers, its user, commenters, a cart, and a plug-in
that purges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import wordpress_site
from accel_process import Accel
from http_clients import Answer, ask
from visitors import Visitor
from wordpress_site import HOST, PASSWORD, WordPress

POLICY = Path(__file__).parents[2] / "policies" / "wordpress.policy"
POST = "/hello-world/"
STYLE = "/wp-content/themes/scene/style.css"

pytestmark = pytest.mark.scene


@pytest.fixture(scope="module")
def wordpress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WordPress]:
    """Return a real WordPress."""
    with wordpress_site.running(tmp_path_factory.mktemp("wordpress")) as site:
        yield site


@pytest.fixture(scope="module")
def running(wordpress: WordPress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accel]:
    """Return accel before it, with the policy for it; the plug-in knows where to purge."""
    accel = Accel(tmp_path_factory.mktemp("accel"), wordpress.backends, "--policy", str(POLICY))
    try:
        accel.wait_ready()
        wordpress.purges_at(accel.port)
        yield accel
        accel.stop()
    finally:
        accel.end()


@pytest.fixture
def blog(running: Accel) -> Accel:
    """Return it with nothing stored, as after a deployment."""
    assert ask(running, "/", "PURGE", host=HOST, purge="all").status == 200
    return running


def stranger(blog: Accel) -> Visitor:
    """Return somebody new."""
    return Visitor(blog, HOST)


def logged_in(blog: Accel) -> Visitor:
    """Return ada, who has filled in the form."""
    ada = stranger(blog)
    assert b"loginform" in ada.get("/wp-login.php").body
    entered = ada.post("/wp-login.php", log="ada", pwd=PASSWORD, testcookie="1")
    assert (entered.status, entered.fields["location"]) == (302, f"http://{HOST}/wp-admin/")
    return ada


def comment(visitor: Visitor, text: str, **more: str) -> str:
    """Comment on the post; return where WordPress sends the visitor then."""
    form = {"comment_post_ID": "1", "comment": text, "author": "Bob", "email": "bob@example.org"}
    answer = visitor.post("/wp-comments-post.php", **form, **more)
    assert answer.status == 302, answer.body
    return answer.fields["location"].removeprefix(f"http://{HOST}").partition("#")[0]


def rest(visitor: Visitor, target: str, **form: str) -> Answer:
    """Change something through the API, as the editor does: with a nonce for the visitor's session."""
    nonce = visitor.get("/wp-admin/admin-ajax.php?action=rest-nonce").body.decode()
    return visitor.post(f"{target}?_wpnonce={nonce}", **form)


def names_like(visitor: Visitor, prefix: str) -> list[str]:
    """Return the visitor's cookies whose names begin so."""
    return [name for name in visitor.cookies if name.startswith(prefix)]


def is_passed(answer: Answer) -> bool:
    """Whether accel neither answered from the store nor kept the answer."""
    return "fwd=bypass" in answer.cache_status and "stored" not in answer.cache_status


def test_strangers_share_pages_whatever_links_and_cookies_brought_them(blog: Accel) -> None:
    first = stranger(blog).get(POST)

    others = [
        Visitor(blog, host, {"_ga": "1", "wordpress_test_cookie": "WP%20Cookie%20check"}).get(
            f"{POST}?utm_source=mail&fbclid={host}", user_agent=host
        )
        for host in (HOST, f"www.{HOST}")
    ]

    assert first.fields["x-saw"] == f"{POST} cookies="
    assert all(answer.is_hit and answer.served == first.served for answer in others)
    assert b"Hello stranger" in first.body
    assert not {"x-pingback", "server", "x-powered-by"} & first.fields.keys()


def test_whoever_is_logged_in_is_never_shared_nor_served_what_is_shared(blog: Accel) -> None:
    bob, ada = stranger(blog), logged_in(blog)
    shared = bob.get(POST)

    greeted, again, after = ada.get(POST), ada.get(POST), bob.get(POST)

    assert names_like(ada, "wordpress_logged_in_")
    assert all(b"Hello ada" in page.body and is_passed(page) for page in (greeted, again))
    assert greeted.served != again.served
    assert after.is_hit and after.served == shared.served
    assert b"Hello stranger" in after.body
    assert is_passed(ada.get("/wp-admin/")) and b"Dashboard" in ada.get("/wp-admin/").body
    away = bob.get("/wp-admin/")
    assert (away.status, is_passed(away)) == (302, True)


def test_after_a_logout_pages_are_shared_again(blog: Accel) -> None:
    ada = logged_in(blog)
    link = re.search(rb"action=logout&(?:amp|#038);_wpnonce=(\w+)", ada.get("/wp-admin/").body)
    assert link

    ada.get(f"/wp-login.php?action=logout&_wpnonce={link[1].decode()}")

    assert not names_like(ada, "wordpress_logged_in_")
    assert ada.get(POST).served == stranger(blog).get(POST).served


@pytest.mark.parametrize("consent", ["", "yes"])
def test_who_comments_sees_what_waits_for_approval_and_nobody_else_does(blog: Accel, consent: str) -> None:
    bob, text = stranger(blog), f"well said, consent={consent}"
    stranger(blog).get(POST)

    where = comment(bob, text, **({"wp-comment-cookies-consent": consent} if consent else {}))
    shown = [bob.get(where), bob.get(where)]

    assert bool(names_like(bob, "comment_author_")) is bool(consent)
    assert all(text.encode() in page.body for page in shown)
    assert all(is_passed(page) for page in shown)
    others = [stranger(blog).get(POST), stranger(blog).get(POST)]
    assert others[1].is_hit and others[1].served == others[0].served
    assert all(text.encode() not in page.body for page in others)


def test_what_is_approved_or_edited_is_seen_at_once_since_the_plug_in_purges(blog: Accel) -> None:
    bob, ada, text = stranger(blog), logged_in(blog), b"a word that waited"
    where = comment(bob, text.decode())
    pages = [stranger(blog).get(target) for target in (POST, "/", "/feed/")]
    [number] = re.findall(r"unapproved=(\d+)", where)

    approved = rest(ada, f"/wp-json/wp/v2/comments/{number}", status="approved")
    seen = stranger(blog).get(POST)
    edited = rest(ada, "/wp-json/wp/v2/posts/1", title="Goodbye")

    assert (approved.status, edited.status) == (200, 200)
    assert text not in pages[0].body and text in seen.body
    for target, old in zip((POST, "/", "/feed/"), pages, strict=True):
        new = stranger(blog).get(target)
        assert b"Goodbye" in new.body and new.served != old.served
        assert stranger(blog).get(target).is_hit


@pytest.mark.parametrize(("target", "how"), [("/", {"purge": "all"}), ("/.*", {"x_purge_method": "regex"})])
def test_a_deployment_or_the_plug_ins_button_purges_everything(blog: Accel, target: str, how: dict[str, str]) -> None:
    pages = {page: stranger(blog).get(page).served for page in (POST, "/", f"{STYLE}?ver=1.0")}

    assert ask(blog, target, "PURGE", host=f"www.{HOST}", **how).status == 200

    assert all(stranger(blog).get(page).served != served for page, served in pages.items())


def test_files_are_shared_by_version_without_a_cookie(blog: Accel) -> None:
    for name in (STYLE, "/wp-includes/js/jquery/jquery.min.js"):
        first = Visitor(blog, HOST, {"wordpress_logged_in_1": "ada"}).get(f"{name}?ver=1.0&fbclid=1")

        again, newer = stranger(blog).get(f"{name}?ver=1.0"), stranger(blog).get(f"{name}?ver=1.1")

        assert first.fields["x-saw"] == f"{name}?ver=1.0 cookies="
        assert again.is_hit and again.served == first.served
        assert newer.served != first.served
        assert "set-cookie" not in first.fields | again.fields


def test_a_preview_is_never_stored(blog: Accel) -> None:
    ada, bob = logged_in(blog), stranger(blog)
    created = rest(ada, "/wp-json/wp/v2/posts", title="Not yet", status="draft")
    assert created.status == 201
    number = re.search(rb'"id":(\d+)', created.body)
    assert number
    draft = f"/?p={number[1].decode()}&preview=true"

    seen, by_bob = [ada.get(draft), ada.get(draft)], [bob.get(draft), bob.get(draft)]

    assert all(b"Not yet" in page.body and is_passed(page) for page in seen)
    assert all(b"Not yet" not in page.body and is_passed(page) for page in by_bob)


def test_a_protected_post_is_shown_to_who_gave_its_password_alone(blog: Accel) -> None:
    created = rest(
        logged_in(blog), "/wp-json/wp/v2/posts", title="Vault", content="gold", status="publish", password="x"
    )
    assert created.status == 201, created.body
    bob = stranger(blog)
    assert b"gold" not in bob.get("/vault/").body

    bob.post("/wp-login.php?action=postpass", post_password="x")

    assert names_like(bob, "wp-postpass_")
    pages = [bob.get("/vault/"), stranger(blog).get("/vault/"), bob.get("/vault/"), stranger(blog).get("/vault/")]
    assert [b"gold" in page.body for page in pages] == [True, False, True, False]
    assert pages[3].is_hit


def test_whoever_has_something_in_a_cart_is_passed(blog: Accel) -> None:
    bob = stranger(blog)
    assert b"cart: nothing" in bob.get(POST).body

    added = bob.get(f"{POST}?add-to-cart=7")

    assert is_passed(added) and "woocommerce_items_in_cart" in bob.cookies
    assert b"cart: 1" in bob.get(POST).body
    alone = stranger(blog).get(POST)
    assert alone.is_hit and b"cart: nothing" in alone.body


def test_feeds_and_searches_are_shared_and_searches_are_counted(blog: Accel) -> None:
    for target in ("/feed/", "/?s=hello"):
        first = stranger(blog).get(target)
        assert stranger(blog).get(f"{target}{'&' if '?' in target else '?'}utm_source=a").served == first.served

    statuses = [stranger(blog).get("/?s=hello").status for _ in range(20)]

    assert set(statuses) == {200, 429}


def test_the_api_is_passed(blog: Accel) -> None:
    answers = [stranger(blog).get(target) for target in ("/wp-json/wp/v2/posts", "/?rest_route=/wp/v2/posts") * 2]

    assert all(answer.status == 200 and is_passed(answer) for answer in answers)


def test_while_wordpress_is_down_strangers_get_the_last_page_and_its_back_office_says_so(
    blog: Accel, wordpress: WordPress
) -> None:
    before, ada = stranger(blog).get(POST), logged_in(blog)
    ask(blog, "/", "PURGE", host=HOST, purge="all", soft_purge="1")

    with wordpress.down():
        page, office = stranger(blog).get(POST), ada.get("/wp-admin/")

    blog.wait_backend(wordpress.backends[0], "up")
    assert (page.status, page.served) == (200, before.served)
    assert (office.status, office.body) == (503, b"The back office is down. Please try again in a minute.")
