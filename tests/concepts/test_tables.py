"""Texts from files and tables: what each format gives, and one sentence for what can't be read."""

import csv
import importlib
import json

import pytest

from steerwidgets.concepts.examples import Examples
from steerwidgets.concepts.tables import Table, is_table, parse

ROWS = [("so grateful, really", "joy"), ("thank you", "joy"), ("a red car", "none")]


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *ROWS])
    return path


def test_every_format_gives_the_same(csv_file, tmp_path):
    records = [{"text": text, "label": label} for text, label in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "t.json").write_text(json.dumps(records))
    (tmp_path / "c.json").write_text(
        json.dumps({"text": [r["text"] for r in records], "label": [r["label"] for r in records]})
    )
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "\n".join("\t".join(row) for row in ROWS))
    (tmp_path / "u16.csv").write_bytes(csv_file.read_text(encoding="utf-8").encode("utf-16"))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + csv_file.read_bytes())
    expected = Examples.of(csv_file, concept="joy")
    assert expected.positives == ("so grateful, really", "thank you")
    assert expected.negatives == ("a red car",)
    assert expected.told == ("With it are the 2 rows labelled 'joy'.",)
    for name in ("t.jsonl", "t.json", "c.json", "t.tsv", "u16.csv", "bom.csv"):
        assert Examples.of(str(tmp_path / name), concept="joy") == expected
    assert Examples.of(records, concept="joy") == expected
    assert Examples.of(dict(zip(("text", "label"), zip(*ROWS, strict=True), strict=True)), concept="joy") == expected


def test_two_files_of_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n  two \r\nthree")
    (tmp_path / "b.jsonl").write_text('"four"\n"five"\n')
    found = Examples.of(tmp_path / "a.txt", tmp_path / "b.jsonl")
    assert [text.strip() for text in found.positives] == ["one", "two", "three"]
    assert found.negatives == ("four", "five")


def test_a_pandas_frame_with_holes():
    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame({"review": ["good film", "bad film", "no label", None], "stars": [1.0, 0.0, None, 1.0]})
    table = Table.of(frame)
    assert is_table(frame)
    assert (table.text_column(), table.label_column()) == ("review", "stars")
    assert table.split() == (["good film", ""], ["bad film"], "1")


def test_columns_are_found_by_name_by_length_or_as_told():
    table = parse(b"id,y,words\n1,a,a long sentence\n2,b,another one\n3,c,a third\n", "t.csv")
    assert (table.text_column(), table.label_column()) == ("words", "y")
    assert table.labels("y") == {"a": 1, "b": 1, "c": 1}
    assert table.split(positive="b")[0] == ["another one"]
    assert table.split(label="id", positive=2)[0] == ["another one"]
    with pytest.raises(ValueError, match=r"holds 3 labels .*say which is the concept with positive="):
        table.split()
    with pytest.raises(ValueError, match="has no label 'z'; it has 'a', 'b', 'c'"):
        table.split(positive="z")
    with pytest.raises(ValueError, match="has no column 'z' for texts; it has 'id', 'y', 'words'"):
        table.texts("z")


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"", "t.txt", "t.txt holds no texts: it is empty; give a file with a text in each line or row."),
        (b"  \n \n", "t.txt", "t.txt holds no texts: it is empty"),
        (b"text,label\n", "t.csv", "t.csv has no rows; give one with a text in each."),
        (
            b"caf\xe9\n",
            "t.txt",
            "t.txt is not UTF-8 text: the byte 0xE9 in line 1 is of another encoding; save it as UTF-8.",
        ),
        (b"a\nb\nna\xefve", "t.csv", "in line 3"),
        (b"a\0b", "t.txt", "t.txt is no text file: it holds zero bytes"),
        (b"a", "t.pdf", "Texts come as .txt, .csv, .tsv, .json, .jsonl, but not as t.pdf."),
        (b"text,label\na,b,c\n", "t.csv", "Line 2 of t.csv has another number of columns"),
        (b'text,label\n"a,b\n', "t.csv", "is not whole CSV"),
        (b"{", "t.json", "t.json"),
        (b"3", "t.json", "t.json is a list of texts or of rows, but 3 stands in it."),
        (b'"a"\n3\n', "t.jsonl", "Row 2 of t.jsonl is a text or has named columns, but 3 stands there."),
        (b'"a"\n{"x"\n', "t.jsonl", "Line 2 of t.jsonl"),
        (b"version https://git-lfs.github.com", "t.csv", "it is a pointer of git-lfs"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(data, name, sentence):
    with pytest.raises(ValueError) as raised:
        parse(data, name)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_class_and_no_labels():
    with pytest.raises(ValueError, match="holds only 'joy', and a concept needs texts without it too"):
        Examples.of([{"text": "a", "label": "joy"}, {"text": "b", "label": "joy"}])
    with pytest.raises(ValueError, match="The table has the columns 'text', and none is called label"):
        Examples.of([{"text": "a"}, {"text": "b"}])
    with pytest.raises(FileNotFoundError, match="There is no file of texts at"):
        Examples.of("nowhere.csv")
