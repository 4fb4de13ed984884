"""Hostile text shows as text in every widget's saved page: it makes no element, no dialog, and breaks no layout."""

import pytest
from support import pages

HTML = "<img src=x onerror=\"alert('owned')\"><b>bold</b> <svg onload=alert(1)>"
SCRIPT = "</script><!--<script>alert('owned')</script>--> ]]> {{7*7}} ${alert(1)}"
LINK = "javascript:alert('owned') [x](javascript:alert(1)) http://example.com/?<a href='javascript:alert(1)'>"
TURNED = "safe\u202e)elif(exe.\u2066\u2067 \u200f\u061cx"
STACKED = "Z" + "\u0300\u0489\u036f\u20e0" * 25 + "algo"
LONG = "x" * 5000
CONTROLS = "a\x00b\x07\x1b[31m\x7f\x85\u2028\u2029 &lt;b&gt; &#60;i&#62;"
HALF = "half \ud800 of \udcff"
LABELS = (f"{HTML} 0", SCRIPT, LINK, TURNED, STACKED, LONG, CONTROLS, HALF)
HOSTILE = pages.Texts(
    prompt=f"{HTML} {SCRIPT} {TURNED} {STACKED} {CONTROLS}",
    labels=LABELS,
    corpus=f"{SCRIPT}{TURNED} {HALF}",
    file=f"{HTML}{TURNED}/\udcff.json",
    note=f"{SCRIPT} {HTML} {LINK} {TURNED} {STACKED}",
)
KINDS = "root => [...new Set([...root.querySelectorAll('*')].map(e => e.localName))]"
ACTIVE = """root => [...root.querySelectorAll('*')].flatMap(e => [...e.attributes].filter(({ name, value }) =>
    name.startsWith('on') || (/^(href|src|action|formaction)$/.test(name) && !/^(https?:|data:image|#)/.test(value)))
    .map(({ name, value }) => `${e.localName} ${name}=${value}`))"""
# The nearest box or isolate around every text that turns directions, and whether it also holds other words.
NOT_ISOLATED = """root => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (!/[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]/.test(node.data)) continue;
        let holder = node.parentElement;
        const alone = element => getComputedStyle(element).unicodeBidi !== 'normal'
            || !['inline', 'contents'].includes(getComputedStyle(element).display);
        while (!alone(holder) && holder !== root) holder = holder.parentElement;
        const others = [...holder.querySelectorAll('.sw-token')].filter(token => !token.contains(node));
        if (holder !== root && !others.length) continue;
        found.push(`${node.data.slice(0, 60)} in ${holder.outerHTML.slice(0, 120)}`);
    }
    return found;
}"""
WIDER = """root => {
    const edge = root.getBoundingClientRect().right + 1;
    const seen = [...root.querySelectorAll('button, input, select, textarea, p, li, section, header, h2, h3')].filter(
        e => e.checkVisibility() && e.getBoundingClientRect().right > edge).map(e => e.outerHTML.slice(0, 160));
    const page = document.documentElement;
    return page.scrollWidth > page.clientWidth ? [`the page is ${page.scrollWidth} wide`, ...seen] : seen;
}"""

CUT_OFF = """root => [...root.querySelectorAll('.sw-lines .sw-word')].filter(word =>
    word.getBoundingClientRect().right > word.closest('.sw-lines').parentElement.getBoundingClientRect().right)
    .map(word => word.textContent.slice(0, 60))"""

# What follows a change of size is drawn by then.
TWO_FRAMES = "() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


@pytest.fixture
def open_widget(open_saved, fresh, tmp_path):
    """Opens the saved page of a widget; nothing may go wrong in it, be fetched, or open a dialog."""

    def open_(name: str, texts: pages.Texts, **options):
        widget = pages.make(name, fresh("llama", max_position_embeddings=2048), texts)
        path = widget.to_html(tmp_path / "page.html")
        widget.close()
        root = open_saved(path, **options).locator(".sw")
        root.wait_for()
        for summary in root.locator("summary").all():
            summary.click()
        return root

    return open_


@pytest.mark.parametrize("name", pages.WIDGETS)
def test_hostile_text_stays_text_in_a_saved_page(open_widget, picture, name):
    root = open_widget(name, HOSTILE, viewport={"width": 600, "height": 900})
    own = set(open_widget(name, pages.PLAIN).evaluate(KINDS))
    for width in (600, 1400):
        root.page.set_viewport_size({"width": width, "height": 900})
        root.evaluate(TWO_FRAMES)
        picture(root.page, f"hostile-{name}-{width}")
        assert root.evaluate(WIDER) == []
        assert root.evaluate(ACTIVE) == []
        assert root.evaluate(NOT_ISOLATED) == []
        assert root.evaluate(CUT_OFF) == []
        # <i> is the space that a promoted token begins with, or does not.
        assert set(root.evaluate(KINDS)) - own <= {"sup", "small", "button", "i"}
        assert root.locator("img, script, iframe, object, embed, style, link").count() == 0


@pytest.mark.parametrize("name", ["token heatmap", "heatmap of arrays", "steering panel"])
def test_hostile_text_is_shown_as_it_is(open_widget, name):
    root = open_widget(name, HOSTILE)
    shown = root.evaluate("root => root.textContent + [...root.querySelectorAll('textarea')].map(e => e.value)")
    assert LABELS[0] in shown
    assert SCRIPT in shown
    for token in root.locator("[data-index]").all()[:4]:
        token.hover()
    # A half of a character in a name is replaced; a token that holds one is shown as its codes.
    state = root.page.evaluate("() => document.getElementById('state').textContent")
    assert ("U+D800" if name == "heatmap of arrays" else "half \ufffd of") in state
