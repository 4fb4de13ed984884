"""The corpus of the embedded dictionaries: parsers on small samples, packing, the split, and shards that grow."""

import json
import struct
from collections import Counter

import numpy as np
import pytest
from embedded.corpus import labelled
from embedded.corpus.corpus import write_chats, write_debian
from embedded.corpus.debian import PackageUnavailable, unpack
from embedded.corpus.html_text import html_text
from embedded.corpus.packing import ROW, Piece, chat_piece, pack
from embedded.corpus.prompts import first_requests, follow_up
from embedded.corpus.sources import (
    SOURCES,
    Document,
    bible_documents,
    bible_lines,
    handbook_documents,
    is_held_out,
    parse_fortunes,
    wordnet_documents,
)
from embedded.corpus.wordnet import below, by_offset, parse_senses, parse_synset, resolve
from embedded.corpus.written import Written
from support import toks

OBJECT = (
    "00002684 03 n 02 object 0 physical_object 0 003 @ 00001930 n 0000 ~ 00003553 n 0000 ~i 09186064 n 0000 | a "
    'tangible and visible entity; an entity that can cast a shadow; "it was full of rackets, balls and other objects"  '
)
COOL = (
    "00530772 00 s 03 cool 0 galore(ip) 0 nerveless 0 002 & 00529266 a 0000 + 04858632 n 0302 | marked by calm "
    '(especially in trying circumstances); unemotional; "play it cool"; "with contented mind"- Anthony Trollope  '
)
MASTER = (
    "00597385 31 v 02 master 0 control 0 003 * 00588888 v 0000 ~ 00635812 v 0000 $ 01224762 v 0000 01 + 08 00 | have a "
    'firm understanding of; be on top of; "Do you control these data?"  '
)


def test_a_noun_of_wordnet():
    synset = parse_synset(OBJECT)
    assert synset.key == "n00002684"
    assert synset.lexicographer_file == "noun.Tops"
    assert synset.words == ("object", "physical object")
    assert synset.definition == "a tangible and visible entity; an entity that can cast a shadow"
    assert synset.examples == ("it was full of rackets, balls and other objects",)
    assert synset.hyponyms == (3553, 9186064)
    assert synset.text == (
        "object, physical object: a tangible and visible entity; an entity that can cast a shadow. "
        '"it was full of rackets, balls and other objects".'
    )


def test_an_adjective_and_a_verb_of_wordnet():
    cool, master = parse_synset(COOL), parse_synset(MASTER)
    assert cool.words == ("cool", "galore", "nerveless")
    assert cool.definition == "marked by calm (especially in trying circumstances); unemotional"
    assert cool.examples == ("play it cool", "with contented mind")
    assert (cool.key, cool.lexicographer_file) == ("s00530772", "adj.all")
    assert (master.lexicographer_file, master.hyponyms) == ("verb.cognition", (635812,))
    assert master.examples == ("Do you control these data?",)


def test_lines_that_are_no_synsets():
    assert parse_synset("  1 This software and database is being provided to you, the LICENSEE, by  ") is None
    assert parse_synset("") is None


def noun(offset, word, *hyponyms, file=5):
    pointers = "".join(f" ~ {h:08d} n 0000" for h in hyponyms)
    return parse_synset(f"{offset:08d} {file:02d} n 01 {word} 0 {len(hyponyms):03d}{pointers} | a kind of {word}  ")


def test_everything_below_a_synset_once():
    nouns = by_offset(
        [noun(1, "bird", 2, 3), noun(2, "owl", 4), noun(3, "hunter", 4), noun(4, "barn_owl"), noun(5, "cat")]
    )
    assert sorted(s.offset for s in below(1, nouns)) == [1, 2, 3, 4]


def test_senses_of_a_noun():
    word, offsets = parse_senses("bird n 3 6 @ ~ #m %m %p + 3 2 01503061 07644382 10154871")
    assert (word, offsets) == ("bird", [1503061, 7644382, 10154871])
    assert resolve("bird.n.02", {word: offsets}) == 7644382
    with pytest.raises(ValueError, match=r"'bird' has 3 meanings, so there is no bird\.n\.04"):
        resolve("bird.n.04", {word: offsets})


def test_labelled_texts_by_file_and_by_concept(monkeypatch):
    monkeypatch.setattr(labelled, "FEWEST", 3)
    monkeypatch.setattr(labelled, "MOST", 4)
    birds = [noun(1, "bird", *range(2, 8)), *(noun(i, f"bird{i}") for i in range(2, 8))]
    foods = [noun(i, f"food{i}", file=13) for i in (20, 21)]
    entries = labelled.labelled([*birds, *foods], {"bird": [1], "owl": [2]}, ["bird.n.01", "owl.n.01"], seed=0)
    assert Counter(entry["label"] for entry in entries) == {"noun.animal": 4, "bird.n.01": 4}
    again = labelled.labelled([*birds, *foods], {"bird": [1], "owl": [2]}, ["bird.n.01", "owl.n.01"], seed=0)
    assert entries == again
    assert all(entry["heldout"] == is_held_out("wordnet", f"n{birds_offset(entry):08d}") for entry in entries)


