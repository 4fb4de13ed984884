"""Conditions, roles and fades as values: what is written, read again, told apart and refused."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import kinds, sae
from support.both import PROMPT, vector

import steerwidgets as sw

SITE = sw.Site(1)
A = sw.Direction(vector(1), SITE, "a")
EARLY, LATE = sw.Direction(vector(2), sw.Site(0), "early"), sw.Direction(vector(3), sw.Site(2), "late")
CAVS, SAE = kinds.make("CAV", labels=list("vwxyz")), sae.make()
NAN = float("nan")
NEAR = sw.Direction(vector(4), sw.Site(1, "attn_out"), "near")

MADE = (
    A.add(4).when(CAVS[1] > 2),
    A.add(4).when((CAVS[1] > 2) & (SAE[3] < 0.5)),
    A.add(4).when((CAVS[1] > 2) | (SAE[3] < 0.5) & (EARLY > -1)),
    A.ablate().at(sw.role("assistant")).when(NEAR < 0).fade(0.25, 8),
    CAVS[1].add(1).at(sw.role("user") & sw.after(20)),
    CAVS[1].add(1).at(sw.first(3, of="generated")).fade(),
    A.add(1).random_direction(3).when(EARLY > 0),
)


@pytest.mark.parametrize("steer", MADE, ids=repr)
def test_round_trip(steer):
    recipe = sw.Recipe.of(steer)
    again = sw.Recipe.from_json(recipe.to_json(), [CAVS, SAE])
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.fingerprint == recipe.fingerprint
    assert repr(again) == repr(recipe)
    assert again.to_json() == recipe.to_json()


@pytest.mark.parametrize("steer", MADE, ids=repr)
def test_round_trip_inline(steer):
    """What is read of an SAE's latent is its column and more, of a CAV its direction alone."""
    [again] = sw.Recipe.from_json(sw.Recipe.of(steer).to_json(inline=True))
    assert repr(again) == repr(steer)
    h = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    for mine, theirs in zip(steer.features, again.features, strict=True):
        torch.testing.assert_close(mine.activation(h), theirs.activation(h))


def test_all_are_told_apart():
    recipes = {sw.Recipe.of(steer) for steer in (*MADE, A.add(4), A.add(4).when(CAVS[1] > 3), A.add(4).when(A > 2))}
    assert len(recipes) == len({recipe.fingerprint for recipe in recipes}) == len(MADE) + 3


def test_what_has_none_of_it_is_written_as_before():
    """A file of the first format stays one, and its fingerprint too: 0.1.0 reads it."""
    plain = sw.Recipe.of(A.add(4).at("generated"))
    assert json.loads(plain.to_json()) == {
        "format": "steerwidgets.recipe/1",
        "steers": [
            {
                "feature": json.loads(plain.to_json())["steers"][0]["feature"],
                "op": "add",
                "parameters": {"alpha": 4.0},
                "positions": {"where": "generated", "special": True},
            }
        ],
    }
    for newer in (A.add(4).when(A > 1), A.add(4).fade()):
        assert json.loads(sw.Recipe.of(newer).to_json())["format"] == "steerwidgets.recipe/2"


def test_their_order_says_nothing():
    first, second, third = A > 1, CAVS[1] < 2, EARLY > 3
    assert (first & second) & third == third & (second & first)
    assert hash(first | second) == hash(second | first)
    assert (first & second) != (first | second)
    assert first & first == first
    assert repr(first & second & third) == "('a' > 1) & ('w' < 2) & ('early' > 3)"
    assert (A > 1) == (1 < A) == (A > np.float32(1)) == (np.float64(1) < A) == (A > torch.tensor(1.0))  # noqa: SIM300
    assert (A > 1) != (A < 1)


