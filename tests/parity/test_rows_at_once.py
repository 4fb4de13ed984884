"""Rows of one batch, each with its own recipe: what is worked out for all of them at once is what each gets alone."""

import pytest
import torch
from support import kinds, naive, sae
from support.both import PROMPT, Pair, at, recipe, vector
from torch.utils._python_dispatch import TorchDispatchMode

import steerwidgets as sw
from steerwidgets.steering.hooks import Steering
from steerwidgets.transformer.layout import Known

CLOSE = {"atol": 3e-4, "rtol": 1e-4}
FAMILIES = ("llama", "qwen3", "gemma2", "gpt2", "neox_parallel")
HERE, SKEWED = Pair(vector(1)), Pair(vector(1) + 0.8 * vector(3))

SWEEPS = {
    "add": [[HERE.make("add", alpha)] for alpha in (0.0, 1.5, -0.7, 3.0)],
    "add_relative": [[HERE.make("add_relative", alpha)] for alpha in (0.0, 0.6, -0.4)],
    "ablate and project": [[HERE.make("project", c), SKEWED.make("ablate")] for c in (2.0, 1.0, -1.0)],
    "project": [[HERE.make("project", c)] for c in (1.0, 3.0, 0.0)],
    "clip": [[HERE.make("clip", *bounds)] for bounds in ((-0.5, 0.5), (2.0, None), (None, -1.0), (None, None), (1, 2))],
    "positions": [[at(HERE.make("add", alpha), "generated")] for alpha in (1.0, -2.0)]
    + [[at(HERE.make("add", alpha), "indices", [1, 9], special=False)] for alpha in (1.0, -2.0)],
    "different ops": [
        [HERE.make("add", 1.0)],
        [HERE.make("ablate")],
        [SKEWED.make("add", 1.0)],
        [HERE.make("add", 2.0)],
    ],
    "several sites": [
        [HERE.make("add", a), Pair(vector(4), layer=2).make("add", b)] for a, b in ((1, 2), (2, 1), (0, 1))
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_is_the_reference_row_by_row(lm, sweep):
    made = [recipe(*steers) for steers in SWEEPS[sweep]]
    rows = lm.sweep(PROMPT, [None, *(steers for steers, _ in made)], temperature=0, max_new_tokens=5)
    # A projection that is kept is not held still.
    references = [[], *([change for change in changes if change.numbers != {"c": 1.0}] for _, changes in made)]
    known = {"special_ids": sorted(lm.known([]).special_ids), "end": lm.end_ids}
    expected = [naive.greedy(lm.model, PROMPT, changes, count=5, **known) for changes in references]
    assert [row.token_ids for row in rows] == expected


def of_every_kind(lm):
    """Several strengths of every op of every kind."""
    numbers = {"a": (0.3, 0.0, 0.8), "z0": (2.0, 0.0, -3.0), "z1": (0.0, 1.0, 1.0)}
    features = [kinds.make(kind, lm)[3] for kind in kinds.KINDS]
    features += [kinds.make("MFA").mixture, kinds.make("MFA")[2, 3], sae.make("topk", k=3)[3]]
    features += [sae.make("jumprelu", threshold=torch.full((sae.SIZE,), 0.1), normalize_activations="layer_norm")[4]]
    for feature in features:
        for name, op in feature.ops.items():
            given = [
                {each.name: numbers.get(each.name, (2.0, 1.0, -0.5))[i] for each in op.parameters} for i in range(3)
            ]
            if name == "clip":
                given = [{"lo": -0.5, "hi": 0.5}, {"lo": None, "hi": 1.0}, {"lo": 2.0, "hi": None}]
            yield f"{feature.kind} {name}", [sw.Steer(feature, name, each) for each in given]


def logits(lm, recipes, ids, mask, known):
    with torch.no_grad(), Steering(lm.architecture, recipes, known):
        return lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()


@pytest.mark.parametrize("control", [False, True])
def test_every_op_of_every_kind(llama, control):
    ids = torch.tensor([PROMPT] * 5)
    mask = torch.ones_like(ids)
    ids[2, :3], mask[2, :3] = 2, 0  # one row is shorter
    known = Known(prompt_length=(9, 9, 6, 9, 9))
    for name, steers in of_every_kind(llama):
        made = [steer.random_direction(seed) for seed, steer in enumerate(steers)] if control else steers
        recipes = [None, *map(sw.Recipe.of, made), sw.Recipe.of(HERE.direction.add(1))]
        together = logits(llama, recipes, ids, mask, known)
        for row, each in enumerate(recipes):
            one = slice(row, row + 1)
            length = Known(prompt_length=known.prompt_length[row])
            alone = logits(llama, each or sw.Recipe(), ids[one], mask[one], length)
            real = mask[row].bool()
            torch.testing.assert_close(together[row, real], alone[0, real], **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def test_conditions_and_fades_go_along(llama):
    other = sw.Direction(vector(6), sw.Site(1), "read")
    forms = [lambda s: s.when(other > 0.5), lambda s: s.at("generated").fade(to=0.25, over=3), lambda s: s]
    recipes = [sw.Recipe.of(form(HERE.direction.add(alpha))) for alpha in (1.0, -2.0, 3.0) for form in forms]
    rows = llama.sweep(PROMPT, recipes, temperature=0, max_new_tokens=8)
    alone = [llama.sweep(PROMPT, [each], temperature=0, max_new_tokens=8)[0].token_ids for each in recipes]
    assert [row.token_ids for row in rows] == alone
    assert len(set(alone)) > 4


def test_to_the_last_bit_whatever_the_neighbours_are(llama):
    """Kernels round a row by how many there are; how many are alike must not show."""
    ids = torch.tensor([[7]] * 6)
    for name, (first, second, third) in of_every_kind(llama):
        neighbours = [[None] * 5, [second, third] * 2 + [second], [HERE.direction.add(3e38), second, None, None, third]]
        rows = [[first, *others] for others in neighbours]
        found = [
            logits(llama, [each and sw.Recipe.of(each) for each in row], ids, None, Known(prompt_length=0))[0]
            for row in rows
        ]
        assert torch.equal(found[0], found[1]), name
        assert torch.equal(found[0], found[2]), name


class _Counter(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("control", [False, True])
def test_twelve_strengths_cost_the_operations_of_two(llama, control):
    def operations(count):
        steers = [HERE.direction.add_relative(alpha + 1) for alpha in range(count)]
        steers = [steer.random_direction(seed) for seed, steer in enumerate(steers)] if control else steers
        ids = torch.tensor([PROMPT] * count)
        recipes = [sw.Recipe.of(steer) for steer in steers]
        with torch.no_grad(), Steering(llama.architecture, recipes, Known(prompt_length=9)):
            llama.model(input_ids=ids, attention_mask=torch.ones_like(ids))
            with _Counter() as counter:
                llama.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return counter.calls

    assert operations(12) == operations(2)


def test_a_row_that_begins_later_takes_no_other_rows_sinks_along(llama):
    """Prompts of one token and of nine, their last tokens read again from what the run kept."""
    steers = [None, HERE.direction.add_relative(0.5), HERE.direction.add_relative(2.0)]
    ids, mask = torch.tensor([[*[2] * 8, 7], [*PROMPT], [*PROMPT]]), torch.ones(3, 9, dtype=torch.long)
    mask[0, :8] = 0
    recipes = [HERE.direction.add_relative(0.1), *steers[1:]]
    known = Known(prompt_length=(1, 9, 9))
    expected = logits(llama, list(map(sw.Recipe.of, recipes)), ids, mask, known)[:, -1]
    with torch.no_grad(), Steering(llama.architecture, list(map(sw.Recipe.of, recipes)), known):
        begun = llama.model(input_ids=ids[:, :8], attention_mask=mask[:, :8], use_cache=True)
        rest = {"attention_mask": mask, "past_key_values": begun.past_key_values, "use_cache": True}
        found = llama.model(input_ids=ids[:, 8:], position_ids=mask.cumsum(-1)[:, 8:] - 1, **rest).logits[:, -1]
    torch.testing.assert_close(found[1:], expected[1:], **CLOSE)
