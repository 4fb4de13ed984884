"""Nothing that was promised is lost: public names, their parameters, and the defaults of these.

New names, and new parameters that need not be given, are no breach. They are promised once they are written down:

    python tests/compat/public_names.py --write
"""

from __future__ import annotations

import pytest
from compat import public_names

import steerwidgets as sw


def test_what_was_promised_is_there():
    found = public_names.broken(public_names.read(), public_names.lines())
    assert not found, "Programs that use these names would break:\n" + "\n".join(found)


def test_the_promise_is_of_every_name():
    named = {line.partition(" ")[2].partition("(")[0] for line in public_names.read()}
    assert set(sw.__all__) <= named
    assert {"CAV.load", "corpus.build", "LanguageModel.compare", "SteeringPanel.recipe_json", "Comparison.kl"} <= named


KEPT = "method A.read(text, k=10, *, chat=False, **options)"


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (KEPT, ""),
        ("method A.read(text, k=10, *, chat=False, more=None, **options)", ""),
        ("method A.read(text, k=10, more=None, *, chat=False, **options)", ""),
        ("method A.read(text, k=10, *more, chat=False, **options)", ""),
        ("method A.read(text, *, chat=False, **options)", "lost the parameter 'k'"),
        ("method A.read(text, k=20, *, chat=False, **options)", "has another parameter 'k'"),
        ("method A.read(text, k, *, chat=False, **options)", "has another parameter 'k'"),
        ("method A.read(text='', k=10, *, chat=False, **options)", ""),
        ("method A.read(text, *, k=10, chat=False, **options)", "has another parameter 'k'"),
        ("method A.read(prompt, k=10, *, chat=False, **options)", "lost the parameter 'text'"),
        ("method A.read(text, /, k=10, *, chat=False, **options)", "has another parameter 'text'"),
        ("method A.read(text, k=10, *, more, chat=False, **options)", "needs a new parameter 'more'"),
        ("method A.read(text, more=1, k=10, *, chat=False, **options)", "parameters in another order"),
        ("method A.read(text, k=10, *, chat=False)", "lost the parameter '**options'"),
        ("classmethod A.read(text, k=10, *, chat=False, **options)", "was a method and is a classmethod"),
        ("value A.read", "was a method and is a value"),
        ("method A.other()", "A.read is gone"),
    ],
)
def test_what_breaks_a_promise(now, says):
    found = public_names.broken([KEPT], [now, "value A.new"])
    assert len(found) == bool(says)
    assert says in "".join(found)


def test_values_and_classes_without_a_signature():
    kept = ["value A.size", "class A", "operator A.__len__"]
    assert not public_names.broken(kept, ["class A(x=1)", *kept[:1], *kept[2:]])
    assert public_names.broken(["class A(x=1)"], ["class A"]) == [
        "A has no signature any more: it was `class A(x=1)` and is `class A`"
    ]
