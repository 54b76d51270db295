"""The banner: it says which mask a mail came through, stands before everything, and leaves no trace in answers."""

import html as escapes
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.mail.banner import Banner, html_block, insert_html, strip_html, strip_text, text_block
from relayd.mail.languages import LANGUAGES

MASK, SENDER = "shop.x7@masks.example", "news@shop.example"
ENGLISH = Banner(MASK, SENDER, "en")
GERMAN = Banner(MASK, SENDER, "de")
BLOCK = "<div>BANNER</div>"
N = 200_000

foreign = st.text(max_size=400) | st.text("a>|< &;\"'.", max_size=60)
any_banner = st.builds(Banner, mask=foreign, sender=foreign, language=st.sampled_from(LANGUAGES))
any_count = st.none() | st.integers(0, 10**6)


def quoted(text: str, prefix: str) -> str:
    return "".join(prefix + line for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_names_mask_sender_and_count(language: str) -> None:
    """Who reads it knows the mask, the sender, and what was removed; an empty line sets it apart."""
    banner = Banner(MASK, SENDER, language)
    assert all(word in text_block(banner, 3) for word in (MASK, SENDER, "3"))
    assert text_block(banner, 3).endswith("\n\n")
    assert text_block(banner, 0).count("\n") == text_block(banner, None).count("\n") + 1


def test_html_escapes_what_is_foreign() -> None:
    """A sender made of markup is shown, not obeyed."""
    block = html_block(Banner('"<b>&@x', "<script>alert(1)</script>", "en"), 1)
    assert block.count("<") == len(["<div>", "<br>", "</div>"])
    assert "&quot;b&amp;@x" in block


@given(banner=any_banner, count=any_count)
def test_any_sender_makes_a_short_single_line(banner: Banner, count: int | None) -> None:
    """Foreign text cannot break the lines, nor make them longer than mail allows."""
    lines = text_block(banner, count).splitlines()
    assert len(lines) == (2 if count is None else 3)
    assert all(len(line) < 998 for line in lines)
    assert len(html_block(banner, count).splitlines()) == 1


@given(banner=any_banner, count=any_count, before=st.sampled_from(["", "Hi,\n\n", "> x\n"]))
def test_what_was_put_in_is_taken_out(banner: Banner, count: int | None, before: str) -> None:
    """For any mask, sender, language and count."""
    assert strip_text(f"{before}{text_block(banner, count)}Dear reader\n") == f"{before}Dear reader\n"
    page = "<html><body class=x><p>Dear reader</p></body></html>"
    assert strip_html(insert_html(page, html_block(banner, count))) == page


@pytest.mark.parametrize("banner", [ENGLISH, GERMAN])
@pytest.mark.parametrize("prefix", ["> ", ">", ">>> ", "> > ", "| "])
@pytest.mark.parametrize("width", [30, 50, 76])
def test_a_quoted_and_rewrapped_banner_is_found(banner: Banner, prefix: str, width: int) -> None:
    """At any depth of quoting, wherever the lines were broken; what stands around it stays."""
    block = "\n".join(textwrap.wrap(text_block(banner, 12), width, break_on_hyphens=False)) + "\n\n"
    answer = "Thanks!\n\nOn Monday somebody wrote:\n" + quoted(block + "Dear reader\n", prefix)
    assert strip_text(answer) == f"Thanks!\n\nOn Monday somebody wrote:\n{prefix}Dear reader\n"


def test_line_ends_of_crlf_are_kept() -> None:
    """The lines around a banner keep their own ends."""
    text = ("a\n" + quoted(text_block(ENGLISH, 1), "> ") + "> b\n").replace("\n", "\r\n")
    assert strip_text(text) == "a\r\n> b\r\n"


def test_text_on_the_banners_lines_stays() -> None:
    """A client that joined lines loses the banner's words, and no others."""
    assert strip_text(f"> Before. {LINE}\n\nAfter.") == "> Before. \n\nAfter."
    joined = f"> Before. {text_block(ENGLISH, 2).strip()} After.\n"
    assert strip_text(joined) == "> Before.  After.\n"


def test_clients_may_add_links_to_the_addresses() -> None:
    """Outlook and others write what an address links to behind it."""
    linked = (
        text_block(ENGLISH, 2).replace(MASK, f"{MASK}<mailto:{MASK}>").replace(SENDER, f"{SENDER} [mailto:{SENDER}]")
    )
    assert strip_text(linked + "x") == "x"


def test_several_banners_of_several_languages_go() -> None:
    """A long conversation holds one for each time the other side wrote."""
    text = "a\n" + quoted(text_block(GERMAN, None) + "b\n" + quoted(text_block(ENGLISH, 5) + "c\n", "> "), "> ")
    assert strip_text(text) == "a\n> b\n> > c\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        "This mail came through your mask",
        "This mail came through your mask a from b and was sent by relayd.",
    ],
)
def test_text_without_a_banner_is_the_same_object(text: str) -> None:
    """Nothing is copied where nothing is found, not even when the beginning of one is there."""
    assert strip_text(text) is text
    assert strip_html(text) is text


