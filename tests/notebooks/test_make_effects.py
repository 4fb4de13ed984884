"""The effects of the embedded SAE's features: none where no feature has a label, as after a new training."""

import sys

import pytest

import steerwidgets as sw


@pytest.mark.embedded
def test_without_labels_no_file_of_another_training_stays(monkeypatch, tmp_path, capsys):
    from embedded.features import make_effects

    stale = tmp_path / "sae_effects.safetensors"
    stale.write_bytes(b"of another training")
    unlabelled = sw.SAE.demo()
    unlabelled.labels = None
    monkeypatch.setattr(make_effects, "EFFECTS", stale)
    monkeypatch.setattr(sw.SAE, "demo", lambda: unlabelled)
    monkeypatch.setattr(sys, "argv", ["make_effects"])
    make_effects.main()
    assert not stale.exists()
    assert "no feature has a label yet" in capsys.readouterr().out
