"""Several policy files as one set."""

from __future__ import annotations

from accel.policy.loader import load


def missing(file: str, name: str) -> str:
    """Find no file."""
    raise FileNotFoundError(2, "No such file or directory")


SHOP = "policy 1\nsite shop.example.org\nrequest { lookup }\n"
BLOG = "policy 1\nsite blog.example.org, shop.example.org\nrequest { lookup }\n"


def test_a_broken_file_is_refused_alone() -> None:
    loaded = load({"a.policy": "policy 1\nrequest { lokup }", "b.policy": SHOP}, missing)

    assert [policy.file for policy in loaded.policies] == ["b.policy"]
    assert "did you mean lookup?" in str(loaded.refused["a.policy"])


def test_a_host_belongs_to_one_file() -> None:
    loaded = load({"shop.policy": SHOP, "blog.policy": BLOG}, missing)

    assert [policy.file for policy in loaded.policies] == ["blog.policy"]
    assert str(loaded.refused["shop.policy"]) == (
        "shop.policy:2:6: blog.policy is for the host shop.example.org already\n"
        "    site shop.example.org\n"
        "         ^^^^^^^^^^^^^^^^\n"
        "    hint: a host belongs to one file: remove it from one of them"
    )


def test_a_refused_file_takes_no_hosts() -> None:
    loaded = load({"a.policy": BLOG.replace("lookup", "lokup"), "shop.policy": SHOP}, missing)

    assert [policy.file for policy in loaded.policies] == ["shop.policy"]


def test_one_file_at_most_is_for_every_other_host() -> None:
    loaded = load({"a.policy": "policy 1\n", "b.policy": "policy 1\n", "c.policy": SHOP}, missing)

    assert [policy.file for policy in loaded.policies] == ["a.policy", "c.policy"]
    assert "a.policy is for every other host already" in str(loaded.refused["b.policy"])


def test_a_file_that_cannot_be_read_is_refused_with_why() -> None:
    loaded = load(
        {"a.policy": ValueError("this file cannot be read: it is not UTF-8 (line 3)"), "c.policy": SHOP}, missing
    )

    assert str(loaded.refused["a.policy"]) == "a.policy:1:1: this file cannot be read: it is not UTF-8 (line 3)"


def test_texts_are_asked_for_by_the_file_that_names_them() -> None:
    asked = []

    def read(file: str, name: str) -> str:
        asked.append((file, name))
        return "x"

    load({"a.policy": 'policy 1\nlist a from "a.txt"\nerror { synth 503 from "b.html" }'}, read)

    assert asked == [("a.policy", "a.txt"), ("a.policy", "b.html")]
