"""What a foreign sheet does to a widget: computed styles of every element of it, and which rules changed them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import Locator

_PROPERTIES = """
display position float clear visibility opacity z-index transform box-sizing pointer-events user-select cursor color
background-color background-image background-repeat background-position box-shadow text-shadow border-top-width
border-right-width border-bottom-width border-left-width border-top-style border-right-style border-bottom-style
border-left-style border-top-color border-right-color border-bottom-color border-left-color border-top-left-radius
border-top-right-radius border-bottom-left-radius border-bottom-right-radius padding-top padding-right padding-
bottom padding-left margin-top margin-right margin-bottom margin-left min-width min-height max-width max-height
overflow-x overflow-y font-family font-size font-weight font-style font-variant-caps line-height letter-spacing
word-spacing text-align text-transform text-decoration-line text-indent text-overflow white-space vertical-align
list-style-type list-style-position appearance outline-style outline-width border-collapse flex-direction flex-wrap
flex-grow flex-shrink flex-basis align-items align-self justify-content row-gap column-gap order fill stroke content
width height
"""
PROPERTIES = _PROPERTIES.split()

# Every element and its ::before and ::after, as plain values. What cannot be seen is left out: the colour and kind of a
# border or an outline without a width, and everything of an element that takes no room.
READ = """(root, properties) => {
    const read = (element, pseudo) => {
        const style = getComputedStyle(element, pseudo);
        if (pseudo && style.content === 'none') return null;
        if (pseudo && style.content === 'normal') return null;
        const found = Object.fromEntries(properties.map(name => [name, style.getPropertyValue(name)]));
        for (const side of ['top', 'right', 'bottom', 'left']) {
            if (found[`border-${side}-width`] !== '0px') continue;
            delete found[`border-${side}-style`];
            delete found[`border-${side}-color`];
        }
        if (found['outline-style'] === 'none') delete found['outline-width'];
        if (found['appearance'] === 'button') found['appearance'] = 'auto';
        for (const name of ['width', 'height', 'flex-basis']) {
            if (found[name]?.endsWith('px')) found[name] = `${Math.round(parseFloat(found[name]))}px`;
        }
        return found;
    };
    const all = [root, ...root.querySelectorAll('*')];
    return all.map(element => ({
        tag: element.tagName.toLowerCase(),
        classes: [...element.classList],
        parent: all.indexOf(element.parentElement),
        styles: { '': read(element), '::before': read(element, '::before'), '::after': read(element, '::after') },
    }));
}"""

# For each of [index of the element, property, pseudo-element]: the selectors of the sheet `foreign` that name it.
BLAME = """(root, asked) => {
    const all = [root, ...root.querySelectorAll('*')];
    const rules = [];
    const walk = list => {
        for (const rule of list) {
            const selectors = rule.selectorText?.split(/,(?![^(]*\\))/).map(each => each.trim());
            if (selectors) rules.push([selectors, new Set(rule.style)]);
            else if (rule.cssRules && !(rule instanceof CSSKeyframesRule)) walk(rule.cssRules);
        }
    };
    walk(document.getElementById('foreign').sheet.cssRules);
    const pseudo = /::?(before|after)$/;
    const reaches = (selector, element, which) => {
        const found = pseudo.exec(selector);
        if ((found ? `::${found[1]}` : '') !== which) return false;
        try { return element.matches(selector.replace(pseudo, '') || '*') } catch { return false }
    };
    return asked.map(([index, property, which]) => rules.filter(([, names]) => names.has(property)).flatMap(
        ([selectors]) => selectors.filter(each => reaches(each, all[index], which))));
}"""

# Every class that a rule of a sheet names.
CLASSES_OF_SHEET = """css => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    const names = new Set();
    const walk = rules => {
        for (const rule of rules) {
            const plain = (rule.selectorText ?? '').replace(/"[^"]*"/g, '');
            for (const [, name] of plain.matchAll(/\\.(-?[A-Za-z_][\\w-]*)/g)) names.add(name);
            if (rule.cssRules && !(rule instanceof CSSKeyframesRule)) walk(rule.cssRules);
        }
    };
    walk(sheet.cssRules);
    return [...names].sort();
}"""


def with_sheet(page: str, sheet: str, *, last: bool) -> str:
    """A page of `to_html` that has another sheet, before or after the widget's own."""
    assert "</style" not in sheet
    added = f'<style id="foreign">{sheet}</style>\n'
    place = "</head>" if last else "<style>:root"
    assert page.count(place) == 1
    return page.replace(place, added + place)


_INHERITED = """
visibility pointer-events cursor color font-family font-size font-weight font-style font-variant-caps line-height
letter-spacing word-spacing text-align text-transform text-indent white-space list-style-type list-style-position
border-collapse fill stroke text-shadow
"""
INHERITED = frozenset(_INHERITED.split())
# What follows from sizes, from a font or from a colour elsewhere: charged only where a foreign rule names it.
FOLLOWS = frozenset(
    name
    for name in PROPERTIES
    if name in ("width", "height", "flex-basis", "line-height", "row-gap", "column-gap", "fill", "stroke")
    or name.startswith(("margin-", "padding-", "min-", "max-", "border-", "background-position"))
)


@dataclass(frozen=True)
class Difference:
    """One property of one element that a foreign sheet has changed."""

    element: str
    property: str
    before: str
    after: str
    rules: tuple[str, ...]
    classes: tuple[str, ...]

    def __str__(self) -> str:
        by = " by " + ", ".join(self.rules) if self.rules else ""
        return f"{self.element} {{ {self.property}: {self.before} -> {self.after} }}{by}"


def differences(root: Locator, plain: list[dict], other: list[dict]) -> list[Difference]:
    """What differs in a widget from what it is in a plain page; `root` is the one under the foreign sheet.

    An element is charged with its own differences only: with what a foreign rule says of it, and with what it has from
    outside the widget; not with what it inherits from a changed parent, nor with what follows from a changed size.
    """
    shape = lambda elements: [(each["tag"], each["classes"]) for each in elements]
    assert shape(plain) == shape(other)
    changed = [_changed(before, after) for before, after in zip(plain, other, strict=True)]
    asked = [(i, name, pseudo) for i, found in enumerate(changed) for (pseudo, name) in found]
    blamed = root.evaluate(BLAME, asked)
    found = []
    for (index, name, pseudo), rules in zip(asked, blamed, strict=True):
        before, after = changed[index][pseudo, name]
        parent = changed[other[index]["parent"]] if index else {}
        from_parent = name in INHERITED and (parent.get(("", name)) or (pseudo and ("", name) in changed[index]))
        if not rules and (name in FOLLOWS or from_parent):
            continue
        one = other[index]
        element = ".".join([one["tag"], *one["classes"]]) + pseudo
        named = {c for rule in rules for c in one["classes"] if re.search(rf"\.{re.escape(c)}(?![\w-])", rule)}
        found.append(Difference(element, name, before, after, tuple(rules), tuple(sorted(named))))
    return found


def _changed(before: dict, after: dict) -> dict[tuple[str, str], tuple[str, str]]:
    found = {}
    for pseudo in before["styles"]:
        old, new = before["styles"][pseudo], after["styles"][pseudo]
        if old is None and new is None:
            continue
        if old is None or new is None:
            found[pseudo, "content"] = (str(old and old["content"]), str(new and new["content"]))
            continue
        found |= {(pseudo, name): (old[name], new[name]) for name in new if name in old and old[name] != new[name]}
    return found
