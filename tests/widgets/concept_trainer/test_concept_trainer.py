"""ConceptTrainer from Python and from its page's side: texts, training, answers, sums, doses, files, refusals."""

from __future__ import annotations

import base64
import json

import pytest
import torch
from support.concepts import corpus
from widgets.conftest import LABELS, Gate, vectors
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.concepts.training import ConceptTraining

WITH = ["thank you so much", "we are grateful", "thanks for all of it", "how thankful I am", "many thanks to you all"]
WITHOUT = ["the train leaves at noon", "a red car was parked", "we measured the room", "he closed the shop", "it rains"]


@pytest.fixture
def make(lm, cavs):
    made = []

    def make_(positives=WITH, negatives=WITHOUT, **settings):
        given = {"name": "grateful", "dictionaries": [cavs], **settings}
        made.append(sw.ConceptTrainer(lm, positives, negatives, **given))
        return made[-1]

    yield make_
    for trainer in made:
        trainer.close()


@pytest.fixture
def page_of():
    return FrontEnd


def inputs_of(trainer, **changes):
    return {**trainer.inputs, **changes}


def entries(texts):
    return [{"text": text, "key": -1, "written": False} for text in texts]


def sent(data, name, side="positives", **more):
    return {"filename": name, "data": base64.b64encode(data).decode(), "side": side, **more}


# What it trains


@pytest.mark.parametrize("method", ["mean_difference", "logistic", "svm"])
def test_it_shows_what_the_plain_call_gives(lm, make, page_of, method):
    trainer = make(method=method)
    page = page_of(trainer)
    assert page.call("train", inputs=dict(trainer.inputs))["type"] == "result"
    plain = lm.concept(WITH, WITHOUT, name="grateful", method=method)
    assert [row["layer"] for row in trainer.result["layers"]] == [0, 1, 2, 3]
    for row, layer in zip(trainer.result["layers"], plain.layers, strict=True):
        assert row["auroc"] == pytest.approx(layer.held_out.auroc)
        assert (row["right"], row["tested"]) == (layer.right, layer.tested)
        assert row["shuffled"]["accuracy"] == pytest.approx(layer.shuffled.accuracy)
        assert row["selectivity"]["auroc"] == pytest.approx(layer.selectivity.auroc, abs=1e-6)
        assert row["projections"] == pytest.approx(layer.projections, rel=1e-4)
        top = lm.top_logits(layer.dictionary[0], 6)
        assert [token["id"] for token in row["promoted"]] == [token.id for token, _ in top.promoted]
    assert [test["text"] for test in trainer.result["tests"]] == [test.text for test in plain.tests]
    assert trainer.selected == trainer.result["best"] == plain.best.layer
    torch.testing.assert_close(trainer.cav.vectors, plain.cav.vectors)
    assert trainer.status["state"] == "done"


def test_reft_r1_is_trained_in_the_blocks_that_are_asked_for(make):
    trainer = make(method="reft_r1", layers=[1])
    assert trainer.train().pooling == "largest relu(h·v) over tokens"
    assert isinstance(trainer.cav, sw.ReFT)
    assert trainer.result["layers"][0]["shuffled"] is not None


def test_the_value_is_the_concept_of_the_block_that_is_looked_at(make, page_of):
    trainer = make()
    assert trainer.cav is None
    trainer.train()
    page_of(trainer).update(selected=0)
    assert trainer.cav.site == sw.Site(0)
    page_of(trainer).update(selected=77)
    assert trainer.cav.site.layer in range(4)


def test_progress_stop_and_another_run(lm, make, page_of):
    gate = Gate(lm.architecture.base)
    texts, _ = corpus(20, kinds=("sea",))
    trainer = make(texts[::2], texts[1::2])
    page = page_of(trainer)
    request = page.ask("train", inputs=dict(trainer.inputs))
    assert gate.held.wait(30)
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"
    assert (trainer.status["state"], trainer.result, trainer.cav) == ("stopped", {}, None)
    gate.remove()
    request = page.ask("train", inputs=dict(trainer.inputs))
    assert page.end(request)["type"] == "result"
    steps = [(m["phase"], m["done"], m["total"]) for m in page.of(request, "progress")]
    assert steps == [("reading", 16, 20), ("reading", 20, 20), *[("fitting", n, 4) for n in (1, 2, 3, 4)]]


