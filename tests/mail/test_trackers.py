"""Trackers: the list as it is published, and what is and is not taken out of a mail."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.mail.trackers import TrackerList, remove, remove_from_text

PUBLISHED = {
    "license": "...",
    "categories": {
        "Advertising": [
            {"Ad Co": {"https://ad.example/": ["Ad.example", "ads.example.net."], "performance": "true"}},
            {"Other": {"http://other.example": ["other.example"], "dnt": "eff"}},
        ],
        "Analytics": [{"Stats": {"https://stats.example/": ["pixel.stats.example"], "session-replay": "true"}}],
        "EmailAggressive": ["click.example", "bücher.example"],
        "Content": [{"Big": {"https://big.example/": ["big.example", "ad-content.example"]}}],
        "Social": [{"Net": {"https://net.example/": ["net.example"]}}],
        "Email": [{"Odd": {"https://odd.example/": ["com", "", "path.example/x", 7, None], "x": [["deep.example"]]}}],
    },
}
LIST = TrackerList.parse(json.dumps(PUBLISHED).encode())
WARNING = "https://relay.example/tracker"
N = 200_000


def test_the_published_forms_are_read() -> None:
    """Domains by company, plain lists, and the remarks between them; not the categories that are no trackers."""
    assert LIST.domains == {
        "ad.example",
        "ads.example.net",
        "other.example",
        "pixel.stats.example",
        "click.example",
        "xn--bcher-kva.example",
        "deep.example",
    }


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 200_000, "nested"),
        (b"[]", "categories"),
        (b'{"categories": ["ad.example"]}', "categories"),
        (b'{"license": ""}', "categories"),
        (b'{"categories": {}}', "no domain"),
        (b'{"categories": {"Advertising": "ad.example"}}', "no domain"),
        (b'{"categories": {"Content": ["ad.example"]}}', "no domain"),
        (b'{"categories": {"Email": ' + b"[" * 90 + b'"ad.example"' + b"]" * 90 + b"}}", "no domain"),
    ],
)
def test_what_is_no_list_says_so(data: bytes, says: str) -> None:
    """The operator learns what is wrong with the file."""
    with pytest.raises(ValueError, match=says):
        TrackerList.parse(data)


COVERED = [
    "https://ad.example",
    "http://ad.example/x.gif?a=b",
    "HTTPS://SUB.Sub.AD.example:8443/",
    "//ad.example/x",
    "https://ad.example./x",
    "https://user:pass@ad.example/",
    "https://good.example@ad.example/",
    " \thttps://ad.example",
    "ht\ntps://ad.\nexample/",
    "https:\\\\ad.example\\x",
    "https:///ad.example",
    "https://ad%2Eexample/",
    "https://ad。example/",
    "https://AD．example/",
    "https://www.bücher.example/",
    "https://www.xn--bcher-kva.example/",
    "https://a_b.ad.example?x",
    "https://-ü_.ad.example#x",
]
NOT_COVERED = [
    "",
    "ad.example",
    "https://",
    "https://example/ad.example",
    "https://bad.example/",
    "https://ad.example.good.example/",
    "https://stats.example/",
    "https://good.example/?u=https://ad.example/",
    "https://good.example#@ad.example",
    "https://ad.example@good.example/",
    "mailto:x@ad.example",
    "data:text/plain,https://ad.example",
    "cid:x@ad.example",
    "https://" + "a." * 5000 + "ad.example",
    "/ad.example",
]


@pytest.mark.parametrize("address", COVERED)
def test_a_tracker_is_known_however_it_is_written(address: str) -> None:
    """A listed domain and what is below it, as a browser would read the address."""
    assert LIST.covers(address)


@pytest.mark.parametrize("address", NOT_COVERED)
def test_other_addresses_are_not_trackers(address: str) -> None:
    """A name that only ends alike, or stands elsewhere in the address, is none."""
    assert not LIST.covers(address)


FETCHED = {
    'a<img src="https://ad.example/p.gif" width=1>b': "ab",
    "a<IMG\nSRC=//t.ad.example/p.gif>b": "ab",
    "a<img alt='>' src='https://ad.example/'/>b": "ab",
    'a<img src="https:&#x2F;&#47;ad&#0000000000046;example/">b': "ab",
    'a<img src="https://ad&period;example/">b': "ab",
    "a<image src=https://ad.example/>b": "ab",
    'a<img src="x.png" srcset="x.png 1x, //ad.example/p.gif 2x">b': "ab",
    'a<img src="cid:x" src=//ad.example/>b': "ab",
    'a<link rel=stylesheet href="https://ad.example/a.css">b': "ab",
    '<picture><source srcset="//ad.example/a 1x"><img src=x></picture>': "<picture><img src=x></picture>",
    '<table background="https://ad.example/b.gif"class=x><tr>': "<table class=x><tr>",
    "<iframe src=//ad.example/></iframe>": "<iframe ></iframe>",
    "<video poster='//ad.example/p' src=v.mp4>": "<video  src=v.mp4>",
    "<a href=/x ping='//ok.example //ad.example'>": "<a href=/x >",
    '<td style="color:red;background:url(https://ad.example/b) #fff">': '<td style="color:red;background:none #fff">',
    "<td style='background:URL( &quot;//ad.example/b&quot; )'>": '<td style="background:none">',
    r"<td style='background:url(\2f\2f ad.example/b)'>": '<td style="background:none">',
    "<style>@import '//ad.example/a';b{c:url(//ok.example)}</style>": "<style>none;b{c:url(//ok.example)}</style>",
    "<!--[if mso]><img src=//ad.example/><p><![endif]-->b": "<!--[if mso]><p><![endif]-->b",
    "<!--[if !mso]><!--><img src=//ad.example/><!--<![endif]-->": "<!--[if !mso]><!--><!--<![endif]-->",
    "<title><img></title><img src=//ad.example/>": "<title><img></title>",
    "<!--><img src=//ad.example/>-->": "<!-->-->",
    "<!---><img src=//ad.example/>-->": "<!--->-->",
    "<!-- ' --><img src=//ad.example/>": "<!-- ' -->",
    '<p "><img src=//ad.example/>': '<p ">',
    "<<img src=//ad.example/>img src=//ad.example>": "< img src=//ad.example>",
    "<p a=x'><img src=//ad.example/>'": "<p a=x'>'",
}
KEPT = [
    "",
    "plain",
    '<img src="https://good.example/x.gif">',
    '<img alt="https://ad.example/x.gif" src=cid:x>',
    "<img title='<img src=//ad.example/>' src=/x>",
    "<!-- <img src=//ad.example/> -->",
    "<textarea><img src=//ad.example/></textarea>",
    "<p>https://ad.example/</p>",
    "<img src=//ad.example/",
    '<img src="//ad.example/>',
    '<p a="><img src=//ad.example/>',
    "<p a='><img src=//ad.example/>",
    "</img src=//ad.example/>",
    "<td style='background:url(//good.example)'>",
    "<img data-src=//ad.example/>",
    "< img src=//ad.example/>",
]


@pytest.mark.parametrize(("html", "clean"), FETCHED.items())
@pytest.mark.parametrize("warning", [None, WARNING])
def test_what_is_fetched_from_a_tracker_goes(html: str, clean: str, warning: str | None) -> None:
    """The whole image, or the attribute of an element that holds more; and not a character beside."""
    assert remove(html, LIST, warning) == (clean, 1)


@pytest.mark.parametrize("html", KEPT)
def test_html_without_a_tracker_is_the_same_object(html: str) -> None:
    """Nothing is written anew where nothing is to be removed."""
    clean, count = remove(html, LIST, WARNING)
    assert clean is html
    assert count == 0


def test_links_lead_to_the_warning() -> None:
    """The original travels in the query, its own references read and escaped anew; others stay."""
    html = """<a class=x HREF='https://click.example/?a=1&amp;b="&copy=2'>x</a><a href=https://good.example>y</a>"""
    clean, count = remove(html, LIST, WARNING)
    original = "https%3A%2F%2Fclick.example%2F%3Fa%3D1%26b%3D%22%26copy%3D2"
    assert clean == f'<a class=x href="{WARNING}?url={original}">x</a><a href=https://good.example>y</a>'
    assert count == 1
    assert remove(clean, LIST, WARNING) == (clean, 0)


