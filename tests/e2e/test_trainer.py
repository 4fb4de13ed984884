"""ConceptTrainer in JupyterLab, by accessible names: typed and pasted texts, files, answers, sums, doses, copies."""

import re

import pytest
from e2e.conftest import TINY
from e2e.lab import PATIENCE
from e2e.test_accessibility import serious
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

import steerwidgets as sw

WITH = [
    f"thank you {word} for it" for word in ("so much", "all", "kindly", "again", "truly", "dearly", "both", "a lot")
]
WITHOUT = [f"the train to {word} leaves" for word in ("York", "Bath", "Leeds", "Hull", "Ely", "Kent", "Wells", "Ryde")]
EMPTY = """
panel = sw.SteeringPanel(lm, cavs)
trainer = sw.ConceptTrainer(lm, dictionaries=cavs, panel=panel)
trainer
"""
FILLED = f"""
panel = sw.SteeringPanel(lm, cavs)
trainer = sw.ConceptTrainer(lm, {WITH}, {WITHOUT}, name="grateful", dictionaries=cavs, panel=panel)
trainer
"""


class Trainer:
    """One view of a trainer, by accessible names."""

    def __init__(self, page, root=None) -> None:
        self.page = page
        self.root = root or page.locator(".sw-trainer")
        self.status = self.root.get_by_role("status").first
        self.block = self.root.get_by_role("slider", name="Block")

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def box(self, name: str):
        return self.root.get_by_role("textbox", name=name, exact=True)

    def choice(self, name: str):
        return self.root.get_by_role("combobox", name=name, exact=True)

    def file(self, name: str):
        return self.root.get_by_label(name, exact=True)

    def texts(self, name: str):
        return self.region(f"Texts {name}").get_by_role("option")

    def train(self) -> None:
        self.button("Train").click()
        self.expect_trained()

    def expect_trained(self) -> None:
        expect(self.status).to_contain_text(re.compile(r"\d+ texts · 4 blocks"), timeout=2 * PATIENCE)
        expect(self.block).to_have_count(1)


@pytest.fixture
def open_trainer(open_tiny):
    """A trainer on the tiny model, shown and ready."""

    def open_(cell: str = FILLED, *more: str, **options):
        notebook = open_tiny(TINY, cell, *more, **options)
        trainer = Trainer(notebook.page)
        trainer.box("Name of the concept").wait_for(timeout=2 * PATIENCE)
        return notebook, trainer

    return open_


def printed(notebook, expression: str) -> str:
    return notebook.printed(f"print({expression})").strip()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_trainer, picture, theme):
    notebook, trainer = open_trainer()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    load = trainer.file("Load a concept").bounding_box()
    assert load["width"] < 100  # as wide as its word, not as its pane
    trainer.train()
    notebook.execute("trainer.selected = 1")
    expect(trainer.region("Block 1")).to_be_visible()
    trainer.button("+ Add").click()
    expect(trainer.region("Arithmetic")).to_contain_text("cos to grateful")
    for source in ("texts", "two prompts"):
        trainer.root.get_by_role("radio", name=source).check()
        for width in (600, 1400):
            page.set_viewport_size({"width": width, "height": 1000})
            assert trainer.root.evaluate(WIDER_THAN_ITSELF) == []
            read = trainer.root.locator("[role=option] span:first-child, dd, dt, h3, .sw-note, .sw-chip, figcaption")
            assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
            picture(page, f"trainer-{theme}-{width}-{source.replace(' ', '-')}")
            assert serious(page, ".sw-trainer") == []
    notebook.wear("Light")


