"""Hostile files, a seeded set for every loader: a valid object, or one clear sentence of ours, and no code is run.

`python tests/hostile/table.py` prints the table; `--all` every answer that is not good.
"""

import collections

import pytest
import torch
from hostile import files, mutations, oracle, table

LOADERS = (
    "SAE cfg.json",
    "SAE weights",
    "SAE params.npz",
    "SAEs of others",
    "CAV .safetensors",
    "CAV .pt",
    "GGUF",
    "ReFT folder",
    "MFA .pt",
    "labels",
    "statistics",
    "corpus index",
    "recipe",
    "lens files",
    "dose",
)


@pytest.fixture(scope="module")
def answers():
    """Every answer of every loader, asked for once."""
    torch.set_num_threads(1)
    found = collections.defaultdict(list)
    for each in table.answers():
        found[each.case.loader].append(each)
    return found


@pytest.mark.parametrize("loader", LOADERS)
def test_each_is_a_valid_object_or_a_clear_sentence(answers, loader):
    bad = [str(each) for each in answers[loader] if not each.good]
    assert not bad, f"{len(bad)} of {len(answers[loader])}:\n" + "\n".join(bad)


@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_valid_loads(answers, loader):
    """A loader that refuses everything would answer every hostile file well."""
    valid = [each for each in answers[loader] if each.case.name.endswith("as it should be")]
    assert [str(each) for each in valid if each.kind != "fine"] == []
    assert valid or loader == "SAE weights"


def test_there_are_enough(answers):
    assert set(answers) == set(LOADERS)
    assert sum(map(len, answers.values())) > 1_200


def test_the_same_seed_makes_the_same_files():
    named = [[(case.loader, case.name) for case in files.cases(seed)] for seed in (0, 0, 1)]
    assert named[0] == named[1] != named[2]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("cfg.json says k='x', but k is a whole number from 1 to 40."), "clear"),
        (ValueError("This recipe is damaged: TypeError at 'float' object is not iterable."), "wrapped"),
        (
            ValueError("cfg.json is not whole JSON (Expecting value: line 1 column 1 (char 0)); make it again."),
            "quoted",
        ),
        (ValueError("One number is given for each of the features that there are."), "vague"),
        (KeyError("alpha"), "raw"),
        (ValueError("could not convert string to float: 'x'"), "raw"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "raw"),
        (ValueError(f"cfg.json says k={'x' * 900!r}, but k is a whole number."), "raw"),
        (AssertionError("cfg.json says k='x', but k is a whole number from 1 to 40."), "raw"),
    ],
)
def test_the_oracle(error, kind):
    assert oracle.judged(error, ("cfg.json", "recipe"))[0] == kind


def test_junk_is_of_every_kind():
    assert {mutations.kind(value) for _, value in mutations.JUNK} == {"null", "bool", "number", "text", "list", "table"}
