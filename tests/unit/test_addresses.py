"""What of an address is a secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prh.io import addresses

SIGNED = "https://bucket.s3.amazonaws.com/a.zip?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=ab12&response=1"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://host/a.zip", "https://host/a.zip"),
        ("https://host:8080/a.zip?part=1&name=x", "https://host:8080/a.zip?part=1&name=x"),
        ("https://me:hunter2@host/a.zip", "https://***@host/a.zip"),
        ("https://token@host:81/a.zip", "https://***@host:81/a.zip"),
        ("https://me:p@ss@host/a.zip", "https://***@host/a.zip"),
        ("https://me:p/ss@host/a.zip", "https://***"),
        (SIGNED, "https://bucket.s3.amazonaws.com/a.zip?X-Amz-Credential=***&X-Amz-Signature=***&response=1"),
        ("https://host/a?token=5ecret", "https://host/a?token=***"),
        ("https://host/a?access_token=5ecret#x", "https://host/a?access_token=***#x"),
        ("https://host/a?sig=5ecret&se=2030&file=7", "https://host/a?sig=***&se=***&file=7"),
        (
            "https://host/a?Signature=x&Key-Pair-Id=K&Policy=p",
            "https://host/a?Signature=***&Key-Pair-Id=***&Policy=***",
        ),
        ("https://host/a?api_key=x;apikey=y", "https://host/a?api_key=***;apikey=***"),
        ("https://host/a#access_token=x", "https://host/a#access_token=***"),
        ("https://host/file/a1#0123456789abcdefghijkl", "https://host/file/a1#***"),
        ("https://host/a;token=x/b;v=1", "https://host/a;token=***/b;v=1"),
        ("https://host/a?%74oken=x&token%3Dx", "https://host/a?%74oken=***&***"),
        ("https://host/a?then=b%26token%3Dx&rlkey=y&dl=1", "https://host/a?then=***&rlkey=***&dl=1"),
        (
            "https://host/a?authorization=x&sid=y&passphrase=z&id=1",
            "https://host/a?authorization=***&sid=***&passphrase=***&id=1",
        ),
        ("https://host/a?" + "f" * 32, "https://host/a?***"),
        ("ftp://me:x@host/a", "ftp://***@host/a"),
        ("https://[broken", "https://***"),
        ("https://me:hunter2", "https://***"),
        ("https://host:8080/@me/a.zip", "https://host:8080/@me/a.zip"),
        ("me/model", "me/model"),
        ("", ""),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays(url, redacted):
    assert addresses.redacted(url) == redacted
    assert addresses.redacted(redacted) == redacted
    assert addresses.redacted_text(f"GET {url} failed") == f"GET {redacted} failed"


SECRET = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=12).map("QQ{}QQ".format)
KEYS = [
    "token",
    "sig",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "password",
    "api_key",
    "AWSAccessKeyId",
    "auth",
    "secret",
]


@given(SECRET, st.sampled_from(KEYS), st.booleans())
def test_no_secret_is_left_anywhere(secret, key, as_user):
    url = f"https://me:{secret}@host/x?a=1" if as_user else f"https://host/x?a=1&{key}={secret}&b=2"
    for text in (addresses.redacted(url), addresses.redacted_text(f"'{url}' (see {url})"), json.dumps({"u": url})):
        assert secret not in addresses.redacted_text(text)


def test_the_true_address_is_known_where_it_was_kept(monkeypatch):
    monkeypatch.setenv(addresses.ADDRESSES, addresses.kept([SIGNED, "https://host/open.zip"]))
    assert addresses.revealed(addresses.redacted(SIGNED)) == SIGNED
    assert addresses.revealed("https://host/open.zip") == "https://host/open.zip"
    assert addresses.revealed(SIGNED) == SIGNED


@pytest.mark.parametrize("kept", ["", "{}", "nonsense", None])
def test_a_secret_that_is_not_known_is_an_error(monkeypatch, kept):
    monkeypatch.delenv(addresses.ADDRESSES, raising=False)
    if kept is not None:
        monkeypatch.setenv(addresses.ADDRESSES, kept)
    with pytest.raises(
        ValueError, match=r"the secret of https://\*\*\*@host/a is not stored on disk; run .* with snakemake"
    ):
        addresses.revealed("https://***@host/a")