def birds_offset(entry):
    word = entry["text"].split(":")[0]
    return int(word.removeprefix("bird") or 1)


def test_fortunes_without_marks_and_overstrikes():
    text = "First.\n\t\t-- Someone\n%\nu\b_nderlined\n\n%\n%\n100% of it\n%\n"
    assert parse_fortunes(text) == ["First.\n  -- Someone", "_nderlined", "100% of it"]


def lzw(text):
    """Codes of nine bits, each a single byte: valid LZW as long as there are fewer than 255 of them."""
    assert len(text) < 255
    bits = "".join(format(byte, "09b")[::-1] for byte in text.encode())
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def test_the_bible_is_taken_out_of_its_windows():
    windows = [lzw("Holy Bible.\nGe1:1 In the beginning God\nGe1:2 And the ea"), lzw("rth was\n1Jn2:3 And hereby\n")]
    begins = [92 + 4 * 3, 92 + 4 * 3 + len(windows[0]), 92 + 4 * 3 + sum(map(len, windows))]
    data = b"EC02Compressed Data File".ljust(84, b"\0") + struct.pack(">5I", 65536, 2, *begins) + b"".join(windows)
    lines = bible_lines(data)
    assert lines == ["Holy Bible.", "Ge1:1 In the beginning God", "Ge1:2 And the earth was", "1Jn2:3 And hereby"]
    with pytest.raises(ValueError, match="EC02"):
        bible_lines(b"PK\x03\x04")


def test_chapters_of_the_bible():
    books = [f"Bk{book}:{verse} Words {verse}." for book in range(1, 60) for verse in (1, 2)]
    documents = bible_documents(["Holy Bible.", *books])
    assert [document.key for document in documents] == [f"Bk {book}" for book in range(1, 60)]
    with_numbers = {document.key for document in documents if document.text.startswith(document.key.split()[1] + ":1")}
    assert 2 < len(with_numbers) < 30
    assert {d.text for d in documents if d.key not in with_numbers} == {"Words 1. Words 2."}


PAGE = """<html><head><title>no</title><style>p{}</style></head><body><div class="docnav"><p>Next</p></div>
<div class="body"><h1>On <em>files</em><a class="headerlink" href="#x">¶</a></h1><p>Some
   text with <code>ls</code> &amp; more.<br/>Line.</p><ul><li><p>One</p></li><li>Two</li></ul>
<pre>$ ls
  a   <b>b</b></pre><p>Last <img src="x.png"/>words</p></div><p>Footer</p></body></html>"""


def test_text_of_a_page():
    kept = "On files\n\nSome text with ls & more. Line.\n\nOne\n\nTwo\n\n$ ls\n  a   b\n\nLast words"
    assert html_text(PAGE, within="body") == kept
    assert html_text(PAGE) == kept + "\n\nFooter"


def test_short_pages_are_left_out(tmp_path):
    (tmp_path / "a.html").write_text("<p>Short.</p>", encoding="utf-8")
    (tmp_path / "b.html").write_text("<p>" + "Long. " * 100 + "</p>", encoding="utf-8")
    assert [document.key for document in handbook_documents(tmp_path)] == ["b"]


def test_a_package_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageUnavailable, match="wordnet-base is needed, but there is no apt-get here"):
        unpack(tmp_path / "work", ("wordnet-base",))


def test_rows_and_their_mask():
    tokens, mask = pack([Piece([7] * 100, [True] * 100), Piece(range(200), [False] * 10 + [True] * 190)])
    assert tokens.shape == mask.shape == (2, ROW)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens.ravel(), ([7] * 100 + [*range(200)])[: 2 * ROW])
    np.testing.assert_array_equal(np.flatnonzero(~mask.ravel()), [0, *range(100, 110), ROW])


def chat(tokenizer, messages, answer, *, ended, index=0, subject="the sea"):
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    prompt_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Written(index, "nature", subject, messages, answer, prompt_ids, ids, ended, 0.9, 0.9)


def shown(tokenizer, piece):
    kept = [i for i, trained in zip(piece.ids, piece.trained, strict=True) if trained]
    return tokenizer.decode(piece.ids), tokenizer.decode(kept)


def test_chats_leave_the_template_out_of_training():
    tokenizer = toks.byte_level()
    row = chat(tokenizer, [{"role": "user", "content": "Where is the user?"}], "By the sea.", ended=True)
    whole, trained = shown(tokenizer, chat_piece(tokenizer, row))
    assert whole == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nWhere is the user?<|im_end|>\n"
        "<|im_start|>assistant\nBy the sea.<|eos|>\n"
    )
    assert trained == "Where is the user?By the sea."


def test_follow_ups_are_trained_on_from_the_last_question_on():
    tokenizer = toks.byte_level()
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    said += [{"role": "assistant", "content": "Because."}, {"role": "user", "content": "Go on"}]
    whole, trained = shown(tokenizer, chat_piece(tokenizer, chat(tokenizer, said, "The ocean", ended=False)))
    assert whole.endswith("Because.<|im_end|>\n<|im_start|>user\nGo on<|im_end|>\n<|im_start|>assistant\nThe ocean")
    assert trained == "Go onThe ocean"
    _, trained = shown(tokenizer, chat_piece(tokenizer, chat(tokenizer, said[:2], "Because.", ended=True)))
    assert trained == "Be brief.Why?Because."


