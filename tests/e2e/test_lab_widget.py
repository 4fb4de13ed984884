"""A lab's questions in JupyterLab, by accessible names: keys alone, a dead kernel, themes."""

import json
import re

import pytest
from e2e.test_accessibility import serious
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

SETUP = """
import json, steerwidgets as sw
lab = sw.Lab("sea", student="{name}")
"""
CELLS = [
    """lab.ask("Why is a neuron no concept?\\nOne sentence.", key="why", answer="There are more concepts.")""",
    """lab.check("Which word fires?", "sea", key="word", hint="Think of ships.", answer="The sea.")""",
    """prediction = lab.predict("Which will win?", choices=["the sea", "a random direction"], key="win")
prediction""",
]


class Asked:
    """One question, by accessible names."""

    def __init__(self, page, index: int) -> None:
        self.root = page.locator(".sw-lab").nth(index)

    def field(self):
        return self.root.get_by_role("textbox", name="Your answer", exact=True)

    def radio(self, name: str):
        return self.root.get_by_role("radio", name=name)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    @property
    def status(self):
        return self.root.get_by_role("status")


@pytest.fixture
def open_lab(open_notebook, request):
    """A notebook with a lab of its own and one question of each sort, on a kernel of its own."""
    name = re.sub(r"\W+", "-", request.node.name)
    servers = []

    def open_(**options):
        notebook = open_notebook([SETUP.format(name=name), *CELLS], **options)
        servers.append(notebook.server)
        notebook.run_all()
        notebook.wait_idle()
        questions = [Asked(notebook.page, i) for i in range(3)]
        for each in questions:
            each.root.get_by_role("button").first.wait_for()
        return notebook, questions

    yield open_
    for server in servers:
        server.end_kernels()


def on_disk(notebook):
    return json.loads(notebook.printed("print(lab.file.read_text())"))


def test_keys_alone_and_a_dead_kernel(open_lab):
    notebook, (why, word, win) = open_lab()
    keys = notebook.page.keyboard
    cells = notebook.cells()
    why.field().focus()
    keys.type("More concepts than neurons?")
    expect(why.status).to_contain_text("not given yet")
    keys.press("Control+Enter")
    expect(why.status).to_contain_text("kept in sea-")
    keys.press("Tab")
    keys.press("Tab")
    expect(why.button("Show the answer")).to_be_focused()
    keys.press("Enter")
    expect(why.root.get_by_role("region", name="An answer")).to_contain_text("There are more concepts")
    word.field().focus()
    keys.type("mountain")
    keys.press("Enter")
    expect(word.root).to_contain_text("Not right yet. Think of ships.")
    word.field().fill("Sea")
    keys.press("Enter")
    expect(word.root).to_contain_text("Right.")
    win.radio("the sea").focus()
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(win.radio("a random direction")).to_be_disabled()
    assert notebook.execute("prediction.turned_out('the sea')") == "ok"
    expect(win.root).to_contain_text("Not as you predicted: the sea")
    assert notebook.cells() == cells  # no key reached the notebook
    said = {each["key"]: each["answer"] for each in on_disk(notebook)["questions"]}
    assert said == {"why": "More concepts than neurons?", "word": "Sea", "win": "a random direction"}

    notebook.restart_and_run_all()
    notebook.wait_idle()
    expect(why.root.get_by_role("region", name="Your answer")).to_have_text("More concepts than neurons?")
    expect(why.root.get_by_role("region", name="An answer")).to_contain_text("There are more concepts")
    expect(word.root).to_contain_text("Right.")
    expect(win.radio("a random direction")).to_be_checked()
    expect(win.radio("a random direction")).to_be_disabled()


def test_what_is_typed_survives_a_dead_kernel(open_lab):
    notebook, (why, _, _) = open_lab()
    why.field().fill("Half a sen")
    expect(why.status).to_contain_text("what you type is kept meanwhile")
    notebook.until("'Half a sen' in lab.file.read_text()")
    notebook.restart_and_run_all()
    notebook.wait_idle()
    expect(why.field()).to_have_value("Half a sen")
    expect(why.status).to_contain_text("not given yet")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_lab, picture, theme):
    notebook, questions = open_lab()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    why, word, win = questions
    for answered in (False, True):
        if answered:
            why.field().fill("There are more concepts than neurons, so that they have to share.")
            why.button("Keep answer").click()
            why.button("Show the answer").click()
            word.field().fill("mountain")
            word.button("Check").click()
            win.radio("the sea").check()
            win.button("Predict").click()
            expect(win.radio("the sea")).to_be_disabled()
        for width in (600, 1400):
            page.set_viewport_size({"width": width, "height": 1100})
            for each in questions:
                assert each.root.evaluate(WIDER_THAN_ITSELF) == []
                read = each.root.locator("p, label, .sw-note, h3, .sw-lab-kind span, .sw-lab-mark b, .sw-button")
                assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
            picture(page, f"lab-{'answered' if answered else 'asked'}-{theme}-{width}")
        assert serious(page, ".sw-lab") == []
    notebook.wear("Light")
