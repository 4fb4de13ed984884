"""What `import steerwidgets` costs and offers."""

import subprocess
import sys

import pytest

import steerwidgets as sw


def modules_after(code):
    script = f"import sys; import steerwidgets as sw; {code}; print(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    "code", ["pass", "dir(sw), sw.corpus", "sw.Site(3), sw.Positions('all'), sw.Sampling(), sw.Recipe()"]
)
def test_light_names_import_nothing_heavy(code):
    assert not modules_after(code) & {"torch", "transformers", "anywidget", "ipywidgets", "IPython", "numpy"}


def test_every_public_name_loads():
    named = {name: getattr(getattr(sw, name), "__name__", name) for name in sw.__all__}
    assert all(found.removeprefix("steerwidgets.") == name for name, found in named.items())
    assert set(sw.__all__) <= set(dir(sw))
    with pytest.raises(AttributeError, match="'steerwidgets' has no attribute 'Steering'"):
        _ = sw.Steering