def test_nearest_features_are_of_dictionaries_at_the_same_block(make):
    trainer = make()
    trainer.train()
    for row in trainer.result["layers"]:
        assert len(row["others"]) == (3 if row["layer"] == 1 else 0)
    [row] = [row for row in trainer.result["layers"] if row["layer"] == 1]
    v = trainer.concept.at(1).dictionary.vectors[0]
    expected = torch.nn.functional.cosine_similarity(vectors(), v[None])
    assert {each["index"]: each["cosine"] for each in row["others"]} == pytest.approx(
        dict(enumerate(expected.tolist())), abs=1e-5
    )
    assert [each["cosine"] for each in row["others"]] == sorted(
        (each["cosine"] for each in row["others"]), reverse=True
    )


# Where the texts come from


def test_typed_texts_are_cleaned_and_told(make, page_of):
    trainer = make((), None)
    assert "Give texts with the concept" in trainer.plan["problem"]
    page = page_of(trainer)
    typed = inputs_of(trainer, positives=entries([*WITH, WITH[0], "both"]), negatives=entries([*WITHOUT, "both", " "]))
    page.call("plan", inputs=typed)
    assert (trainer.plan["problem"], trainer.plan["counts"]) == ("", [5, 5])
    assert trainer.plan["told"] == [
        "1 text with it stands there twice: read once.",
        "1 empty text without: left out.",
        "1 text stands in both lists: left out of both.",
    ]
    assert page.call("train", inputs=typed)["type"] == "result"


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.csv"])
def test_files_go_into_a_list(make, page_of, name):
    trainer = make((), None)
    page = page_of(trainer)
    text = {
        "t.txt": "one text\ntwo texts\n",
        "t.jsonl": '"one text"\n{"text": "two texts"}',
        "t.csv": "text\none text\ntwo texts\n",
    }
    answer = page.call("file", **sent(text[name].encode(), name, inputs=dict(trainer.inputs)))
    assert answer["value"]["said"] == f"2 texts of {name} were added."
    assert trainer.inputs["positives"] == entries(["one text", "two texts"])


def test_ten_thousand_long_texts_are_cut_and_told(make, page_of):
    trainer = make((), WITHOUT)
    data = "\n".join(f"{i} " + "word " * 1000 for i in range(2000)).encode()
    answer = page_of(trainer).call("file", **sent(data, "long.txt", inputs=dict(trainer.inputs)))
    assert answer["value"]["said"] == "500 of 2,000 texts of long.txt were added: the first that are not empty."
    assert len(trainer.inputs["positives"]) == 500
    assert max(len(entry["text"]) for entry in trainer.inputs["positives"]) == 4000
    assert "500 texts are read up to token 256 (max_tokens=)." in trainer.plan["told"]


def test_long_lists_from_code_are_cut_and_told(make):
    trainer = make([f"thanks number {i} " + "word " * 1000 for i in range(600)], WITHOUT)
    assert [len(trainer.inputs[side]) for side in ("positives", "negatives")] == [500, 5]
    assert trainer.plan["told"][0] == "600 texts with it were given; 500 of them, drawn by seed 0, are here."
    assert max(len(entry["text"]) for entry in trainer.inputs["positives"]) == 4000


def test_stop_while_fitting_keeps_the_blocks_that_are_done(make, page_of, monkeypatch):
    trainer = make()
    page, fitted = page_of(trainer), ConceptTraining._fitted

    def slow(training, site, vectors):
        if site.layer == 1:
            page.cancel("request-1")
        return fitted(training, site, vectors)

    monkeypatch.setattr(ConceptTraining, "_fitted", slow)
    assert page.call("train", inputs=dict(trainer.inputs))["type"] == "cancelled"
    assert [row["layer"] for row in trainer.result["layers"]] == [0, 1]
    assert (trainer.result["stopped"], trainer.status["state"]) == (True, "stopped")
    assert trainer.cav.site.layer in (0, 1)