def test_a_later_one_takes_the_place_and_none_lifts_it():
    steer = A.add(1).when(A > 1).fade()
    assert steer.when(A > 2) == A.add(1).fade().when(A > 2)
    assert steer.when(None).fade(to=1) == A.add(1)
    recipe = (A.add(1) + EARLY.add(2)).when(EARLY > 1).fade(over=4).at(sw.last_prompt)
    assert all(each.condition == (EARLY > 1) and each.fading is not None for each in recipe)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        (A > 1, A < 1, False),
        (A > 1, A < 0, False),
        (A > 1, A < 2, True),
        (A > 1, A > 2, True),
        (A > 1, EARLY < 1, True),
        ((A > 1) & (EARLY > 0), A < 1, False),
        ((A > 1) | (EARLY > 0), A < 1, True),
        ((A > 2) | (A > 1), (A < 1) & (EARLY > 0), False),
        (None, A < 1, True),
    ],
)
def test_setters_of_one_feature_under_conditions(first, second, meet):
    for one, other in ((first, second), (second, first)):
        pair = (LATE.ablate().when(one), LATE.project(2).when(other))
        if meet:
            with pytest.raises(ValueError, match="both set 'late' at positions that overlap"):
                sw.Recipe(pair)
        else:
            assert len(sw.Recipe(pair)) == 2


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (sw.role("user"), sw.role("assistant"), False),
        (sw.role("user"), sw.role("user"), True),
        (sw.role("user"), sw.Positions("generated"), False),
        (sw.role("assistant"), sw.Positions("generated"), True),
        (sw.role("user"), sw.after(3), True),
        (sw.role("user") & sw.first(5), sw.after(5), False),
        (sw.role("user") & sw.first(5), sw.after(4) & "prompt", True),
        (sw.first(4, of="generated"), sw.after(4, of="generated"), False),
        (sw.first(4, of="generated"), sw.after(4), True),
        (sw.first(4, of="generated"), sw.Positions("prompt"), False),
        (sw.first(4, of="generated"), sw.Positions.parse([3]), True),
    ],
)
def test_setters_at_roles_and_phases(one, other, meet):
    for first, second in ((one, other), (other, one)):
        assert first.overlaps(second) is meet


def test_positions_in_common():
    user, late = sw.role("user"), sw.after(20)
    assert user & late == late & user
    assert (user & late) & "prompt" == user & (late & "prompt")
    assert user & "all" == "all" & user == user & user == user
    assert [3, 4] & user == user & [4, 3]
    assert not (user & sw.Positions("prompt", special=False)).special
    assert (user & sw.Positions(special=False)) == sw.Positions("role", role="user", special=False)
    assert A.add(1).at(user, special=False).positions == sw.Positions("role", role="user", special=False)
    namespace = {"sw": sw}
    for made in (user & late, user & "prompt" & [3, 4], sw.first(3, of="generated"), sw.Positions(special=False)):
        assert eval(f"sw.Steer(A, 'ablate').at({made.code('sw.')})", namespace | {"A": A}).positions == made


texts = st.sampled_from(["user", "assistant", "tool"])
simple = st.one_of(
    st.builds(sw.role, texts),
    st.builds(lambda n, of: sw.first(n, of=of), st.integers(0, 50), st.sampled_from(["text", "generated"])),
    st.builds(lambda n, of: sw.after(n, of=of), st.integers(0, 50), st.sampled_from(["text", "generated"])),
    st.sampled_from([sw.Positions("prompt"), sw.Positions("generated"), sw.last_prompt, sw.Positions(special=False)]),
)
conditions = st.recursive(
    st.builds(
        lambda feature, above, number: feature > number if above else feature < number,
        st.sampled_from([A, EARLY, NEAR, CAVS[0], SAE[2]]),
        st.booleans(),
        st.floats(-1e6, 1e6),
    ),
    lambda inner: st.builds(lambda a, b, both: a & b if both else a | b, inner, inner, st.booleans()),
    max_leaves=6,
)


@given(simple, simple, conditions, st.floats(-9, 9), st.integers(1, 99))
@settings(max_examples=80, deadline=None)
def test_any_of_them_survives_its_json(first, second, condition, to, over):
    recipe = sw.Recipe.of(A.add(2).at(first & second).when(condition).fade(to, over))
    again = sw.Recipe.from_json(recipe.to_json(), [CAVS, SAE])
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint


# Refusals