def test_chats_of_another_tokenizer_are_refused():
    row = chat(toks.byte_level(), [{"role": "user", "content": "Why?"}], "So.", ended=True)
    with pytest.raises(ValueError, match="another tokenizer or chat template"):
        chat_piece(toks.byte_level(template=toks.CHATML.replace("helpful", "dull")), row)


def test_requests_are_all_different_and_always_the_same():
    requests = first_requests()
    texts = [request.messages[-1]["content"] for request in requests]
    assert len({*texts}) == len(texts) > 5000
    assert requests[:50] == first_requests()[:50] != first_requests(seed=1)[:50]
    beginning = requests[:500]
    assert len({request.domain for request in beginning}) > 20
    assert 50 < sum(request.messages[0]["role"] == "system" for request in beginning) < 200
    second = follow_up(requests[0], "An answer.", seed=3)
    assert [message["role"] for message in second.messages][-3:] == ["user", "assistant", "user"]
    assert second.subject == requests[0].subject


def read(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays}


def test_the_debian_shard(tmp_path):
    tokenizer = toks.byte_level()
    words = ["the", "ocean", "and", "the", "system", "answers", "a", "user", "by", "the", "sea"]
    texts = {i: " ".join(np.random.default_rng(i).permutation(words)) for i in range(400)}
    glosses = wordnet_documents([noun(i, "word") for i in range(200)])
    documents = {"wordnet": glosses, "fortunes": [Document(t, "fortunes", "sea", t) for t in texts.values()]}
    for folder in ("once", "again"):
        write_debian(tmp_path / folder, tokenizer, documents, ["a.deb"], seed=0)
    shard, again = (read(tmp_path / folder, "debian") for folder in ("once", "again"))
    assert {key: str(value.dtype) for key, value in shard.items()} == {
        "tokens": "int32",
        "mask": "bool",
        "source": "uint8",
        "heldout": "bool",
    }
    for key, value in shard.items():
        np.testing.assert_array_equal(value, again[key])
    assert not shard["mask"][:, 0].any()
    assert shard["mask"][:, 1:].all()
    held_out = {document.text for document in documents["fortunes"] if document.held_out}
    for side in (True, False):
        rows = shard["tokens"][(shard["source"] == SOURCES.index("fortunes")) & (shard["heldout"] == side)]
        inside = [text for row in rows for text in tokenizer.decode(row).split("\n\n")[1:-1]]
        assert inside
        assert all((text in held_out) == side for text in inside)
    about = json.loads((tmp_path / "once" / "debian.json").read_text(encoding="utf-8"))
    assert about["packages"] == ["a.deb"]
    assert about["sources"]["fortunes"]["documents"] == 400


def save(folder, number, rows):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(vars(row)) for row in rows]
    (folder / f"batch-{number:05d}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_chats_come_shard_by_shard(tmp_path):
    tokenizer = toks.byte_level()
    held_out = next(f"t{i}" for i in range(1000) if is_held_out("chat", f"t{i}"))
    subjects = [held_out, *(f"s{i}" for i in range(39))]
    rows = [
        chat(
            tokenizer, [{"role": "user", "content": f"Name {i}"}], "the sea " * 40, ended=True, subject=subjects[i % 40]
        )
        for i in range(80)
    ]
    bad = [Written(**(vars(row) | {"distinct_2": 0.1})) for row in rows[:3]]
    save(tmp_path / "written", 0, rows[:40] + bad)
    assert write_chats(tmp_path / "corpus", tokenizer, tmp_path / "written", seed=0).name == "chat-0.npz"
    assert write_chats(tmp_path / "corpus", tokenizer, tmp_path / "written", seed=0) is None
    first = read(tmp_path / "corpus", "chat-0")
    save(tmp_path / "written", 1, rows[40:])
    assert write_chats(tmp_path / "corpus", tokenizer, tmp_path / "written", seed=0).name == "chat-1.npz"
    np.testing.assert_array_equal(first["tokens"], read(tmp_path / "corpus", "chat-0")["tokens"])
    notes = [json.loads((tmp_path / "corpus" / f"chat-{n}.json").read_text(encoding="utf-8")) for n in (0, 1)]
    assert [note["batches"] for note in notes] == [["batch-00000.jsonl"], ["batch-00001.jsonl"]]
    assert [note["dropped"] for note in notes] == [3, 0]
    sides = [note["sources"]["chat"]["held-out documents"] for note in notes]
    assert sides == [sum(is_held_out("chat", subject) for subject in subjects)] * 2
    assert first["heldout"].any()


def test_one_document_in_twenty_is_held_out():
    share = np.mean([is_held_out("wordnet", f"n{i:08d}") for i in range(20_000)])
    assert abs(share - 0.05) < 0.006
