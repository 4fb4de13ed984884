"""The text of a saved page; what a browser makes of it is in tests/e2e/test_saved_page.py."""

import json
import re
from html.parser import HTMLParser

import pytest

from steerwidgets.widgets.export import script_json

HOSTILE = "</script><img src=x onerror=alert(1)><!-- <script> \u2028\u2029 &lt; {css} {{x}} \\u003c ]]> '\" \x00\x1b 🙂"


class Page(HTMLParser):
    """The elements of a page and the text inside its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = dict(attrs).get("id", "program")
            self.scripts[self._inside] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.scripts[self._inside] += data


@pytest.fixture
def hostile_panel(make_panel, cavs):
    panel = make_panel(recipe=cavs[2].add(4), prompt=HOSTILE)
    panel.provenance = {**panel.provenance, HOSTILE: HOSTILE}
    panel.generate()
    rows = [{**row, "text": HOSTILE} for row in panel.result["rows"]]
    rows[0]["tokens"] = [{"id": 1, "text": HOSTILE, "fragment": False}]
    panel.result = {**panel.result, "rows": rows}
    return panel


def test_hostile_text_stays_text(hostile_panel, tmp_path):
    text = hostile_panel.to_html(tmp_path / "page.html").read_text("utf-8")
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert tags.count("script") == len(page.scripts) == 4
    state = json.loads(page.scripts["state"])
    assert state["prompt"] == HOSTILE
    assert state["result"]["rows"][0]["tokens"][0]["text"] == HOSTILE
    assert "\u2028" not in text
    assert "\x00" not in text


def test_nothing_is_fetched_from_anywhere(panel, tmp_path):
    panel.generate()
    text = panel.to_html(tmp_path / "page.html").read_text("utf-8")
    for _, attributes in Page(text).elements:
        assert not {"src", "href", "srcset", "action"} & set(attributes), attributes
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`]*", text))
    assert {a for a in addresses if "www.w3.org" not in a} == set()  # names of namespaces are not fetched
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", text)


def test_it_holds_everything_that_is_shown_and_where_it_comes_from(panel, tmp_path):
    panel.generate()
    path = panel.to_html(str(tmp_path / "page.html"))
    state = json.loads(Page(path.read_text("utf-8")).scripts["state"])
    assert state["result"] == json.loads(json.dumps(panel.result))
    assert state["recipe_json"] == panel.recipe_json
    assert set(panel.provenance) <= set(state["provenance"])
    assert {"dtype", "device"} <= set(state["provenance"])


def test_a_panel_that_never_ran_can_be_saved(panel, tmp_path):
    assert panel.to_html(tmp_path / "page.html").stat().st_size > 10_000


def test_json_in_a_script_is_the_same_json():
    assert json.loads(script_json({"a": HOSTILE})) == {"a": HOSTILE}
    assert "<" not in script_json({"a": HOSTILE})