def test_a_table_with_labels(lm, make, page_of):
    rows = [{"words": text, "kind": "thanks"} for text in WITH] + [{"words": text, "kind": "other"} for text in WITHOUT]
    trainer = make(rows, None, name="thanks")
    assert trainer.inputs["source"] == "table"
    assert trainer.plan["told"] == ["With it are the 5 rows labelled 'thanks'."]
    assert (trainer.table["text"], trainer.table["label"]) == ("words", "kind")
    page = page_of(trainer)
    page.call("train", inputs=inputs_of(trainer, columns=["", "", "other"]))
    plain = lm.concept(WITHOUT, WITH, name="thanks")
    torch.testing.assert_close(trainer.cav.vectors, plain.cav.vectors)
    data = "text,label\n" + "\n".join(f"{text},{kind}" for kind in "ab" for text in ("one two", "three four " + kind))
    page.call("file", **sent(data.encode(), "t.csv", "table", inputs=dict(trainer.inputs)))
    assert (trainer.table["name"], trainer.table["rows"]) == ("t.csv", 4)
    page.call("plan", inputs=inputs_of(trainer, columns=["nowhere", "", ""]))
    assert "has no column 'nowhere'" in trainer.plan["problem"]


def test_the_model_writes_both_lists(lm, make, page_of):
    trainer = make(
        (), None, systems=("Be glad.", "Be sad."), questions=["How are you?", "What is new?", "Why?"], tokens=8
    )
    assert trainer.plan["problem"].startswith("Write two system prompts")
    page = page_of(trainer)
    request = page.ask("write", inputs=dict(trainer.inputs))
    assert page.end(request)["type"] == "result"
    assert [m["done"] for m in page.of(request, "progress")] == [6]
    plain = lm.contrast("Be glad.", "Be sad.", ["How are you?", "What is new?", "Why?"], max_new_tokens=8)
    assert [entry["text"] for entry in trainer.inputs["positives"]] == [text.answer for text in plain.a]
    assert all(entry["written"] for entry in trainer.inputs["negatives"])
    assert trainer.train().pooling == "mean over response tokens"
    torch.testing.assert_close(trainer.cav.vectors, lm.concept(plain, name="grateful").cav.vectors)
    page.call("plan", inputs=inputs_of(trainer, source="texts"))
    assert "Give texts with the concept" in trainer.plan["problem"]  # what the model wrote is of the two prompts
    trainer.write()
    assert len(trainer.inputs["positives"]) == 3
    given = make(plain, None)
    assert given.inputs["systems"] == ["Be glad.", "Be sad."]
    assert given.train().pooling == "mean over response tokens"


def test_messages_and_ids_are_kept(lm, make):
    messages = [[{"role": "user", "content": text}] for text in WITH]
    ids = [list(lm.encode(text, chat=False).token_ids) for text in WITHOUT]
    trainer = make(messages, ids)
    assert WITHOUT[0] in trainer.inputs["negatives"][0]["text"]
    trainer.train()
    torch.testing.assert_close(trainer.cav.vectors, lm.concept(messages, ids, name="grateful").cav.vectors)


# What it makes of the concept


def test_arithmetic(lm, make, cavs, page_of):
    trainer = make()
    trainer.train()
    page = page_of(trainer)
    page.update(selected=1)
    assert page.call("sum", terms=[{"id": "0:0", "sign": 1}, {"id": "0:1", "sign": -1}])["type"] == "result"
    expected = trainer.cav[0].direction + cavs[0].direction - cavs[1].direction
    assert trainer.total["label"] == f"grateful + {LABELS[0]} − {LABELS[1]}"
    assert trainer.total["cosine"] == pytest.approx(expected.cosine(trainer.cav[0]), abs=1e-3)
    assert [token["id"] for token in trainer.total["promoted"]] == [
        token.id for token, _ in lm.top_logits(expected, 6).promoted
    ]
    [steer] = trainer.steer(total=True)
    assert steer.feature.label == expected.label
    page.call("sum", terms=[])
    assert trainer.total == {}
    made = trainer.combine(plus=[cavs[2]])
    torch.testing.assert_close(made.vector, (trainer.cav[0].direction + cavs[2].direction).vector)
    page.update(selected=2)
    assert trainer.total == {}
    assert page.call("sum", terms=[{"id": "0:0", "sign": 1}])["type"] == "error"  # of another block


def test_it_goes_into_a_panel(make, make_panel, page_of):
    panel = make_panel()
    trainer = make(panel=panel)
    trainer.train()
    page = page_of(trainer)
    assert "is in the panel's recipe now." in page.call("send", total=False)["value"]["said"]
    assert [steer.feature.label for steer in panel.recipe] == ["grateful"]
    page.call("send", total=False)
    assert len(panel.recipe) == 1
    panel.generate()
    assert sw.Recipe.from_json(trainer.steer_requested["recipe"], dictionaries=[trainer.cav]) == panel.recipe
    trainer.steer_in(None)
    assert "trainer.steer_requested" in page.call("send", total=False)["value"]["said"]
    assert "There is no sum yet" in page.call("send", total=True)["error"]["message"]


