"""The part of kubectl's JSONPath that scripts use: {.a.b}, {.items[*].x}, [n], ['key'], [?(@.a=="b")], .., range/end, literals."""
import json
import re

from standin import host

STEP = re.compile(
    r"""\.\.(?P<deep>[\w-]+)|\.?\*|\.(?P<name>(?:[\w-]|\\\.|/)+)|\[(?P<inner>'[^']*'|"[^"]*"|\*|-?\d+|-?\d*:-?\d*|\?\(.*?\))\]"""
)
TEST = re.compile(r"""\?\(\s*@(?P<path>[^=!<>]+?)\s*(?:(?P<op>==|!=)\s*(?P<value>.+?))?\s*\)""")


def bad(text):
    return host.Failure(f"error: error parsing jsonpath {text}, unrecognized character or unclosed action")


def walk(values, path):
    """All values that a path reaches from these."""
    path, at = path.strip().removeprefix("$").removeprefix("@"), 0
    if path and path[0] not in ".[":
        path = "." + path
    while at < len(path):
        match = STEP.match(path, at)
        if not match:
            if path[at:] == ".":
                break
            raise bad(path)
        at = match.end()
        values = [found for value in values for found in step(value, match)]
    return values


def step(value, match):
    inner = match["inner"]
    if match["deep"]:
        return list(deep(value, match["deep"]))
    if match["name"] or inner and inner[0] in "'\"":
        name = (match["name"] or inner[1:-1]).replace("\\.", ".")
        return [value[name]] if isinstance(value, dict) and name in value else []
    if inner is None or inner == "*":
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if inner.startswith("?"):
        return [each for each in value if holds(each, inner)]
    if ":" in inner:
        first, last = inner.split(":")
        return value[int(first) if first else None : int(last) if last else None]
    number = int(inner)
    if not -len(value) <= number < len(value):
        raise host.Failure(
            f"error: error executing jsonpath: array index out of bounds: index {number}, length {len(value)}"
        )
    return [value[number]]


def deep(value, name):
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for each in value.values():
            yield from deep(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from deep(each, name)


def holds(each, text):
    match = TEST.fullmatch(text)
    if not match:
        raise bad(text)
    found = walk([each], match["path"])
    if not match["op"]:
        return bool(found)
    wanted = match["value"].strip()
    wanted = wanted[1:-1] if wanted[0] in "'\"" else {"true": True, "false": False}.get(wanted, wanted)
    same = bool(found) and (found[0] == wanted or str(found[0]) == str(wanted) and not isinstance(found[0], bool))
    return same == (match["op"] == "==")


def shown(value):
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def parts(template):
    """A template as a list of ("text", t) and ("action", a)."""
    if "{" not in template:
        template = "{" + template + "}"
    found, at = [], 0
    while at < len(template):
        start = template.find("{", at)
        if start < 0:
            found.append(("text", template[at:]))
            break
        if start > at:
            found.append(("text", template[at:start]))
        end = template.find("}", start)
        if end < 0:
            raise bad(template)
        found.append(("action", template[start + 1 : end].strip()))
        at = end + 1
    return found


def render(template, value):
    out, _ = block(parts(template), 0, value)
    return out


def block(items, at, value):
    """Renders until the end or the matching {end}; returns (text, where it stopped)."""
    out = []
    while at < len(items):
        kind, text = items[at]
        at += 1
        if kind == "text":
            out.append(text)
        elif text == "end":
            return "".join(out), at
        elif text.startswith("range "):
            stop = at
            for each in walk([value], text[6:]):
                body, stop = block(items, at, each)
                out.append(body)
            at = stop if stop != at else block(items, at, {})[1]
        elif text[:1] in "\"'":
            out.append(text[1:-1].encode().decode("unicode_escape"))
        else:
            out.append(" ".join(shown(each) for each in walk([value], text)))
    return "".join(out), at
