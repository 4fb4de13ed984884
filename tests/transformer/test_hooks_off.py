"""Hooks are on whole or not at all, and come off, whatever happens meanwhile."""

import pytest
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from steerwidgets.transformer.hookpoints import Hookpoint, on_stream, remove_all


class Interrupted:
    """A handle whose removal is cut short by a Ctrl-C before it did anything."""

    def __init__(self, handle, times):
        self.handle, self.times = handle, times

    def remove(self):
        if self.times:
            self.times -= 1
            raise KeyboardInterrupt
        self.handle.remove()


@pytest.mark.parametrize("which", [0, 2, 4])
def test_a_ctrl_c_while_hooks_come_off_waits_until_all_are_off(which):
    modules = [nn.Identity() for _ in range(5)]
    handles = [on_stream(Hookpoint(module, is_input=False), lambda h: h + 1) for module in modules]
    assert all(isinstance(handle, RemovableHandle) for handle in handles)
    handles[which] = Interrupted(handles[which], 1)
    with pytest.raises(KeyboardInterrupt):
        remove_all(handles)
    assert handles == []
    assert all(torch.equal(module(torch.ones(1, 1, 2)), torch.ones(1, 1, 2)) for module in modules)


def test_a_handle_that_never_comes_off_keeps_no_other_one_on():
    modules = [nn.Identity() for _ in range(3)]
    handles = [on_stream(Hookpoint(module, is_input=False), lambda h: h + 1) for module in modules]
    handles[1] = Interrupted(handles[1], 9)
    with pytest.raises(KeyboardInterrupt):
        remove_all(handles)
    assert [len(module._forward_hooks) for module in modules] == [0, 1, 0]


@pytest.mark.parametrize("is_input", [False, True])
def test_a_hook_whose_registration_is_cut_short_is_not_on(is_input, monkeypatch):
    """It is in torch's table before the handle comes back."""
    module, name = nn.Identity(), "register_forward_pre_hook" if is_input else "register_forward_hook"
    register = getattr(nn.Module, name)

    def cut_short(*given, **named):
        register(*given, **named)
        raise KeyboardInterrupt

    other = on_stream(Hookpoint(module, is_input=is_input), lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr(nn.Module, name, cut_short)
        with pytest.raises(KeyboardInterrupt):
            on_stream(Hookpoint(module, is_input=is_input), lambda h: h + 1)
    assert len(module._forward_hooks) + len(module._forward_pre_hooks) == 1
    other.remove()
    assert len(module._forward_hooks) + len(module._forward_pre_hooks) == 0