def trained_on_the_sea(make):
    """A trainer with texts enough for a judge of their own, and what it found."""
    texts, labels = corpus(16, kinds=("sea", "code"))
    given = [[text for text, label in zip(texts, labels, strict=True) if label == kind] for kind in ("sea", "code")]
    trainer = make(*given)
    return trainer, trainer.train()


def test_a_dose_check_is_judged_by_texts_that_the_direction_has_not_seen(lm, make, page_of):
    trainer, concept = trained_on_the_sea(make)
    page = page_of(trainer)
    request = page.ask("dose")
    assert page.end(request)["type"] == "result"
    assert trainer.checked["judge"].startswith("probe of block ")
    assert f"block {concept.best.layer}" not in trainer.checked["judge"]
    assert [row["strength"] for row in trainer.checked["rows"]] == list(trainer.dose.strengths)
    assert trainer.checked["rows"][0]["on_topic"]["n"] == 3
    assert trainer.checked["rows"][0]["random"]["n"] == 3
    assert [m["phase"] for m in page.of(request, "progress")][-1] == "answering"
    few = make()
    few.train()
    assert few.check_dose().judge == "words of the label"
    nameless = make(name="")
    nameless.inputs = inputs_of(nameless, name="of the")
    nameless.train()
    assert "Nothing can judge" in page_of(nameless).call("dose")["error"]["message"]


def test_all_blocks_are_steered_and_judged_by_texts_that_none_has_seen(lm, make, page_of):
    trainer, concept = trained_on_the_sea(make)
    page = page_of(trainer)
    request = page.ask("blocks")
    assert page.end(request)["type"] == "result"
    found, shown = trainer.blocks, trainer.steered
    assert (found.judge, found.left_out) == ("probe of block 2", (2,))
    assert [row["layer"] for row in shown["rows"]] == [0, 1, 3] == [row.layer for row in found.rows]
    own = lm.dose_by_block(
        concept.features,
        prompts=found.prompts,
        seeds=2,
        judge=sw.Probe.fit(
            lm,
            trainer._training.held_out(positive=True),
            trainer._training.held_out(positive=False),
            layer=2,
            label="grateful",
        ),
    )
    assert [a.text for a in own.answers] == [a.text for a in found.answers]
    assert [(row.on_topic, row.random) for row in own.rows] == [(row.on_topic, row.random) for row in found.rows]
    assert shown["best"] == found.best
    told = page.of(request, "progress")
    assert {each["phase"] for each in told} == {"steering"}
    done = [each["done"] for each in told]
    assert done == sorted(done)
    assert done[-1] == told[-1]["total"] == 6 * 7
    trainer.train()
    assert (trainer.blocks, trainer.steered) == (None, {})
    assert "There are no blocks to try" in page_of(make((), None)).call("blocks")["error"]["message"]


def test_a_check_of_all_blocks_that_is_stopped_keeps_what_is_done(lm, make, page_of):
    trainer = make()
    trainer.train()
    page = page_of(trainer)
    gate = Gate(lm.model)
    try:
        request = page.ask("blocks")
        gate.let(60)
        page.cancel(request)
        gate.open()
        assert page.end(request)["type"] == "cancelled"
    finally:
        gate.remove()
    assert trainer.status["state"] == "stopped"
    assert trainer.check_blocks().stopped is False