def test_keys_alone_from_nothing_to_a_panel(open_trainer):
    notebook, trainer = open_trainer(EMPTY)
    keys = notebook.page.keyboard
    expect(trainer.root).to_contain_text("Give texts with the concept and texts without it: type or paste them")
    expect(trainer.button("Train")).to_have_attribute("aria-disabled", "true")
    trainer.box("Name of the concept").focus()
    keys.type("grateful")
    for side, texts in (("with it", WITH), ("without", WITHOUT)):
        trainer.box(f"Add texts {side}").focus()
        for text in texts[:5]:
            keys.type(text)
            keys.press("Enter")
        expect(trainer.texts(side)).to_have_count(5)
    trainer.texts("without").first.focus()
    keys.press("End")
    expect(trainer.texts("without").last).to_be_focused()
    keys.press("Delete")
    expect(trainer.texts("without")).to_have_count(4)
    expect(trainer.texts("without").last).to_be_focused()
    keys.press("Enter")  # back into the box, to be written otherwise
    expect(trainer.box("Add texts without")).to_be_focused()
    expect(trainer.box("Add texts without")).to_have_value(WITHOUT[3])
    keys.press("End")
    keys.type(" at noon")
    keys.press("Control+Enter")
    trainer.expect_trained()
    expect(trainer.texts("without").last).to_contain_text("at noon")
    trainer.block.focus()
    keys.press("Home")
    expect(trainer.region("Block 0")).to_be_visible()
    keys.press("ArrowRight")
    expect(trainer.region("Block 1")).to_be_visible()
    trainer.button("Steer with this").focus()
    keys.press("Enter")
    expect(trainer.root).to_contain_text("is in the panel's recipe now.")
    notebook.until("[steer.feature.label for steer in panel.recipe] == ['grateful']")
    notebook.until("trainer.cav.site.layer == 1")
    before = notebook.cells()
    trainer.texts("with it").first.focus()
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    assert notebook.cells() == before


def test_numbers_are_what_the_plain_call_gives(open_trainer):
    notebook, trainer = open_trainer()
    trainer.train()
    best = int(printed(notebook, "trainer.concept.best.layer"))
    expect(trainer.region(f"Block {best}")).to_be_visible()
    notebook.execute("best = trainer.concept.best")
    auroc, right, tested = printed(notebook, "f'{best.held_out.auroc:.2f}', best.right, best.tested").split()
    expect(trainer.region(f"Block {best}")).to_contain_text(auroc)
    expect(trainer.region(f"Block {best}")).to_contain_text(f"{right} of {tested}")
    trainer.root.get_by_text("Table of the numbers").click()
    expect(trainer.root.get_by_role("table", name="Numbers of every block").get_by_role("row")).to_have_count(5)
    trainer.root.get_by_text("All held-out texts").click()
    confused = int(printed(notebook, "len(trainer.concept.confused())"))
    listed = trainer.region("Held-out texts, scrolls").get_by_role("listitem")
    expect(listed.filter(has_text=", confused")).to_have_count(confused)
    expect(listed).to_have_count(int(tested))
    expect(trainer.root.get_by_role("img", name=re.compile(f"{confused} on the wrong side"))).to_be_visible()


def test_pasted_lists_and_what_stands_in_both(open_trainer):
    _, trainer = open_trainer(EMPTY)
    trainer.box("Add texts with it").fill("\n".join([*WITH, WITH[0]]))
    trainer.region("Texts with it").get_by_role("button", name="Add", exact=True).click()
    trainer.box("Add texts without").fill("\n".join([*WITHOUT, WITH[1]]))
    trainer.region("Texts without").get_by_role("button", name="Add", exact=True).click()
    told = trainer.root.get_by_role("note", name="What is read")
    expect(told).to_contain_text("1 text with it stands there twice: read once.")
    expect(told).to_contain_text("1 text stands in both lists: left out of both.")
    trainer.train()
    trainer.button("Remove all texts with it").click()
    expect(trainer.root).to_contain_text("There is no text with it; give 2 or more")
    expect(trainer.button("Train")).to_have_attribute("aria-disabled", "true")
    expect(trainer.block).to_have_count(1)  # what was trained stays