@pytest.mark.parametrize(
    ("warning", "start", "end"),
    [("https://w.example/?a=b&c", "https://w.example/?a=b&amp;c&amp;url=", ""), ("//w/x#y", "//w/x?url=", "#y")],
)
def test_the_warning_may_have_a_query_and_a_fragment(warning: str, start: str, end: str) -> None:
    """The original goes where a query goes."""
    clean, _ = remove("<area href=//ad.example>", LIST, warning)
    assert clean == f'<area href="{start}%2F%2Fad.example{end}">'


def test_links_stay_without_a_warning() -> None:
    """And are not counted, since nothing was changed."""
    html = "<a href=//ad.example>x</a>"
    assert remove(html, LIST, None) == (html, 0)


def test_each_changed_element_counts_once() -> None:
    """Twenty attributes of one element are one tracker, two elements two."""
    html = "<td background=//ad.example style='a:url(//ad.example)'><img src=//ad.example srcset=//ad.example>"
    assert remove(html, LIST, WARNING) == ('<td  style="a:none">', 2)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("See https://ad.example/x?y=1.", f"See {WARNING}?url=https%3A%2F%2Fad.example%2Fx%3Fy%3D1."),
        ("<HTTPS://AD.example>", f"<{WARNING}?url=HTTPS%3A%2F%2FAD.example>"),
        (
            "(http://ad.example/)\r\nhttps://good.example",
            f"({WARNING}?url=http%3A%2F%2Fad.example%2F)\r\nhttps://good.example",
        ),
    ],
)
def test_addresses_in_plain_text_lead_to_the_warning(text: str, clean: str) -> None:
    """Without the punctuation around them."""
    assert remove_from_text(text, LIST, WARNING) == (clean, 1)
    unchanged, count = remove_from_text(text, LIST, None)
    assert unchanged is text
    assert count == 0


