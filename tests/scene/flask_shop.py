"""A small Flask shop for policies/shop.policy: products, a login, a cart in the session, static files, tags.

Run as `gunicorn flask_shop:app`. Each answer says in X-Served in which turn it was made.
"""

from __future__ import annotations

import itertools
import os

import flask
from flask import Response, redirect, request, session
from werkzeug.wrappers import Response as AnyResponse

_turns = itertools.count()
_reviews: list[str] = []

app = flask.Flask(__name__, static_folder=None)
app.secret_key = "only for tests"


@app.after_request
def served(response: Response) -> Response:
    """Mark each answer with its turn, and with what the shop saw of the visitor."""
    response.headers["X-Served"] = f"{os.getpid()}-{next(_turns)}"
    response.headers["X-Saw"] = f"{request.full_path} cookies=" + ",".join(sorted(request.cookies))
    return response


@app.get("/")
def home() -> Response:
    """Greet; this looks at the session, so Flask adds `Vary: Cookie`."""
    return _tagged(f"<h1>Hello {session.get('name', 'stranger')}</h1>", "home")


@app.get("/p/<int:number>")
def product(number: int) -> Response:
    """Show a product, its price in the visitor's currency, and what others say."""
    currency = request.cookies.get("currency", "eur")
    return _tagged(f"<h1>{number}</h1>{number * 2} {currency} {' '.join(_reviews)}", f"product product-{number}")


@app.post("/p/<int:number>")
def review(number: int) -> AnyResponse:
    """Take what a visitor says of a product."""
    _reviews.append(request.form["text"])
    return redirect(f"/p/{number}", 303)


@app.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | str:
    """Begin a session."""
    if request.method == "GET":
        return "<form></form>"
    session["name"] = request.form["name"]
    return redirect("/", 303)


@app.route("/cart/", methods=["GET", "POST"])
def cart() -> str:
    """Show the cart, or put something in."""
    if request.method == "POST":
        session["cart"] = [*session.get("cart", []), request.form["product"]]
    return f"in your cart: {' '.join(session.get('cart', []))}"


@app.get("/static/<name>")
def static_file(name: str) -> Response:
    """Answer a file, as a server of files does."""
    return Response("body { color: teal }", content_type="text/css")


def _tagged(page: str, tags: str) -> Response:
    return Response(page, content_type="text/html; charset=utf-8", headers={"Surrogate-Key": tags})