def test_texts_go_with_the_concept_and_come_back(lm, make, page_of, tmp_path):
    trainer = make(["é\u202e\n thanks", *WITH])
    trainer.train()
    trainer.inputs = inputs_of(trainer, positives=entries(["typed since"]))
    trainer.save(tmp_path / "c.safetensors")
    assert sw.CAV.load(tmp_path / "c.safetensors").texts == (("é\u202e\n thanks", *WITH), tuple(WITHOUT))
    other = make((), None, name="")
    other.load(tmp_path / "c.safetensors")
    assert [each["text"] for each in other.inputs["positives"]] == ["é\u202e\n thanks", *WITH]
    assert [each["text"] for each in other.inputs["negatives"]] == WITHOUT
    assert (other.inputs["name"], other.plan["problem"]) == ("grateful", "")
    assert other.result["told"] == ["Loaded from a file, with its texts: press Train for the scores of every block."]
    other.save(tmp_path / "again.safetensors")
    assert sw.CAV.load(tmp_path / "again.safetensors").texts == sw.CAV.load(tmp_path / "c.safetensors").texts
    torch.testing.assert_close(other.train().best.dictionary.vectors, trainer.concept.best.dictionary.vectors)
    trainer.save(tmp_path / "bare.safetensors", texts=False)
    before = dict(other.inputs)
    other.load(tmp_path / "bare.safetensors")
    assert other.inputs == before
    assert other.result["told"] == ["Loaded from a file: its texts are not in it."]
    many = [f"text {i} " + "of the same words " * 20 for i in range(500)]
    large = make(many, [f"other {i} " + "of the same words " * 20 for i in range(500)], layers=[1])
    large.train()
    large.save(tmp_path / "large.safetensors")
    assert (tmp_path / "large.safetensors").stat().st_size < 20_000


def test_texts_of_a_file_that_are_damaged_are_one_sentence(make, tmp_path):
    import zlib

    from safetensors import safe_open
    from safetensors.torch import save_file

    trainer = make()
    trainer.train()
    path = tmp_path / "c.safetensors"
    trainer.save(path)
    with safe_open(path, "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    bytes_of = lambda data: torch.frombuffer(bytearray(data), dtype=torch.uint8)
    bomb = zlib.compressobj(9)
    bombed = b"".join(bomb.compress(b" " * 2**20) for _ in range(20)) + bomb.flush()
    for spoilt, says in (
        (tensors["texts"][:-9], "The texts in c.safetensors are damaged, or unpack to more than 16 MB"),
        (bytes_of(bombed), "The texts in c.safetensors are damaged, or unpack to more than 16 MB"),
        (torch.ones(3), "The texts in c.safetensors are damaged"),
        (bytes_of(zlib.compress(b'{"positives": [3], "negatives": []}')), "positives should be a list of texts"),
        (bytes_of(zlib.compress(b"[")), "What unpacks as texts of c.safetensors is not whole JSON"),
    ):
        save_file(tensors | {"texts": spoilt}, path, header)
        with pytest.raises(ValueError, match=says):
            trainer.load(path)
        assert trainer.concept is not None


def test_save_and_load(lm, make, page_of, tmp_path):
    trainer = make()
    trainer.train()
    page = page_of(trainer)
    saved = page.call("save")["value"]
    assert saved["filename"] == "grateful.safetensors"
    (tmp_path / "c.safetensors").write_bytes(base64.b64decode(saved["data"]))
    loaded = sw.CAV.load(tmp_path / "c.safetensors")
    assert loaded.fingerprint == trainer.cav.fingerprint
    assert loaded.report.auroc == pytest.approx(trainer.concept.best.held_out.auroc)
    other = make((), None)
    answer = page_of(other).call("file", **sent(base64.b64decode(saved["data"]), "c.safetensors", "table", inputs={}))
    assert answer["value"]["said"] == "c.safetensors was loaded."
    assert other.cav.labels == ("grateful",)
    assert other.result["layers"][0]["auroc"] == pytest.approx(trainer.concept.best.held_out.auroc)
    assert len(other.steer()) == 1
    trainer.save(tmp_path / "d.safetensors")
    assert other.load(tmp_path / "d.safetensors").size == 1
    sw.CAV(torch.randn(1, 8), ["narrow"], layer=1).save(tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match="made for another model"):
        other.load(tmp_path / "n.safetensors")
    sw.CAV(torch.randn(2, 32), ["a", "b"], layer=1).save(tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="holds 2 concepts"):
        other.load(tmp_path / "two.safetensors")
    assert other.cav.labels == ("grateful",)


def test_reft_is_saved_as_a_cav(make, tmp_path):
    trainer = make(method="reft_r1", layers=[1])
    trainer.train()
    trainer.save(tmp_path / "r.safetensors")
    torch.testing.assert_close(sw.CAV.load(tmp_path / "r.safetensors").vectors, trainer.cav.weight)


def test_a_run_from_code_that_the_page_stops_says_so(lm, make, page_of):
    texts, _ = corpus(20, kinds=("sea",))
    trainer = make(texts[::2], texts[1::2])
    page = page_of(trainer)

    def stop(*_):
        for request_id in list(trainer._protocol.running):
            page.cancel(request_id)

    handle = lm.architecture.base.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="It was stopped before anything was done"):
        trainer.train()
    handle.remove()
    assert trainer.status["state"] == "stopped"
    assert trainer.train().layers


