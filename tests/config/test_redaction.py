"""Secrets: replaced in whatever text they turn up, however they are spelt there."""

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config.redaction import Secrets, secrets_of, secrets_of_address
from tests.config.configs import BIKES, WAREHOUSE, parsed

CANARY = "Zq%7@k/9:w'\"\\ü&x"


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    "spelt",
    [
        CANARY,
        quote(CANARY),
        quote(CANARY, safe=""),
        quote(CANARY, safe="").lower().replace("zq", "Zq"),
        quote_plus(CANARY),
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr(CANARY),
        f"password={CANARY!r} host=h",
    ],
)
def test_a_secret_is_hidden_in_every_spelling(spelt: str) -> None:
    hidden = Secrets([CANARY]).hide(f"before {spelt} after")

    assert "Zq" not in hidden
    assert "***" in hidden
    assert hidden.startswith("before ")


@pytest.mark.fault(20)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]),
            min_size=6, max_size=40),
    st.lists(st.sampled_from([repr, json.dumps, quote, quote_plus]), max_size=2),
)  # fmt: skip
def test_no_secret_of_some_length_gets_through_what_quotes_it_once_or_twice(
    secret: str, spellings: list[Callable[[str], str]]
) -> None:
    spelt = secret
    for spell in spellings:
        spelt = spell(spelt)

    assert "***" in Secrets([secret]).hide(f"x {spelt} y")


def test_a_short_secret_does_not_blank_out_every_word_that_holds_it() -> None:
    hidden = Secrets(["abc"]).hide("abcdef says abc, password=abc and abc.")

    assert hidden == "abcdef says ***, password=*** and ***."


def test_passwords_of_addresses_and_parameters_need_not_be_known() -> None:
    text = (
        "at postgresql://me:hunter2@db/x and host=db password='hun ter2' user=me, see http://a:80/x"
    )

    hidden = Secrets().hide(text)

    assert hidden == (
        "at postgresql://me:***@db/x and host=db password=*** user=me, see http://a:80/x"
    )


def test_a_blank_secret_hides_nothing() -> None:
    assert Secrets(["", " "]).hide("all of it") == "all of it"


def test_every_password_of_a_configuration_is_a_secret() -> None:
    config = parsed(BIKES, {**WAREHOUSE})
    others = parsed('database_url = "postgresql://me:a%40b%25@h/d?sslpassword=z%20z"\n')

    assert secrets_of(config) == {"hunter2"}
    assert secrets_of(others) == {"a%40b%25", "a@b%", "z%20z", "z z"}


def test_a_file_has_no_password() -> None:
    assert set(secrets_of_address("sqlite:////home/a:b@c/f.db?timeout=3")) == set()
