"""What steerwidgets does with a family, against plain code: own hooks, own positions, the model's own logits.

`examine` gives an `Outcome`; as a script it prints a table of all families:
`python tests/families/sweep.py [model type …]`, with `--json FILE` for the details.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from families import tiny

import steerwidgets as sw

IDS = (0, 72, 101, 108, 111, 35, 90, 64, 120, 33)
SHORT = IDS[:6]
NEW = 5
PAD, END = 2, 1
SECONDS = 40
"""A family that takes longer hangs."""

STREAMS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z", "mlp_in")
OF_RESIDUAL = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")

Class = Literal["right", "partly", "refused", "WRONG", "crash"]
_WORST: tuple[Class, ...] = ("right", "partly", "refused", "WRONG", "crash")


@dataclasses.dataclass
class Outcome:
    """How a family fared.

    Attributes:
        family: its model type.
        said: for each check, its class and what there is to say.
        streams: the streams that are served at every block, and with a star those at some.
        seconds: how long it took.
    """

    family: str
    said: dict[str, tuple[Class, str]] = dataclasses.field(default_factory=dict)
    streams: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def kind(self) -> Class:
        """The worst class of any check; "refused" where it was refused at load."""
        if "load" in self.said:
            return self.said["load"][0]
        found = {kind if kind != "refused" else "partly" for kind, _ in self.said.values()}
        return max(found, key=_WORST.index, default="right")

    @property
    def faults(self) -> dict[str, str]:
        """What is not right, by check."""
        return {check: f"{kind}: {text}" for check, (kind, text) in self.said.items() if kind != "right"}


class Wrong(Exception):
    """A number is another than it has to be."""


class TooLong(BaseException):
    """The time is up."""


def is_sentence(error: BaseException) -> str:
    """What keeps an error from being a clear sentence of the package; empty where it is one."""
    text = str(error)
    if not isinstance(error, ValueError):
        return f"raw {type(error).__name__}"
    if not re.fullmatch(r"[A-Z'\"“(].{20,}\.", text, flags=re.DOTALL) or "Traceback" in text:
        return "no sentence"
    raw = r"The size of tensor|mat1 and mat2|Expected all tensors|dimension|indexing|subscriptable|has no attribute"
    return "a raw text" if re.search(raw, text) else ""


def close(name: str, got: Any, want: Any, tolerance: float = 1e-4) -> None:
    """Refuse a tensor that is another.

    Raises:
        Wrong: it is.
    """
    got, want = got.detach().float(), want.detach().float()
    if got.shape != want.shape:
        raise Wrong(f"{name} has shape {list(got.shape)}, not {list(want.shape)}")
    off = float((got - want).abs().max()) / max(1.0, float(want.abs().max()))
    if not off <= tolerance:
        raise Wrong(f"{name} is off by {off:.2g}")


@contextlib.contextmanager
def hooked(module: Any, edit: Callable[[Any], Any], *, before: bool = False) -> Iterator[None]:
    """A hook of our own: `edit` gets the module's first input or output, and may give another."""

    def on_output(_module: Any, _args: Any, out: Any) -> Any:
        new = edit(out[0] if isinstance(out, tuple) else out)
        if new is None:
            return None
        return (new, *out[1:]) if isinstance(out, tuple) else new

    def on_input(_module: Any, args: Any, kwargs: Any) -> None:
        edit(args[0] if args else kwargs.get("hidden_states"))

    handle = (
        module.register_forward_pre_hook(on_input, with_kwargs=True)
        if before
        else module.register_forward_hook(on_output)
    )
    try:
        yield
    finally:
        handle.remove()