# What is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"positives": entries(["one text"])}, "There is only 1 text with it; give 2 or more"),
        ({"negatives": []}, "There is no text without; give 2 or more"),
        ({"positives": entries(WITHOUT)}, "There is no text with it after those in both lists were left out"),
        ({"blocks": "9"}, "The blocks of this model go from 0 to 3"),
        ({"blocks": "x"}, "Blocks are all, or numbers and ranges such as 0-9, 15; 'x' is none."),
        ({"source": "table"}, "Choose a file with texts and labels"),
    ],
)
def test_what_is_amiss_with_the_texts_stands_beside_them_and_nothing_is_lost(make, page_of, changes, sentence):
    trainer = make()
    trainer.train()
    page, result = page_of(trainer), trainer.result
    page.call("plan", inputs=inputs_of(trainer, **changes))
    assert sentence in trainer.plan["problem"]
    assert sentence in page.call("train", inputs=dict(trainer.inputs))["error"]["message"]
    assert trainer.result == result
    with pytest.raises(ValueError):
        trainer.train()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "pca"}, "method is one of"),
        ({"pool": "x"}, "pool is one of"),
        ({"source": "x"}, "source is one of"),
        ({"name": 3}, "The name of a concept is a text"),
        ({"tokens": 0}, "An answer has from 1 to 1024 tokens"),
        ({"positives": "x"}, "A list of texts came as"),
        ({"positives": [3]}, "A text of a list is its words"),
        ({"systems": ["a"]}, "The system prompts are 2 texts"),
        ({"questions": [3]}, "The questions are texts"),
    ],
)
def test_damaged_inputs_are_one_sentence_and_change_nothing(make, page_of, changes, sentence):
    trainer = make()
    before = dict(trainer.plan)
    for name in ("plan", "train", "write"):
        assert sentence in page_of(trainer).call(name, inputs=inputs_of(trainer, **changes))["error"]["message"]
    assert trainer.plan == before


def test_damaged_requests(make, page_of):
    trainer = make()
    page = page_of(trainer)
    assert "The inputs of a trainer are" in page.call("train", inputs=3)["error"]["message"]
    for name in ("dose", "send", "save"):
        assert "Nothing is trained yet" in page.call(name)["error"]["message"]
    assert "A file comes with its name" in page.call("file", filename=3)["error"]["message"]
    answer = page.call("file", filename="a.txt", data="!", side="positives", inputs=dict(trainer.inputs))
    assert "did not arrive whole" in answer["error"]["message"]
    for data, name, sentence in [
        (b"", "a.txt", "it is empty"),
        (b"\xe9", "a.txt", "is not UTF-8"),
        (b"x", "a.pdf", "Texts come as"),
        (b"x", "a.safetensors", "a.safetensors"),
    ]:
        assert sentence in page.call("file", **sent(data, name, inputs=dict(trainer.inputs)))["error"]["message"]
    assert "system prompt" in page.call("write", inputs=dict(trainer.inputs))["error"]["message"]
    trainer.train()
    assert "The terms of a sum" in page.call("sum", terms=3)["error"]["message"]
    assert "There is no feature '9:9'" in page.call("sum", terms=[{"id": "9:9", "sign": 1}])["error"]["message"]
    with pytest.raises(TypeError, match=r"sw\.ConceptTrainer knows no setting methd"):
        make(methd="svm")
    with pytest.raises(TypeError, match="Steers go to a SteeringPanel"):
        trainer.steer_in(3)


def test_the_model_has_no_hooks_left_and_the_lock_is_free(make, hooks, lock_is_free):
    before = hooks()
    trainer = make()
    trainer.train()
    trainer.check_dose()
    assert hooks() == before
    assert lock_is_free()


def test_it_says_itself_in_plain_text_and_json(make):
    trainer = make()
    assert "nothing is trained yet" in repr(trainer)
    trainer.train()
    assert "tells them apart best" in trainer.summary()
    assert json.loads(trainer.to_json())["inputs"]["name"] == "grateful"