def chained():
    return 1 < A < 3


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: A.add(1).when(LATE > 1), ValueError, r"'a' is steered at block 1 resid_post, before .* block 2"),
        (lambda: NEAR.add(1).when(A > 1), ValueError, r"'near' is steered at block 1 attn_out, before .* 'a' is read"),
        (lambda: A.add(1).when(A), TypeError, r"steer.when takes a condition, but the Direction 'a' was given; c"),
        (lambda: A.add(1).when(True), TypeError, "steer.when takes a condition, but True was given"),
        (lambda: A > "3", TypeError, "compared with a number, but 'a' was compared with the text '3'"),
        (lambda: A > EARLY, TypeError, "compared with a number, but 'a' was compared with the Direction 'early'"),
        (lambda: A > NAN, ValueError, "'a' is compared with a finite number, but nan was given"),
        (lambda: A < 1e39, ValueError, "'a' is compared with a finite number"),
        (chained, TypeError, r"no truth value: join two with & or \|"),
        (lambda: A > 1 and EARLY > 1, TypeError, "no truth value"),
        (lambda: A > 1 & EARLY, TypeError, "put each comparison in parentheses"),
        (lambda: (A > 1) & EARLY, TypeError, "& joins two conditions, but the Direction 'early' was given"),
        (lambda: (A > 1) | True, TypeError, r"\| joins two conditions, but True was given"),
        (lambda: A.add(1).fade(to="x"), ValueError, "A fade goes to a share .* to='x' was given"),
        (lambda: A.add(1).fade(to=float("inf")), ValueError, "A fade goes to a share .* to=inf was given"),
        (lambda: A.add(1).fade(over=0), ValueError, "1 generated token or more, but over=0"),
        (lambda: A.add(1).fade(over=2.5), ValueError, "1 generated token or more, but over=2.5"),
        (lambda: sw.role(""), ValueError, "need to know whose words: give role="),
        (lambda: sw.role(3), ValueError, "need to know whose words: give role=.* 3 was given"),
        (lambda: sw.first(-1), ValueError, "count=-1"),
        (lambda: sw.first(2, of="prompt"), ValueError, "count the tokens of text or generated, but 'prompt' came"),
        (lambda: sw.Positions("both", parts=(sw.role("user"),)), ValueError, "what two or more have in common"),
        (lambda: sw.role("user") & 3, TypeError, "Positions are a word such as"),
    ],
)  # fmt: skip
def test_one_sentence(make, error, says):
    with pytest.raises(error, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


CONDITIONED = A.add(4).at(sw.role("user") & sw.after(3)).when((CAVS[1] > 2) & (SAE[3] < 0.5)).fade(0, 8)


def damaged(change):
    value = json.loads(sw.Recipe.of(CONDITIONED).to_json())
    change(value["steers"][0])
    return json.dumps(value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(when=3), "damaged.*when should be a table"),
        (lambda s: s.update(when={}), "when.is should be"),
        (lambda s: s.update(when={"all": [], "any": []}), "one of the three"),
        (lambda s: s.update(when={"all": 3}), "when.all should be a list of conditions"),
        (lambda s: s["when"]["all"].pop(), "when.all should be two conditions or more"),
        (lambda s: s["when"]["all"].__setitem__(0, 3), "damaged"),
        (lambda s: s["when"]["all"][0].update({"is": "="}), "is should be one of '>', '<'"),
        (lambda s: s["when"]["all"][0].update(than="2"), "than should be a finite number"),
        (lambda s: s["when"]["all"][0].update(than=1e39), "than should be a finite number"),
        (lambda s: s["when"]["all"][0].pop("feature"), "feature should be given"),
        (lambda s: s["when"]["all"][0]["feature"].update(index=99), "features 0 to 4, but 99"),
        (lambda s: s["when"]["all"][0].update(more=1), "more is not known"),
        (lambda s: s["when"]["all"][1]["feature"].update(dictionary="sae:other"), "not among the 2 dictionaries"),
        (lambda s: s["feature"]["site"].update(layer=0), "'a' is steered at block 0 resid_post, before"),
        (lambda s: s.update(fade=0), "fade is .*, but 0 was given"),
        (lambda s: s.update(fade={"to": 0}), "fade is"),
        (lambda s: s.update(fade={"to": None, "over": 3}), "to=null was given"),
        (lambda s: s["positions"].update(parts=[]), "what two or more have in common"),
        (lambda s: s["positions"].update(parts=[3, 4]), "damaged"),
        (lambda s: s["positions"]["parts"][1].update(role=3), "role should be a text"),
        (lambda s: s["positions"]["parts"][0].update(of="prompt"), "text or generated"),
        (lambda s: s["positions"]["parts"][0].update(parts=[{}, {}]), "parts have no parts"),
    ],
)
def test_a_damaged_text(change, says):
    with pytest.raises(ValueError, match=says) as caught:
        sw.Recipe.from_json(damaged(change), [CAVS, SAE])
    assert type(caught.value) is ValueError


def test_conditions_within_conditions_without_end():
    leaf = {"feature": {"label": "a"}, "is": ">", "than": 1}
    nested = leaf
    for _ in range(200):
        nested = {"any": [nested, leaf]}
    with pytest.raises(ValueError):
        sw.Recipe.from_json(damaged(lambda s: s.update(when=nested)), [CAVS, SAE])