class Family:
    """One family's model, as a `LanguageModel` and as itself."""

    def __init__(self, model: Any, lm: sw.LanguageModel) -> None:
        self.model, self.lm = model, lm
        self.blocks = lm.architecture.blocks
        self.middle = len(self.blocks) // 2
        self.ids = torch.tensor([IDS])
        self.batch = torch.tensor([IDS, (PAD,) * (len(IDS) - len(SHORT)) + SHORT])
        self.mask = (self.batch != PAD).long()
        with torch.no_grad():
            self.logits = model(input_ids=self.ids).logits
        self.v = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(3))
        self.alpha = self.strength()

    def site(self, layer: int, stream: str = "resid_post") -> sw.Site:
        return sw.Site(layer, stream)  # type: ignore[arg-type]

    def read(self, sites: list[sw.Site]) -> dict[sw.Site, Any]:
        return {site: value.clone() for site, value in self.lm.residuals(list(IDS), sites).values.items()}

    def served(self, layer: int) -> list[str]:
        return [stream for stream in STREAMS if self.lm.architecture.has(self.site(layer, stream))]

    # ------------------------------------------------------------ checks

    def check_blocks(self) -> None:
        """What goes into and out of each block by own hooks, and into the final norm after the last."""
        for layer, block in enumerate(self.blocks):
            seen = self._around(block)
            if "post" not in seen:
                raise Wrong(f"block {layer} never runs")
            want = (1, len(IDS), self.lm.architecture.d_model)
            if tuple(seen["post"].shape) != want:
                raise Wrong(f"block {layer} gives {list(seen['post'].shape)}, not {list(want)}")
            found = self.read([self.site(layer, "resid_pre"), self.site(layer)])
            close(f"resid_pre {layer}", found[self.site(layer, "resid_pre")], seen["pre"])
            close(f"resid_post {layer}", found[self.site(layer)], seen["post"])
            if layer == len(self.blocks) - 1:
                if "norm" not in seen:
                    raise Wrong("the final norm never runs")
                close("what the final norm takes", seen["norm"], seen["post"])

    def _around(self, block: Any) -> dict[str, Any]:
        """What a block takes and gives, and what the final norm takes, in one forward pass."""
        seen: dict[str, Any] = {}
        with (
            hooked(block, lambda h: seen.update(pre=h.clone()), before=True),
            hooked(block, lambda h: seen.update(post=h.clone())),
            hooked(self.lm.architecture.final_norm, lambda h: seen.update(norm=h.clone()), before=True),
            torch.no_grad(),
        ):
            self.model(input_ids=self.ids)
        return seen

    def check_together(self) -> None:
        """A stream read alone and with all others."""
        sites = [self.site(layer, s) for layer in range(len(self.blocks)) for s in self.served(layer)]
        together = self.read(sites)
        for site in sites:
            close(f"{site} together", together[site], self.read([site])[site], 1e-6)

    def check_sums(self) -> None:
        """What the sublayers give is what is added."""
        for layer in range(len(self.blocks)):
            at = {
                s: self.read([self.site(layer, s)])[self.site(layer, s)] for s in self.served(layer) if s in OF_RESIDUAL
            }
            if {"attn_out", "mlp_out"} <= set(at):
                close(f"pre + attn + mlp, {layer}", at["resid_pre"] + at["attn_out"] + at["mlp_out"], at["resid_post"])
            if {"resid_mid", "mlp_out"} <= set(at):
                close(f"mid + mlp, {layer}", at["resid_mid"] + at["mlp_out"], at["resid_post"])
            if {"resid_mid", "attn_out"} <= set(at):
                close(f"pre + attn = mid, {layer}", at["resid_pre"] + at["attn_out"], at["resid_mid"])

    def check_added(self) -> None:
        """A sublayer's output is what is added: moved by v, the residual after it moves by v."""
        for layer, block in enumerate(self.blocks):
            served = self.served(layer)
            if "mlp_out" in served:
                close(f"resid_post where mlp_out moves by v, {layer}", self._moved(block, layer, "mlp_out"), self.v)
            if "attn_out" in served:
                close(f"the residual where attn_out moves by v, {layer}", self._moved(block, layer, "attn_out"), self.v)

    def _moved(self, block: Any, layer: int, stream: str) -> Any:
        """By how much the first thing after a sublayer moves that takes or gives a residual: a child, or the block."""
        before, after = self._residuals(block), self._residuals(block, self.site(layer, stream))
        moved = [post - pre for pre, post in zip(before, after, strict=True)]
        first = next((each for each in moved if float(each.abs().max()) > 1e-3), None)
        if first is None:
            raise Wrong(f"nothing moves with {stream} {layer}")
        close("the move at each position", first, first[:, :1].expand_as(first), 1e-3)
        return first[0, 0]

    def _residuals(self, block: Any, site: sw.Site | None = None) -> list[Any]:
        """What the block's children take, in the order of their calls, and what it gives; `site` moved by v or not."""
        seen: list[Any] = []

        def keep(h: Any) -> None:
            # OPT puts batch and positions in one dimension.
            if h is not None and tuple(h.shape[-1:]) == tuple(self.v.shape) and h.numel() == len(IDS) * len(self.v):
                seen.append(h.reshape(1, len(IDS), -1).clone())

        move = self.lm.steer(sw.Direction(self.v, site, "x").add(1.0)) if site else contextlib.nullcontext()
        with contextlib.ExitStack() as stack:
            for child in block.children():
                if not isinstance(child, torch.nn.Dropout | torch.nn.Identity | torch.nn.ModuleList):
                    stack.enter_context(hooked(child, keep, before=True))
            stack.enter_context(move)
            stack.enter_context(hooked(block, keep))
            stack.enter_context(torch.no_grad())
            self.model(input_ids=self.ids)
        return seen

    def check_chain(self) -> None:
        """What a block gives is what the next one takes."""
        for layer in range(len(self.blocks) - 1):
            post, pre = self.site(layer), self.site(layer + 1, "resid_pre")
            found = self.read([post, pre])
            close(f"resid_post {layer} and the next resid_pre", found[pre], found[post], 1e-5)

    def check_lens(self) -> None:
        """The lens's last row is the model's own output."""
        lens = self.lm.logit_lens(list(IDS), k=self.logits.shape[-1])
        got = torch.zeros_like(lens.log_probs[-1]).scatter_(-1, lens.token_ids[-1].long(), lens.log_probs[-1])
        close("the lens's last row", got, self.logits[0].log_softmax(-1))

    def check_top_logits(self) -> None:
        """A direction through what the norm really does to one, and the unembed."""
        norm, head = self.lm.architecture.final_norm, self.lm.architecture.unembed
        v, far = self.v, 1e4
        zero = torch.zeros_like(v)
        with torch.no_grad():
            centres = torch.allclose(norm(far * (v + 1)), norm(far * v), atol=1e-2, rtol=1e-2)
            flat = v - v.mean() if centres else v
            through = (norm(far * v) - norm(zero)) * flat.square().mean().sqrt()
            again = (norm(2 * far * v) - norm(zero)) * flat.square().mean().sqrt()
            close("the norm is scale-free", again, through, 1e-2)
            want = head(through) - head(zero.to(through))
        found = self.lm.top_logits(sw.Direction(v, self.site(self.middle), "x"), k=10).promoted
        got = torch.tensor([value for _, value in found])
        close("top_logits", got, want[[token.id for token, _ in found]], 1e-3)
        close("top_logits' order", got, want.topk(10).values, 1e-3)

    def check_attribution(self) -> None:
        """The parts of a logit sum to it."""
        own = self.logits[0, -1]
        token = int(own.argmax())
        found = self.lm.attribution(list(IDS), token)
        close("attribution's logit", torch.tensor(found.capped), own[token], 1e-3)
        close("attribution's sum", torch.tensor(found.total), torch.tensor(found.logit), 1e-3)
        rounding = sum(abs(row.value) for row in found.rows if row.kind == "rounding")
        if rounding > 1e-2 * max(1.0, abs(found.logit)):
            raise Wrong(f"attribution leaves {rounding:.2g} to rounding")

    def strength(self) -> float:
        """What moves the middle residual by about two thirds of its norm."""
        norms: list[float] = []
        with (
            hooked(self.blocks[self.middle], lambda h: norms.append(float(h.norm(dim=-1).median()))),
            torch.no_grad(),
        ):
            self.model(input_ids=self.ids)
        return round(0.7 * norms[-1] / float(self.v.norm()), 3) if norms else 1.0

    def steer(self, where: str = "all") -> Any:
        return sw.Direction(self.v, self.site(self.middle), "x").add(self.alpha).at(where)  # type: ignore[arg-type]

    def check_forward(self) -> None:
        """One forward pass, every position."""
        with hooked(self.blocks[self.middle], lambda h: h + self.alpha * self.v), torch.no_grad():
            want = self.model(input_ids=self.ids).logits
        with self.lm.steer(self.steer()), torch.no_grad():
            close("steered logits", self.model(input_ids=self.ids).logits, want)

    def reference(self, ids: Any, mask: Any, where: str, *, cache: bool) -> Any:
        """The same run under own hooks that count columns by the lengths of the chunks."""
        steps, prompt = [-1], ids.shape[1]
        start = [0]

        def begin(_module: Any, args: Any, kwargs: Any) -> None:
            given = next(x for x in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if x is not None)
            steps[0] += 1
            start[0] = prompt + steps[0] - given.shape[1]

        def edit(h: Any) -> Any:
            columns = torch.arange(start[0], start[0] + h.shape[1])[None].expand(h.shape[0], -1)
            if h.shape[0] != ids.shape[0] or start[0] < 0:
                raise Wrong(f"a block gives {list(h.shape)} for {list(ids.shape)} tokens")
            is_token = columns >= (mask == 0).sum(-1, keepdim=True)
            acts = {"all": columns >= 0, "prompt": columns < prompt, "generated": columns >= prompt}[where] & is_token
            return h + self.alpha * acts[..., None] * self.v

        handle = self.model.register_forward_pre_hook(begin, with_kwargs=True)
        try:
            with hooked(self.blocks[self.middle], edit):
                return self.run(ids, mask, cache=cache)
        finally:
            handle.remove()

    def run(self, ids: Any, mask: Any, *, cache: bool) -> Any:
        with torch.no_grad():
            return self.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=NEW,
                do_sample=False,
                use_cache=cache,
                pad_token_id=PAD,
                output_logits=True,
                return_dict_in_generate=True,
            )

    def check_generate(self, *, cache: bool) -> None:
        """A left-padded batch of two through `generate`, at three kinds of positions."""
        for where in ("all", "generated", "prompt"):
            want = self.reference(self.batch, self.mask, where, cache=cache)
            with self.lm.steer(self.steer(where), prompt_length=[len(IDS), len(SHORT)]):
                got = self.run(self.batch, self.mask, cache=cache)
            close(f"logits of a batch at {where!r}", torch.stack(got.logits), torch.stack(want.logits))

    def check_compare(self) -> None:
        """`lm.compare`: baseline and steered greedy tokens, beside own runs of one row."""
        one = torch.ones_like(self.ids)
        for where in ("all", "generated"):
            found = self.lm.compare(list(IDS), self.steer(where), temperature=0, max_new_tokens=NEW)
            self._same_tokens(
                f"steered at {where!r}", found.steered.token_ids, self.reference(self.ids, one, where, cache=True)
            )
        self._same_tokens("baseline", found.baseline.token_ids, self.run(self.ids, one, cache=True))

    def _same_tokens(self, name: str, got: tuple[int, ...], want: Any) -> None:
        own = want.sequences[0, len(IDS) :].tolist()
        for step, token in enumerate(own):
            if step == len(got) and token == END:
                return
            if step >= len(got) or got[step] != token:
                best = want.logits[step][0].topk(2).values
                if float(best[0] - best[1]) < 1e-3:
                    return  # a tie
                raise Wrong(f"{name}: {list(got)}, not {own}")

    def check_read(self) -> None:
        """What a concept vector reads: the residual times it."""
        cav = sw.CAV(torch.stack([self.v, -2 * self.v]), ["a", "b"], layer=self.middle)
        seen: list[Any] = []
        with hooked(self.blocks[self.middle], lambda h: seen.append(h.clone())), torch.no_grad():
            self.model(input_ids=self.ids)
        close("lm.read", self.lm.read(list(IDS), cav).values[:, 0], seen[-1][0] @ self.v)