def test_text_without_a_tracker_is_the_same_object() -> None:
    """Nothing is written anew where nothing is to be changed."""
    text = "https://good.example/?https://ad.example mailto:x@ad.example ad.example"
    assert remove_from_text(text, LIST, WARNING)[0] is text


HOSTILE = {
    "angle brackets": "<" * N * 5,
    "images": "<img " * N,
    "open quotes": '<img src="' * N,
    "one open quote": '<img src="//ad.example' + "<img src='" * N,
    "attributes": "<img " + "a=b " * N + "src=//ad.example>",
    "equals": "<img " + "=" * N,
    "equals in words": "<img " + "a= " * N + ">",
    "white space": "<img" + " " * N * 5 + "x" + "\n" * N,
    "slashes": "<img" + "/" * N * 5,
    "comments": "<!--" * N,
    "comments that nearly end": "<!--" + "--!" * N + "<!--",
    "conditions": "<!--[if x]>" * N,
    "open conditions": "<!--[if " * N,
    "ended conditions": "<!--[if x]><!--[if y]>-->" * N,
    "declarations": "<!" * N + "<?" * N + "</ " * N,
    "raw": "<style>" * N,
    "raw that nearly ends": "<title>" + "</titl" * N,
    "css": "<p style='" + "/url(" * N + "'>",
    "css quotes": "<style>" + 'url("' * N + "url('" * N,
    "css escapes": "<style>url(" + "\\" * N,
    "references": "<img src='/" + "&#" * N + "&a" * N + "'>",
    "long numbers": "<img src='/&#" + "1" * N + ";&#x" + "0" * N + "1;'>",
    "long hosts": "<img src='//" + "a." * N + "'>",
    "escaped hosts": "<img src='//" + "%2e" * N + "'>",
    "foreign hosts": "<img src='//ü" + "ß。" * 120 + "'>" + "<img src='//ü" + "ß" * N + "'>",
    "user names": "<img src='//" + "@" * N + "'>",
    "source sets": "<img srcset='" + "//x, " * N + "'>",
    "trackers": "<img src=//ad.example>" * (N // 10) + "<a href=//ad.example>" * (N // 10),
    "text": "https://" * N + " http://ad.example" * (N // 10) + "h" * N + "https://x" + "." * N,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_takes_linear_time(text: str) -> None:
    """Minutes for a quadratic reader, a blink for a linear one."""
    clean, _ = remove(text, LIST, WARNING)
    assert "src=//ad.example>" not in clean
    assert len(remove_from_text(text, LIST, WARNING)[0]) >= len(text)


FRAGMENTS = (
    *(
        "<",
        ">",
        '"',
        "'",
        "=",
        " ",
        "/",
        "-",
        "!",
        "a",
        "img",
        "src=",
        "<img ",
        "<a ",
        "<p ",
        "style=",
        "href=",
        "srcset=",
    ),
    *("<!--", "-->", "<!--[if x]>", "<style>", "</style>", "<title>", "</title>", "//ad.example", "&#46;", "url(", ")"),
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=30))
def test_any_text_is_survived(pieces: list[str]) -> None:
    """Whatever it is made of: a result, in which a second pass finds nothing more."""
    html = "".join(pieces)
    clean, count = remove(html, LIST, WARNING)
    assert (clean is html) == (count == 0)
    assert remove(clean, LIST, WARNING)[1] == 0
    remove_from_text(html, LIST, WARNING)