def test_files_tables_and_what_cannot_be_read(open_trainer):
    notebook, trainer = open_trainer(EMPTY)
    give = lambda name, filename, data: trainer.file(name).set_input_files(
        {"name": filename, "mimeType": "text/plain", "buffer": data}
    )
    give("File of texts with it", "with.txt", "\n".join(WITH).encode())
    expect(trainer.texts("with it")).to_have_count(8)
    give("File of texts without", "without.jsonl", "\n".join(f'{{"text": "{text}"}}' for text in WITHOUT).encode())
    expect(trainer.texts("without")).to_have_count(8)
    give("File of texts without", "latin.txt", "café".encode("latin-1"))
    expect(trainer.root.get_by_role("alert")).to_contain_text("latin.txt is not UTF-8 text")
    trainer.button("Dismiss").click()
    expect(trainer.texts("without")).to_have_count(8)
    trainer.root.get_by_role("radio", name="table").check()
    expect(trainer.root).to_contain_text("Choose a file with texts and labels")
    rows = [(text, "thanks") for text in WITH] + [(text, "trains") for text in WITHOUT]
    give("File with texts and labels", "t.csv", ("words,kind\n" + "\n".join(map(",".join, rows))).encode())
    expect(trainer.choice("Column of texts")).to_have_value("words")
    expect(trainer.choice("Column of labels")).to_have_value("kind")
    trainer.choice("Label of the concept").select_option("thanks")
    expect(trainer.region("Table")).to_contain_text("8 texts with it · 8 texts without")
    trainer.train()
    notebook.until("trainer.concept.told == (\"With it are the 8 rows labelled 'thanks'.\",)")


def test_the_model_writes_under_two_prompts_and_can_be_stopped(open_trainer):
    notebook, trainer = open_trainer(EMPTY)
    trainer.root.get_by_role("radio", name="two prompts").check()
    trainer.box("System prompt with it").fill("You are grateful.")
    trainer.box("System prompt without").fill("You are bored.")
    trainer.box("Questions, one in each line").fill("How are you?\nWhat is new?\nWhat did you eat?\nWho came?")
    trainer.root.get_by_role("spinbutton", name="Tokens of an answer").fill("300")
    trainer.button("Let the model write 8").click()
    expect(trainer.button("Stop")).not_to_have_attribute("aria-disabled", "true")
    trainer.button("Stop").click()
    expect(trainer.status).to_contain_text("Stopped", timeout=2 * PATIENCE)
    trainer.root.get_by_role("spinbutton", name="Tokens of an answer").fill("6")
    trainer.button("Let the model write 8").click()
    expect(trainer.texts("with it")).to_have_count(4, timeout=2 * PATIENCE)
    trainer.train()
    expect(trainer.root).to_contain_text("mean over response tokens")
    notebook.until("all(entry['written'] for entry in trainer.inputs['positives'])")


def test_a_sum_a_dose_check_save_and_load(open_trainer):
    notebook, trainer = open_trainer()
    trainer.train()
    notebook.execute("trainer.selected = 1")
    expect(trainer.region("Block 1")).to_be_visible()
    expect(trainer.region("Nearest").get_by_role("listitem")).to_have_count(3)
    trainer.choice("Other concept").select_option("0:1")
    trainer.button("− Take away").click()
    expect(trainer.region("Arithmetic")).to_contain_text("cos to grateful")
    trainer.button("Steer with the sum").click()
    expect(trainer.root).to_contain_text("is in the panel's recipe now.")
    notebook.until("[(site.layer, site.stream) for site in panel.recipe.sites] == [(1, 'resid_post')]")
    trainer.button("Remove cooking and food from the sum").click()
    expect(trainer.region("Arithmetic")).not_to_contain_text("cos to grateful")
    trainer.button("Check the dose").click()
    table = trainer.root.get_by_role("table", name="On topic by strength")
    expect(table.get_by_role("row")).to_have_count(5, timeout=4 * PATIENCE)
    expect(trainer.button("Check again")).not_to_have_attribute("aria-disabled", "true", timeout=4 * PATIENCE)
    expect(trainer.region("Dose check")).to_contain_text(re.compile(r"judged by the (probe of block|words of)"))
    with notebook.page.expect_download() as saving:
        trainer.button("Save").click()
    path = saving.value.path()
    assert saving.value.suggested_filename == "grateful.safetensors"
    assert sw.CAV.load(path).labels == ("grateful",)
    data = path.read_bytes()
    trainer.file("Load a concept").set_input_files(
        {"name": "grateful.safetensors", "mimeType": "application/octet-stream", "buffer": data}
    )
    expect(trainer.root).to_contain_text("Loaded from a file, with its texts: press Train for the scores")
    expect(trainer.texts("with it")).to_have_count(8)
    notebook.until("(trainer.cav.labels, trainer.concept) == (('grateful',), None)")
    expect(trainer.button("Steer with this")).to_be_visible()


