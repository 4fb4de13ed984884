"""Run a lab and write what came of it as one offline page: `python notebooks/reference.py lab.ipynb page.html`.

For the day on which nothing computes: the page has the text, the code and every output, and its widgets can be explored
as frozen copies. Each widget's front-end is in it once, however often it stands there, and packed, as is what widgets
show. The page says of which notebook it is, so that a test can tell when it is of an older one.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import html
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from headless import run_notebook

from steerwidgets.widgets.export import STATIC

__all__ = ["digest", "write_reference"]

_VIEW: Final = "application/vnd.jupyter.widget-view+json"

_FREEZE: Final = """
def _freeze(path):
    import json
    from steerwidgets.transformer.plain_text import whole
    from steerwidgets.widgets.base import Widget

    shown = [*Out.values(), *get_ipython().user_ns.values()]
    frozen = {{each.model_id: [each.bundle, whole(each._state())] for each in shown if isinstance(each, Widget)}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(frozen, file)

_freeze({path!r})
"""


def write_reference(notebook: Path, page: Path) -> None:
    """Run a notebook and write its page.

    Args:
        notebook: the file to run; it is only read.
        page: where the page is written.

    Raises:
        NotebookFailed: a cell raised, or its kernel died.
    """
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder) / "states.json"
        # A folder of its own, in which nobody has answered anything yet.
        copied = shutil.copy(notebook, folder)
        content = run_notebook(Path(copied), then=_FREEZE.format(path=str(states)))
        frozen: dict[str, tuple[str, Any]] = json.loads(states.read_text(encoding="utf-8"))
    page.parent.mkdir(parents=True, exist_ok=True)
    text = _page(notebook.stem.replace("_", " "), digest(notebook), _body(content, frozen), frozen)
    page.write_text(text, encoding="utf-8")


def digest(notebook: Path) -> str:
    """What tells a notebook from every other version of it: SHA-256 of its cells, in hexadecimal digits."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _body(content: Any, frozen: dict[str, tuple[str, Any]]) -> str:
    """The notebook as HTML, with a place for each widget."""
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_output

    for cell in content.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(_VIEW, {}).get("model_id")
            if view in frozen:
                output["data"] = {"text/html": f'<div class="frozen" data-widget="{view}"></div>'}
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            folded = f"<details><summary>code, and the answer</summary><pre>{html.escape(cell.source)}</pre></details>"
            cell.outputs.append(new_output("display_data", {"text/html": folded}))  # type: ignore[no-untyped-call]
            cell.metadata["transient"] = {"remove_source": True}
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)  # type: ignore[no-untyped-call]
    text, _ = exporter.from_notebook_node(content)
    return str(text)


def _packed(value: Any) -> str:
    """JSON for the page's script: compressed, in letters that no parser of HTML trips over."""
    return base64.b64encode(gzip.compress(json.dumps(value, allow_nan=False).encode(), mtime=0)).decode()


def _page(title: str, of: str, body: str, frozen: dict[str, tuple[str, Any]]) -> str:
    bundles = sorted({bundle for bundle, _ in frozen.values()})
    modules = {name: (STATIC / f"{name}.js").read_text(encoding="utf-8") for name in (*bundles, "static_host")}
    sheets = "".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in bundles)
    return _PAGE.format(
        title=html.escape(title),
        of=of,
        css=sheets.replace("</", "<\\/"),
        body=body,
        modules=_packed(modules),
        states=_packed(frozen),
    )


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="notebook" content="{of}">
<title>{title}</title>
<style>
body {{ max-width: 1080px; margin: 24px auto; padding: 0 16px; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1e; }}
pre {{ padding: 8px 12px; overflow-x: auto; font-size: 13px; background: #f5f5f6; border-radius: 6px; }}
img {{ max-width: 100%; }}
.anchor-link {{ display: none; }}
.frozen {{ margin: 12px 0; }}
{css}</style>
</head>
<body>
<p><em>A reference run: what this lab gave where the page was made. Its widgets are frozen copies and can be explored;
to generate or to answer, open the notebook.</em></p>
{body}
<script type="text/plain" id="modules">{modules}</script>
<script type="text/plain" id="states">{states}</script>
<script type="module">
const read = (id) => {{
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).json();
}};
const modules = await read("modules");
const loaded = {{}};
const load = (name) =>
  (loaded[name] ??= import(URL.createObjectURL(new Blob([modules[name]], {{ type: "text/javascript" }}))));
const states = await read("states");
const host = await load("static_host");
for (const place of document.querySelectorAll("[data-widget]")) {{
  const [bundle, state] = states[place.dataset.widget];
  await host.mount(await load(bundle), state, place);
}}
</script>
</body>
</html>
"""


def main() -> None:
    """Write one page from a terminal."""
    parser = argparse.ArgumentParser(prog="python notebooks/reference.py", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("page", type=Path)
    chosen = parser.parse_args()
    write_reference(chosen.notebook, chosen.page)
    sys.stdout.write(f"{chosen.page.resolve()}  {chosen.page.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
