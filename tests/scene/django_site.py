"""A small Django site for policies/django.policy: pages, a login, a form with a CSRF token, static files.

Run as `gunicorn django_site:application`. It keeps everything in cookies and in memory, so it needs no database. Each
answer says in X-Served in which turn it was made, and every page looks at the session, as templates that greet do: so
Django adds `Vary: Cookie` to all of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import django
from django.conf import settings
from django.contrib import messages
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.urls import path

STYLE = "body { color: teal }"
_turns = itertools.count()
_comments: list[str] = []

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="only for tests",
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.sessions", "django.contrib.messages"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django_site.served",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
)


def served(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Mark each answer with its turn, and with what the site saw of the visitor."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Served"] = f"{os.getpid()}-{next(_turns)}"
        response["X-Saw"] = f"{request.get_full_path()} cookies=" + ",".join(sorted(request.COOKIES))
        return response

    return respond


def page(request: HttpRequest) -> HttpResponse:
    """Greet, and show what waits to be told."""
    name = request.session.get("name", "stranger")
    told = "".join(f"<p>{message}</p>" for message in messages.get_messages(request))
    return HttpResponse(f"<h1>Hello {name}</h1>{told}")


def news(request: HttpRequest) -> HttpResponse:
    """Show comments, or take one: its form stands on another page."""
    if request.method == "POST":
        _comments.append(request.POST["text"])
        messages.success(request, "Thank you")
        return HttpResponseRedirect("/news/")
    response = page(request)
    response.content += "".join(f"<li>{text}</li>" for text in _comments).encode()
    response["Surrogate-Key"] = "news"
    return response


def comment(request: HttpRequest) -> HttpResponse:
    """Show a form with a token."""
    return HttpResponse(f'<form><input name="csrfmiddlewaretoken" value="{get_token(request)}"></form>')


def login(request: HttpRequest) -> HttpResponse:
    """Begin a session, or show the form for it."""
    if request.method == "POST":
        request.session["name"] = request.POST["name"]
        return HttpResponseRedirect("/")
    return comment(request)


def logout(request: HttpRequest) -> HttpResponse:
    """End it."""
    request.session.flush()
    return HttpResponseRedirect("/")


def style(request: HttpRequest, name: str) -> HttpResponse:
    """Answer a static file, as a server of files does."""
    return HttpResponse(STYLE, content_type="text/css")


urlpatterns = [
    path("", page),
    path("news/", news),
    path("comment/", comment),
    path("accounts/login/", login),
    path("accounts/logout/", logout),
    path("static/<str:name>", style),
]
django.setup()
application = get_wsgi_application()