def refused(lm, steer, says, **how):
    for run in (
        lambda: lm.compare(PROMPT, steer, max_new_tokens=1),
        lambda: lm.sweep(PROMPT, [None, steer], max_new_tokens=1),
        lambda: lm.measure(PROMPT, steer),
        lambda: lm.logit_lens(list(PROMPT), steer),
        lambda: lm.steer(steer, prompt_length=4).__enter__(),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            run(**how)
        assert "\n" not in str(caught.value)
    assert not lm.model._forward_hooks


def test_roles_where_nobody_can_tell_them(llama, tokenizer):
    steer = A.add(1).at(sw.role("user"))
    refused(llama, steer, r'acts on the role "user", but whose words this text holds is not known: give messages')
    with pytest.raises(ValueError, match="whose words this text holds is not known"):
        llama.compare("Name a city.", steer, chat=False, max_new_tokens=1)
    chat = [{"role": "user", "content": "Name a city."}]
    with pytest.raises(ValueError, match=r'acts on the role "tool", but the messages are of assistant, user; choose'):
        llama.compare(chat, A.add(1).at(sw.role("tool")), max_new_tokens=1)
    llama.compare(chat, steer, max_new_tokens=1)
    hidden = tokenizer("plain")
    hidden.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    try:
        with pytest.raises(ValueError, match="whose words this text holds is not known"):
            sw.LanguageModel(llama.model, hidden).compare(chat, steer, max_new_tokens=1)
    finally:
        hidden.chat_template = None


def test_a_fade_and_a_phase_need_the_prompts_length(llama):
    for steer, does in (
        (A.add(1).fade(), "fades over the generated tokens"),
        (A.add(1).at(sw.first(3, of="generated")), r"acts on first\(3, of='generated'\)"),
        (A.add(1).at(sw.after(3) & "prompt"), r'acts on "prompt" & after\(3\)'),
    ):
        with pytest.raises(ValueError, match=rf"'a' {does}, which needs the length of the prompt; pass prompt_length="):
            llama.steer(steer).__enter__()


def test_a_condition_on_a_feature_of_another_model(llama, fresh):
    wide = sw.Direction(vector(1, 40), SITE, "wide")
    refused(llama, A.add(1).when(wide > 1), "'wide' has 40 numbers, but block 1 resid_post of .* has 32; it was made")
    far = sw.Direction(vector(1), sw.Site(9), "far")
    refused(llama, sw.Direction(vector(1), sw.Site(9, "resid_post"), "x").add(1).when(far > 1), "4 blocks, counted")
    lm = fresh()
    lm.model.config._name_or_path = "gpt2-medium"
    other = sw.CAV(kinds.ROWS, layer=1)
    other.provenance = {"model": "google/gemma-2-2b"}
    steer = A.add(1).when(other[0] > 1)
    refused(lm, steer, r"The condition 'CAV 0' > 1 reads a feature of another model\. .*google/gemma-2-2b.*gpt2-medium")


def test_the_prompt_of_a_users_own_code(llama):
    encoded = llama.encode("Name a city.")
    with pytest.raises(TypeError, match="the prompt or its length, but both were given"):
        llama.steer(A.add(1), prompt=encoded, prompt_length=3).__enter__()
    for no_prompt in ("Name a city.", [[1, 2]], []):
        with pytest.raises(TypeError, match=r"lm.steer takes a prompt that is encoded.*prompt=lm.encode\(messages\)"):
            llama.steer(A.add(1), prompt=no_prompt).__enter__()


def test_a_block_that_runs_by_itself_says_what_it_misses(llama):
    """A condition of an earlier block can't be read where only a later one runs."""
    steer = LATE.add(1).when(EARLY > 0)
    h = torch.randn(1, 4, 32)
    block, rotary = llama.model.model.layers[2], llama.model.model.rotary_emb
    with torch.no_grad(), llama.steer(steer), pytest.raises(ValueError, match="without having passed block 0"):
        block(h, position_embeddings=rotary(h, torch.arange(4)[None]))


# What it costs, and what is told


class Counting(sw.Direction):
    """Counts how often it is read."""

    def activation(self, h):
        self.__dict__["times"] = self.__dict__.get("times", 0) + 1
        return super().activation(h)


def test_a_feature_is_read_once_for_each_pass_and_not_without_a_condition(llama):
    feature = Counting(vector(2), sw.Site(0), "counted")
    ids = torch.tensor([PROMPT])
    recipe = A.add(1).when(feature > 0) + LATE.add(1).when(feature < 1) + LATE.add(2).when((feature > 2) | (A > 0))
    with torch.no_grad(), llama.steer(recipe):
        llama.model(ids)
    assert feature.times == 1
    plain = feature.add(1) + A.add(1)
    with torch.no_grad(), llama.steer(plain):
        llama.model(ids)
    assert feature.times == 1


def test_readouts_are_of_the_tokens_where_the_condition_holds(llama):
    values = llama.residuals(list(PROMPT), [SITE]).values[SITE][0]
    reads = values @ A.vector
    theta = float(reads[1:].median())
    [told] = llama.measure(PROMPT, A.add(2).when(A > theta))  # noqa: SIM300
    counted = [i for i in range(1, len(PROMPT)) if reads[i] > theta]
    ratios = torch.stack([2 * A.vector.norm() / values[i].norm() for i in counted])
    assert told.ratio == pytest.approx(float(ratios.median()), rel=1e-4)
    assert told.note == f"its condition holds at {len(counted)} of {len(PROMPT) - 1} tokens"
    [none] = llama.measure(PROMPT, A.add(2).when(A > 1e6))
    assert none.ratio is None
    assert none.note == "its condition holds at no token of this prompt"
    [other] = llama.measure(PROMPT, A.add(2).at(sw.first(2, of="generated")))
    assert other.note == "measured on the prompt's tokens"


def test_no_control_vector_of_it(tmp_path):
    from steerwidgets.steering.exports.gguf import export_control_vector

    for steer in (A.add(1).when(A > 1), A.add(1).fade(), A.add(1).at(sw.role("user"))):
        with pytest.raises(ValueError, match="does something else: it "):
            export_control_vector(tmp_path / "x.gguf", steer)


def test_sites_are_ordered_as_a_pass_comes_to_them():
    streams = ["resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_normalized", "mlp_in", "mlp_acts", "mlp_out"]
    sites = [sw.Site(layer, stream) for layer in (0, 1) for stream in (*streams, "resid_post")]
    backwards = sites[::-1]
    assert sorted(backwards) == sites


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: A >= 1, r"^A condition compares 'a' by > or <; .* so >= and <= are none\.$"),
        (lambda: A <= 1, r"^A condition compares 'a' by > or <"),
        (lambda: ~(A > 1), r"^A condition has no opposite by ~, but 'a' > 1 was given"),
        (lambda: (A > 1) & sw.role("user"), r"^& joins two conditions, but positions were given \(role\('user'\)\)"),
        (lambda: sw.role("user") & (A > 1), r"^Positions are .*, but the Compared 'a' > 1 was given; .*steer\.when"),
        (lambda: A.add(1).at(A > 1), r"^Positions are .*steer\.when\(feature > 3\)\.$"),
        (lambda: A.add(1).at(sw.role), r"^Positions are .*, but a function was given"),
        (lambda: sw.role("user") | sw.role("system"), r"^Positions are joined by & alone, but role\('user'\) came to"),
        (lambda: ~sw.first(3), r"^Positions are joined by & alone, but first\(3\) came to"),
        (
            lambda: A.add(1).at("assistant"),
            r'^Positions are no role by its name alone; give sw\.role\("assistant"\)\.$',
        ),
        (lambda: sw.first(1.5), r"in whole numbers, but count=1\.5 was given"),
        (lambda: A.add(1).at([3, -1]), r"in whole numbers, but indices=\[3, -1\] was given; for the last token"),
        (
            lambda: CAVS > 1,
            r"^A condition takes a feature that is compared with a number, but the CAV of .* was given; choose one",
        ),
    ],
)
def test_first_mistakes_are_one_sentence(wrong, says):
    with pytest.raises((TypeError, ValueError), match=says):
        wrong()


def test_a_mistyped_condition_of_a_recipe_is_not_left_out():
    text = sw.Recipe.of(A.add(1).when(A > 1)).to_json(inline=True)
    with pytest.raises(ValueError, match="in steer 0, whenn is not known"):
        sw.Recipe.from_json(text.replace('"when"', '"whenn"'))


def test_a_change_that_overflows_is_nothing_where_it_does_not_act(llama):
    direction = sw.Direction(100 * vector(5), sw.Site(3))  # the last block: attention mixes the tokens no more
    ids = torch.tensor([[9, 8, 7, 6, 5, 4]])
    with torch.no_grad():
        plain = llama.model(ids).logits
        with llama.steer(direction.project(3e38).at([4])):
            steered = llama.model(ids).logits
    torch.testing.assert_close(steered[:, :4], plain[:, :4], rtol=0, atol=1e-5)
