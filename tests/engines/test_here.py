"""A dry run of the remote way takes nothing from the other threads of its process."""

import importlib
import sys
import threading

import pytest

import steerwidgets as sw
from steerwidgets.engines.job import Here


def test_an_import_of_another_thread_waits_until_a_trace_is_unpacked():
    here, found = Here(None), []
    hidden = here._hide_local_modules()
    try:
        with pytest.raises(ModuleNotFoundError, match="where the model runs"):
            importlib.import_module("steerwidgets.model")
        importing = threading.Thread(target=lambda: found.append(importlib.import_module("steerwidgets.model")))
        importing.start()
        importing.join(0.2)
        assert importing.is_alive()
        assert "pytest" in sys.modules
    finally:
        here._restore(hidden)
    importing.join(10)
    assert found == [sys.modules["steerwidgets.model"]]
    assert found[0].LanguageModel is sw.LanguageModel
    assert here not in sys.meta_path
