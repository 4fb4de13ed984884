"""Hooks on streams: a module's input or output, read as a copy or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor, nn


class Handle(Protocol):
    """What takes a hook off again."""

    def remove(self) -> None:
        """Take it off."""
        ...


@dataclass(frozen=True)
class Hookpoint:
    """A module and whether the stream is its input or its output; or, read only, what `reads` makes of that.

    Attributes:
        module: the module.
        is_input: whether the stream goes into it.
        writable: whether a change of the stream reaches the residual.
        reads: what is made of the stream before it is read.
        flat_in: the block around it, where the stream comes with batch and positions in one dimension, as OPT has it.
        factor: what the module's output is multiplied with before it joins the residual, as in Granite; the stream is
            what joins it.
    """

    module: nn.Module
    is_input: bool
    writable: bool = True
    reads: Callable[[Tensor], Tensor] | None = None
    flat_in: nn.Module | None = None
    factor: float = 1.0


def on_stream(point: Hookpoint, edit: Callable[[Tensor], Tensor | None], *, first: bool = False) -> Handle:
    """Call `edit` with the stream at a hookpoint; what it returns replaces the stream, None leaves it alone.

    A block's output is a tensor or a tuple, by architecture and by release: what came is mirrored. What `edit` gets is
    the model's own tensor, which later modules may write into; `edit` keeps a copy or nothing.

    Args:
        point: where.
        edit: gets the stream [batch, position, width].
        first: before the hooks that are there already, so that an output is seen as the module made it.
    """
    if (reads := point.reads) is not None:
        seen = edit
        edit = lambda stream: seen(reads(stream))
    if point.factor != 1.0:
        edit = _rescaled(edit, point.factor)
    if point.flat_in is not None:
        unfolded = _Unfolded(edit)
        around = hooked_before(point.flat_in, unfolded.note)
        try:
            return Handles([around, _on(point, unfolded, first)])
        except BaseException:
            around.remove()
            raise
    return _on(point, edit, first)


def read_stream(point: Hookpoint, keep: Callable[[Tensor], object], *, first: bool = False) -> Handle:
    """Call `keep` with a copy of the stream at a hookpoint, detached: its own, whatever the model does later on.

    Falcon adds to its MLP's output in place, so what is kept has to be a copy, taken here for everything that reads.
    """

    def look(stream: Tensor) -> None:
        keep(copied(stream))

    return on_stream(point, look, first=first)


def copied(stream: Tensor) -> Tensor:
    """A stream as it is now."""
    return stream.detach().clone()


def hooked_before(module: nn.Module, hook: Callable[..., Any], *, first: bool = False) -> Handle:
    """Call a hook with what a module gets, by position and by name."""
    with _whole(module._forward_pre_hooks, hook):  # noqa: SLF001 - torch gives no other way
        return module.register_forward_pre_hook(hook, with_kwargs=True, prepend=first)


def hooked_after(module: nn.Module, hook: Callable[..., Any], *, first: bool = False) -> Handle:
    """Call a hook with what a module gives."""
    with _whole(module._forward_hooks, hook):  # noqa: SLF001 - likewise
        return module.register_forward_hook(hook, prepend=first)


@contextmanager
def _whole(table: MutableMapping[int, Callable[..., Any]], hook: Callable[..., Any]) -> Iterator[None]:
    """Takes a hook off again where its registration was cut short, as by a Ctrl-C: nobody has its handle then."""
    try:
        yield
    except BaseException:
        for key in [key for key, each in table.items() if each is hook]:
            del table[key]
        raise


class Hooks(list[Handle]):
    """Hooks that are on while a block lasts.

    It is entered twice, `with Hooks() as hooks, hooks:`, for a Ctrl-C may come in the middle of taking them off, or
    before the first line of it: then the outer one still does.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_all(self)


def remove_all(handles: list[Handle]) -> None:
    """Take off exactly these hooks, and forget them.

    What is raised meanwhile, as a Ctrl-C is, waits until all are off: it must not leave the model half steered.
    """
    try:
        _take_off(handles)
    finally:
        if handles:  # it was cut short between two of them
            _take_off(handles)


def _take_off(handles: list[Handle]) -> None:
    raised: BaseException | None = None
    for again in (True, False):  # a handle whose removal was cut short is asked again, and then given up
        for handle in list(handles):
            try:
                handle.remove()
                handles.remove(handle)
            except BaseException as error:  # noqa: BLE001 - raised below
                raised = error
        if not (again and handles):
            break
    handles.clear()
    if raised is not None:
        raise raised


def hidden_states(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The first thing that a module gets, by position or by its usual name; None where it gets neither."""
    return args[0] if args else kwargs.get("hidden_states")


def first_tensor(output: Any) -> Any:
    """The stream in what a module gives, a tensor or a tuple."""
    return output[0] if isinstance(output, tuple) else output


def _on(point: Hookpoint, edit: Callable[[Tensor], Tensor | None], first: bool) -> Handle:
    if point.is_input:
        return hooked_before(point.module, _input_hook(edit), first=first)

    def output_hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        edited = edit(first_tensor(output))
        if edited is None:
            return None
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return hooked_after(point.module, output_hook, first=first)


def _rescaled(edit: Callable[[Tensor], Tensor | None], factor: float) -> Callable[[Tensor], Tensor | None]:
    """An edit of what joins the residual, as an edit of the output that is multiplied on its way there."""

    def rescaled(output: Tensor) -> Tensor | None:
        stream = output * factor
        edited = edit(stream)
        # The change is divided and not the whole: where nothing is changed, not a bit is.
        return None if edited is None else output + (edited - stream) / factor

    return rescaled


def _input_hook(edit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            edited = edit(args[0])
            return None if edited is None else ((edited, *args[1:]), kwargs)
        edited = edit(kwargs["hidden_states"])
        return None if edited is None else (args, kwargs | {"hidden_states": edited})

    return hook


class _Unfolded:
    """An edit of a stream that comes with batch and positions in one dimension."""

    def __init__(self, edit: Callable[[Tensor], Tensor | None]) -> None:
        self._edit = edit
        self._shape: tuple[int, int] = (1, -1)

    def note(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The block begins: its input tells batch and positions."""
        batch, length = hidden_states(args, kwargs).shape[:2]
        self._shape = (int(batch), int(length))

    def __call__(self, stream: Tensor) -> Tensor | None:
        edited = self._edit(stream.reshape(*self._shape, stream.shape[-1]))
        return None if edited is None else edited.reshape(stream.shape)


class Handles:
    """Handles as one."""

    def __init__(self, handles: list[Handle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        """Take all off."""
        remove_all(self._handles)
