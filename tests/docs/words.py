"""What a document quotes of the program is said by it, in these words."""

import functools
import pathlib
import re

from documents import FENCE

SOURCES = ("protocol", "discovery", "peer")
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.S)
CONVERSION = re.compile(r"%%|%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh?|ll?|[zjt])?[a-zA-Z]")


def texts_of(code):
    """The strings of a C source, with … for what varies; those that stand beside each other, or round a macro, are one."""
    texts, end = [], None
    for token in TOKEN.finditer(code):
        if not token.group().startswith('"'):
            continue
        between = re.fullmatch(r"[\s\\]*([A-Z][A-Z0-9_]*)?[\s\\]*", code[end:token.start()]) if end else None
        if not between:
            texts.append("")
        texts[-1] += ("…" if between and between.group(1) else "") + token.group()[1:-1]
        end = token.end()
    return [CONVERSION.sub(lambda found: "%" if found.group() == "%%" else "…", each.replace('\\"', '"')) for each in texts]


@functools.cache
def said_in(folders):
    """A text a line."""
    return "\n".join(each for folder in folders for path in sorted(pathlib.Path(folder).rglob("*.c"))
                     for each in texts_of(path.read_text(encoding="utf-8")))


def check_words(where, text, tree, faults):
    """All that stands in double quotes; … there is for any part of the program's text."""
    said = said_in(tuple((tree / name).resolve() for name in SOURCES))
    for words in re.findall(r'"([^"]+)"', FENCE.sub("", text)):
        parts = map(re.escape, re.split(r"\s*…\s*", " ".join(words.split())))
        if not re.search("[^\n]*".join(parts), said):
            faults.tell(where, f"the program never says: {words}")
