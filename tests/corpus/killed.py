"""Run by `test_resume`: builds one index after the other, each in a process that is killed somewhere in the middle."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from support import corpora, models, sae, toks

import steerwidgets as sw
from steerwidgets.corpus import building, parts
from steerwidgets.files import atomic


def main(folder):
    torch.set_num_threads(1)
    # Written after every window of texts, so that there is something to lose.
    building._WRITE_AFTER = building._WRITE_SHARE = 0.0
    building._PARTS = 3
    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    ended = {}
    for name in ("batch 2", "batch 9", "disk 1", "disk 4", "disk 9", "disk 30", "disk 61", "rename 2", "rename 5"):
        child = os.fork()
        if child == 0:
            build(lm, Path(folder) / name, *name.split())
            os._exit(0)
        ended[name] = os.waitpid(child, 0)[1]
    assert set(ended.values()) == {signal.SIGKILL}, ended
    print(json.dumps(list(ended)))


def build(lm, path, what, number):
    left = int(number)

    def count(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(done):
        return lambda *given: (count(), done(*given))[1]

    if what == "disk":
        for module in (atomic, parts):
            module.to_disk = counted(module.to_disk)
    if what == "rename":
        Path.rename = counted(Path.rename)
    dictionaries = [sae.make("topk", k=5), sw.CAV(torch.eye(32)[:3], list("abc"), layer=2)]
    told = count if what == "batch" else lambda _: None
    sw.corpus.build(lm, dictionaries, corpora.texts(40), path, batch_tokens=100, on_progress=told)


if __name__ == "__main__":
    main(sys.argv[1])
