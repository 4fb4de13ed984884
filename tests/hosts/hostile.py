"""Sheets of a page that means no harm: short class names that everyone uses, and looks for plain elements."""

from __future__ import annotations

LOUD = """
    float: left; position: fixed; top: 3px; left: 3px; display: inline-block; width: 37px; min-height: 41px;
    margin: 9px;
    padding: 11px; border: 3px dotted rgb(200, 0, 0); border-radius: 13px; background: rgb(250, 240, 10);
    color: rgb(250, 250, 250); font: italic 700 23px/31px serif; letter-spacing: 2px; text-transform: uppercase;
    text-align: right; text-shadow: 1px 1px rgb(0, 0, 200); box-shadow: 0 0 5px rgb(0, 0, 200); opacity: 0.4;
    white-space: nowrap; overflow: hidden; vertical-align: top; list-style: square; z-index: 7; order: 3;
"""
# Names out of Bootstrap, Bulma, Materialize, Semantic, marimo, Notebook 6 and the sheets of common sites.
_NAMES = """
active actions alert all arrow at badge bar bars body bottom box button buttons caption caret cell center chart chip
circle clear close code col column columns content control controls count dark detail details dialog disabled done
dot empty error fact field fixed flat foot footer form framed group head header hidden hint icon info input item key
label layer legend level light line lines link list loading main mark menu message meta meter minus muted name nav
neutral none note num number off on open option panel pane pill pin pinned place plain plus primary progress prompt
query quiet range rank right root row rows running score search section select selected selection shown side sign
slider small span stack state status steering step stop strip sub success sum switch tab table tag text tip title
token token-text tokens tool tools top track unit value values view warning word words wrap
"""
COMMON = _NAMES.split()
CLASSES = (
    ",\n".join(f".{name}" for name in COMMON)
    + f" {{{LOUD}}}\n"
    + ", ".join(f".{name}::before" for name in COMMON)
    + ' { content: "!"; display: table; }\n'
)

# What themes of blogs, documentation and notebooks say of elements, at its loudest.
ELEMENTS = """
:root, body { --accent: red; --ink: red; --ink-2: red; --ink-3: red; --line: red; --surface: red; --surface-2: red;
    --surface-3: red;    --size: 30px; --size-s: 30px; --radius: 20px; --font: serif; --mono: serif; }
body { font: italic 700 23px/2 serif; letter-spacing: 2px; text-align: right; text-transform: uppercase; color: red;
    word-spacing: 3px; text-indent: 9px; white-space: pre; cursor: wait; }
button, input, select, textarea { margin: 9px; padding: 11px; border: 3px dotted red; border-radius: 13px;
    background: yellow; color: white; font: italic 700 23px/31px serif; letter-spacing: 2px; text-transform: uppercase;
    box-shadow: 0 0 5px blue; text-shadow: 1px 1px blue; min-height: 41px; min-width: 90px; width: 100%; height: 50px;
    opacity: 0.8; vertical-align: top; display: block; float: left; }
button:disabled, input:disabled, select:disabled, textarea:disabled { opacity: 0.2; }
input[type="radio"]:disabled, input[type="checkbox"]:disabled, select:disabled { cursor: not-allowed; }
label { display: block; margin: 9px; padding: 3px; font-weight: 700; color: white; text-transform: uppercase; }
h1, h2, h3, h4 { margin: 30px; padding: 9px; font: italic 700 40px/2 serif; color: red; border-bottom: 2px solid red;
    text-transform: uppercase; letter-spacing: 3px; }
p, ul, ol, li, dl, dt, dd { margin: 21px; padding: 9px; line-height: 3; color: red; text-align: justify;
    max-width: 300px; }
li { list-style: square inside; }
li::before { content: "–"; }
a { color: red; text-decoration: underline; }
b, strong { font-weight: 400; color: red; }
small { font-size: 50%; color: red; }
code, pre, kbd, samp { padding: 8px; border: 2px solid red; background: yellow; color: red; font: 700 20px/2 serif; }
table { width: 100%; margin: 20px; border: 2px solid red; border-collapse: separate; border-spacing: 9px; }
th, td { padding: 13px; border: 1px solid red; background: yellow; text-align: right; vertical-align: bottom; }
tr:nth-child(even) { background: pink; }
section, header, footer, article, nav, figure { margin: 17px; padding: 13px; border: 1px solid red;
    background: yellow; }
figcaption, summary, legend { color: red; font: italic 20px/2 serif; }
details { padding: 9px; border: 1px solid red; }
fieldset { margin: 9px; padding: 9px; border: 3px groove red; min-width: 300px; }
img, svg, canvas { max-width: 50%; border: 1px solid red; margin: 4px; vertical-align: top; }
"""