MANGLED = {
    "attributes dropped": "<div>{line}<br>{more}</div>",
    "in a quote": '<blockquote type="cite"><div style="x">{line}<br/>{more}</div></blockquote>',
    "paragraphs": "<p class=MsoNormal><span lang=EN>{line}<o:p></o:p></span></p><p>{more}</p>",
    "addresses linked": "<div>{linked}<br>\r\n{more}</div>",
    "rewrapped": "<div>{wrapped}<br>{more}</div>",
    "hard spaces": "<div>{spaced}<br>{more}</div>",
    "entities": "<div>{named}<br>{more}</div>",
    "numbers": "<div>{numbered}<br>{more}</div>",
    "plain in pre": "<pre>&gt; {line}\n&gt; {more}</pre>",
    "a font": "<font color=red><b>{line}</b></font><br>{more}",
    "without trackers": "<div>{line}</div>",
}


@pytest.mark.parametrize("banner", [ENGLISH, GERMAN])
@pytest.mark.parametrize("shape", MANGLED.values(), ids=MANGLED.keys())
def test_a_mangled_html_banner_is_found(banner: Banner, shape: str) -> None:
    """Whatever a client made of the markup: neither mask nor words are left, and the rest is."""
    line, more = text_block(banner, 4).strip().split("\n")
    block = shape.format(
        line=line,
        more=more,
        linked=line.replace(MASK, f'<a href="mailto:{MASK}">{MASK}</a>'),
        wrapped=line.replace(" ", "\n  "),
        spaced=line.replace(" ", "&nbsp; "),
        named="".join({"ü": "&uuml;", "@": "&commat;"}.get(c, c) for c in line),
        numbered="".join(c if c.isascii() else f"&#x{ord(c):X};" for c in line),
    )
    left = strip_html(f"<body><p>Hi</p>{block}<p>Dear reader</p></body>")
    assert left.startswith("<body><p>Hi</p>")
    assert left.endswith("<p>Dear reader</p></body>")
    assert "relayd" not in left
    assert MASK not in left
    assert more not in left


def test_tags_that_others_need_stay() -> None:
    """A banner that an element begins in, and does not end in, takes no half of it away."""
    line = text_block(ENGLISH, None).strip()
    begun = line.replace("your mask", "your <i>big</i> <b>mask").replace("<i>big</i> ", "<i></i>")
    assert strip_html(f"<p>{begun} and</b> more</p>") == "<p><b> and</b> more</p>"
    assert strip_html(f"<td>{line}</td><td>x</td>") == "<td></td><td>x</td>"
    assert strip_html(f"<div>{line} <p>x</p></div>") == "<div> <p>x</p></div>"


@pytest.mark.parametrize(
    "page",
    [
        "<html><head><title>a</title></head><body bgcolor='>'>^text</body></html>",
        "<BODY\n>^text",
        "<body>^<style>p{}</style>text",
        "\ufeff<!doctype html><!-- <body> -->\n<html>\n<head><style>body{}</style><body>^",
        "<!doctype html><meta charset=utf-8>^<p>text",
        "<html><head><script>'<body>'</script></head>^text",
        "<!--[if mso]><body><![endif]--><body data-a='<body>'>^text",
        "^text <body>",
        "^<p title='<body>'>text",
        "^",
        "^<",
        "^< body>",
        "<title>a</title>^<div><body>",
        "<!doctype html>^<body",
        "<html>^<title>never ends",
        "^<!-- never ends",
        "<html><body>^",
    ],
)
def test_a_block_stands_before_everything_that_shows(page: str) -> None:
    """After the body's tag, where there is one, and else before the first thing that is no part of a head."""
    assert insert_html(page.replace("^", ""), BLOCK) == page.replace("^", BLOCK)


LINE = text_block(ENGLISH, None).strip()
HOSTILE = {
    "beginnings": "This mail came through your mask " * N,
    "beginnings in gaps": "This " + "> " * N + "This",
    "spaces": "This mail came through your mask " + " " * N * 5 + "x",
    "words": "This mail came through your mask " + "x " * N,
    "banners": (LINE + " ") * (N // 2),
    "banners in one element": f"<p>{(LINE + ' ') * (N // 40)}</p>",
    "spaces before banners": f"<p>{' ' * 5 * N}{(LINE + ' ') * (N // 10)}</p>",
    "wrappers": "<div>" * (N // 3) + LINE + "</div>" * (N // 3),
    "openings": f"<p>{LINE}" * (N // 40),
    "angle brackets": LINE + "<" * (N - 1),
    "too many tags": LINE + "<p>" * N * 5,
    "tags": LINE + "<a " * (N - 1),
    "quotes": LINE + '<a b="' * (N - 1),
    "comments": LINE + "<!-- -->" * (N - 1),
    "raw": LINE + "<title>" * (N - 1),
    "entities": LINE + "&nbsp" * N + "&#" * N,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_takes_linear_time(text: str) -> None:
    """Minutes for a quadratic search, a blink for a linear one."""
    assert len(strip_text(text)) <= len(text)
    assert len(strip_html(text)) <= len(text)
    assert BLOCK in insert_html(text, BLOCK)


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(["<div>", "</div>", LINE, " ", "<b>", "</b>", "x", "<!--", "-->", "&gt;"]), max_size=20)
)
def test_no_banner_is_left_and_no_other_word_lost(pieces: list[str]) -> None:
    """In any markup, however broken."""
    page = "".join(pieces)
    if "<!--" not in page:
        left = strip_html(page)
        assert "relayd" not in left
        assert left.count("x") - left.count("example") == pieces.count("x")


def test_escapes_of_the_standard_library_are_understood() -> None:
    """A reply written by a client that escapes everything."""
    line = text_block(GERMAN, None).strip().encode("ascii", "xmlcharrefreplace").decode()
    assert strip_html(f"<p>{line}</p>{escapes.escape('<x>')}") == "&lt;x&gt;"