CHECKS: dict[str, Callable[[Family], None]] = {
    "blocks": Family.check_blocks,
    "together": Family.check_together,
    "sums": Family.check_sums,
    "added": Family.check_added,
    "chain": Family.check_chain,
    "read": Family.check_read,
    "lens": Family.check_lens,
    "top_logits": Family.check_top_logits,
    "attribution": Family.check_attribution,
    "forward": Family.check_forward,
    "generate": lambda family: family.check_generate(cache=False),
    "generate, cached": lambda family: family.check_generate(cache=True),
    "compare": Family.check_compare,
}


def examine(model_type: str) -> Outcome:
    """Build a family's tiny model and put it through every check."""
    outcome, begun = Outcome(model_type), time.perf_counter()
    model = tiny.make(model_type)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lm = sw.LanguageModel(model, tiny.tokenizer())
        except Exception as error:
            obstacle = is_sentence(error)
            outcome.said["load"] = ("crash", f"{obstacle}: {error}") if obstacle else ("refused", str(error))
            outcome.seconds = time.perf_counter() - begun
            return outcome
        family = Family(model, lm)
        served = [set(family.served(layer)) for layer in range(len(family.blocks))]
        outcome.streams = tuple(
            s + ("" if all(s in each for each in served) else "*") for s in STREAMS if any(s in each for each in served)
        )
        for name, check in CHECKS.items():
            outcome.said[name] = _checked(family, check)
    outcome.seconds = time.perf_counter() - begun
    return outcome