def test_where_it_steers_is_asked_for_stopped_and_asked_again(open_trainer, picture):
    notebook, trainer = open_trainer()
    trainer.train()
    trainer.button("Steer in every block").click()
    expect(trainer.status).to_contain_text(re.compile("steering in every block|Starting"), timeout=2 * PATIENCE)
    trainer.button("Stop").click()
    expect(trainer.status).to_contain_text("Stopped", timeout=2 * PATIENCE)
    trainer.root.get_by_role("button", name=re.compile("^Steer in every block")).press("Enter")
    region = trainer.region("Steering by block")
    expect(region).to_contain_text(re.compile("The (concept|answers)"), timeout=6 * PATIENCE)
    expect(trainer.button("Stop")).to_have_attribute("aria-disabled", "true", timeout=6 * PATIENCE)
    expect(region).to_contain_text("every block adds 30 % of ‖h‖, judged by the ")
    notebook.until("(len(trainer.blocks.answers), trainer.blocks.stopped) in [(54, False), (42, False)]")
    trainer.root.get_by_text("Table of the numbers").click()
    table = trainer.root.get_by_role("table", name="Numbers of every block")
    expect(table.get_by_role("columnheader", name="steered, on topic")).to_be_visible()
    expect(trainer.root.get_by_role("img", name=re.compile("AUROC on held-out texts"))).to_be_visible()
    for theme in ("Light", "Dark"):
        notebook.wear(theme)
        picture(notebook.page, f"trainer-steered-{theme}")
    notebook.wear("Light")


def test_a_frozen_copy_is_looked_at_without_a_kernel(open_saved, fresh, tmp_path, picture):
    lm = fresh("llama")
    cavs = sw.CAV(sw.CAV.demo().vectors[:3, :32], ["sea", "food", "sky"], layer=1)
    widget = sw.ConceptTrainer(lm, WITH, WITHOUT, name="grateful", dictionaries=cavs)
    widget.train()
    widget.selected = 1
    widget.combine(plus=[cavs["sea"]])
    path = widget.to_html(tmp_path / "trainer.html")
    widget.close()
    page = open_saved(path)
    trainer = Trainer(page)
    expect(trainer.region("Block 1")).to_be_visible()
    expect(trainer.region("Arithmetic")).to_contain_text("cos to grateful")
    trainer.block.focus()
    page.keyboard.press("ArrowRight")
    expect(trainer.region("Block 2")).to_be_visible()
    expect(trainer.root.get_by_text("frozen copy", exact=True)).to_be_visible()
    for name in ("Train", "Stop", "Steer with this", "Save", "+ Add"):
        expect(trainer.button(name)).to_have_count(0)
    expect(trainer.texts("with it")).to_have_count(8)
    picture(page, "trainer-frozen")


def test_it_says_that_the_kernel_was_restarted(open_trainer):
    notebook, trainer = open_trainer()
    trainer.train()
    notebook.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(trainer.root.get_by_role("alert").first).to_contain_text("The kernel was restarted", timeout=2 * PATIENCE)
