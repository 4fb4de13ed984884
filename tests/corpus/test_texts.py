"""What counts as a text: records, datasets, messages, token ids; empty, long and repeated ones; and what is refused."""

import datasets
import pytest
import torch
from support import corpora, sae

import steerwidgets as sw

TEXTS = corpora.texts(6)


def dictionary():
    return sae.make("topk", k=5)


@pytest.fixture
def build(llama, tmp_path):
    made = []

    def run(texts, lm=llama, path=None, **given):
        made.append(None)
        path = path or tmp_path / str(len(made))
        return sw.corpus.build(lm, dictionary(), texts, path, on_progress=lambda _: None, **given)

    return run


def of(index):
    return [index.of(dictionary())[feature] for feature in range(sae.SIZE)]


def test_the_same_texts_in_every_form(build, llama):
    plain = build(TEXTS)
    ids = [list(llama.encode(text, chat=False).token_ids) for text in TEXTS]
    records = [{"text": text, "id": number} for number, text in enumerate(TEXTS)]
    dataset = datasets.Dataset.from_list(records)
    forms = {
        "iterable": (text for text in TEXTS),
        "ids": ids,
        "prompts": [llama.encode(text, chat=False) for text in TEXTS],
        "records": records,
        "dataset": dataset,
        "streaming": dataset.to_iterable_dataset(),
    }
    for name, texts in forms.items():
        assert of(build(texts)) == of(plain), name
    other = [{"body": text} for text in TEXTS]
    assert of(build(other, column="body")) == of(plain)


def test_messages_are_templated_and_the_template_counts_nowhere(build, llama):
    messages = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes, by the sea."}] for text in TEXTS
    ]
    plain = build(messages)
    records = datasets.Dataset.from_list([{"messages": each} for each in messages])
    assert of(build(records)) == of(plain)
    counted = 0
    for each in messages:
        prompt = llama.encode(each)
        counted += sum(not (a or b) for a, b in zip(prompt.special, prompt.template, strict=True))
    assert plain.tokens == counted
    assert build(TEXTS, chat=True).tokens < build(messages).tokens


def test_sources_are_told(build):
    records = [{"text": text, "source": f"book {number % 2}"} for number, text in enumerate(TEXTS)]
    found = {example.source for evidence in of(build(records, name="books")) for example in evidence.examples}
    assert found == {"book 0", "book 1"}
    assert {e.source for each in of(build(TEXTS, name="books")) for e in each.examples} == {"books"}


def test_texts_without_a_token_of_their_own(build, llama):
    special = llama.tokenizer.bos_token
    index = build(["", *TEXTS[:3], special * 3, "", [], {"text": ""}, {"text": None}, *TEXTS[3:]])
    assert (index.texts, index.empty) == (len(TEXTS) + 6, 6)
    assert of(index) == of(build(TEXTS))
    nothing = build(["", special])
    assert (nothing.texts, nothing.empty, nothing.tokens, nothing.complete) == (2, 2, 0, True)
    assert nothing.statistics(dictionary()).of("maximum", 3) is None
    assert nothing.statistics(dictionary()).of("density", 3) == 0
    evidence = of(nothing)[3]
    assert (evidence.examples, evidence.counts, evidence.quantiles, evidence.coactive) == ((), (), (), ())
    assert evidence.promoted
    assert of(build([])) == of(nothing)


def test_a_long_text_is_read_in_pieces(build, llama):
    ids = [token for text in corpora.texts(40) for token in llama.encode(text, chat=False).token_ids]
    length = 50
    pieces = [ids[begin : begin + length] for begin in range(0, len(ids), length)]
    whole = build([ids], max_length=length)
    assert (whole.texts, whole.tokens) == (1, len(ids))
    for one, other in zip(of(whole), of(build(pieces, max_length=length)), strict=True):
        assert one == other
    # The tiny model has 512 positions, whatever is asked for.
    assert len(ids) > 512
    assert of(build([ids], max_length=100_000)) == of(build([ids], max_length=512))


def test_the_same_text_twice_is_one_example_but_counts_twice(build):
    once, twice = build(TEXTS), build(TEXTS + TEXTS)
    assert twice.tokens == 2 * once.tokens
    for one, two in zip(of(once), of(twice), strict=True):
        assert [e.token_ids for e in one.examples] == [e.token_ids for e in two.examples]
        assert sum(two.counts) == 2 * sum(one.counts)
        assert [[e.token_ids for e in band.examples] for band in one.quantiles] == [
            [e.token_ids for e in band.examples] for band in two.quantiles
        ]
        assert [e.token_ids for e in one.random] == [e.token_ids for e in two.random]


@pytest.mark.parametrize("side", [1, 64, 100_000])
def test_padding_changes_nothing(build, side):
    alone = build(corpora.texts(12), batch_tokens=1)
    together = build(corpora.texts(12), batch_tokens=side)
    assert alone.of(dictionary()).tokens == together.of(dictionary()).tokens
    for one, other in zip(of(alone), of(together), strict=True):
        assert [e.token_ids for e in one.examples] == [e.token_ids for e in other.examples]
        values = [[value for e in each.examples for value in e.values] for each in (one, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-5)


def test_what_is_no_corpus_is_refused(build, llama, tmp_path):
    with pytest.raises(TypeError, match="one string was given; put it in a list"):
        build("A text.")
    with pytest.raises(TypeError, match=r"give one, such as dataset\['train'\]"):
        build(datasets.DatasetDict({"train": datasets.Dataset.from_list([{"text": "a"}])}))
    with pytest.raises(TypeError, match="a list, an iterable or a dataset of texts, but int 3"):
        build(3)
    with pytest.raises(ValueError, match=r"Text 1 is a record without 'text' nor 'messages'; it has 'body'"):
        build([{"text": "a b"}, {"body": "c"}])
    with pytest.raises(ValueError, match=r"Text 0 is a record without 'body'"):
        build([{"text": "a b"}], column="body")
    with pytest.raises(ValueError, match="half of a character"):
        build(["a \ud800 b"])
    with pytest.raises(ValueError, match="needs a dictionary"):
        sw.corpus.build(llama, [], TEXTS, tmp_path / "none")
    with pytest.raises(ValueError, match="given twice"):
        sw.corpus.build(llama, [dictionary(), dictionary()], TEXTS, tmp_path / "twice")
    with pytest.raises(ValueError, match=r"reads 16 numbers, .* has 32 there"):
        sw.corpus.build(llama, sw.CAV(torch.eye(16), layer=1), TEXTS, tmp_path / "narrow")
    with pytest.raises(ValueError, match="max_tokens is a whole number above 0"):
        build(TEXTS, max_tokens=0)
    for name, value in (("examples", 0), ("quantiles", 11), ("random", -1), ("bins", 2.5), ("max_length", 0)):
        with pytest.raises(ValueError, match=f"{name} is a whole number"):
            build(TEXTS, **{name: value})
    with pytest.raises(ValueError, match=r"context is how many tokens .* such as \(18, 12\)"):
        build(TEXTS, context=7)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.tex; give another path"):
        build(TEXTS, path=tmp_path / "used")
    assert (tmp_path / "used" / "thesis.tex").read_text() == "mine"