def _checked(family: Family, check: Callable[[Family], None]) -> tuple[Class, str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            check(family)
        except Wrong as wrong:
            said = [str(each.message) for each in told if "lens is not exact" in str(each.message)]
            return ("refused", said[0]) if said else ("WRONG", str(wrong))
        except Exception as error:
            obstacle = is_sentence(error)
            text = " ".join(str(error).split())[:300]
            return ("crash", f"{obstacle} ({type(error).__name__}): {text}") if obstacle else ("refused", text)
    return "right", ""


def within(seconds: float, work: Callable[[], Outcome]) -> Outcome:
    """The work, ended by an alarm; for the script, where pytest's own timeout is not there.

    Raises:
        TooLong: the time was up.
    """

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Print a table of all families, or of those named."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    to = arguments.pop(arguments.index("--json") + 1) if "--json" in arguments else None
    names = [each for each in arguments if not each.startswith("--")]
    outcomes = []
    for model_type in names or [each for each in tiny.families() if each not in tiny.LEFT_OUT]:
        try:
            outcome = within(SECONDS, lambda model_type=model_type: examine(model_type))
        except TooLong:
            outcome = Outcome(model_type, {"load": ("crash", f"took more than {SECONDS} s")}, seconds=SECONDS)
        except Exception as error:
            outcome = Outcome(model_type, {"load": ("crash", f"the sweep itself: {error!r}")})
        outcomes.append(outcome)
        print(f"{model_type:28}{outcome.kind:9}{outcome.seconds:5.1f} s  {' '.join(outcome.streams)}", flush=True)
        for check, text in outcome.faults.items():
            print(f"    {check}: {text[:220]}", flush=True)
    counts = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in _WORST}
    print(counts, f"{sum(outcome.seconds for outcome in outcomes):.0f} s")
    if to:
        Path(to).write_text(json.dumps([dataclasses.asdict(each) | {"kind": each.kind} for each in outcomes], indent=1))


if __name__ == "__main__":
    main()
