"""A translation has its original's headings, and in each section its blocks of code, their marks, and its words in code.

Comments in blocks are translated, so they are left out here; anything else that changes in an original has to change in its
translation. That prose says the same no check can tell.
"""

import re

TOKEN = re.compile(r"^```(\w*)\n(.*?)^```|^(#+) ([^\n]+)$|`([^`\n]+)`|^<!-- (run: [^\n]+|not run:)", re.M | re.S)
TRANSLATED = re.compile(r"\.zh\.md$")


class Section:
    def __init__(self, level, title):
        self.level, self.title, self.blocks, self.words = level, title, [], set()


def without_comments(block):
    lines = [re.sub(r"(^|\s+)#.*", "", line) for line in block.splitlines()]
    return [line for line in lines if line]


def sections(text):
    found = [Section("", "")]
    for language, block, level, title, words, mark in TOKEN.findall(text):
        if level:
            found.append(Section(level, title))
        elif words:
            found[-1].words.add(words)
        elif mark:
            found[-1].blocks.append((mark, []))
        else:
            found[-1].blocks.append((language, without_comments(block)))
    return found


def check_translation(tree, where, text, faults):
    path = tree / TRANSLATED.sub(".md", str(where))
    original = path.read_text(encoding="utf-8")
    mine, theirs = sections(text), sections(original)
    if f"]({path.name})" not in text or f"]({where.name})" not in original:
        faults.tell(where, f"it and {path.name} do not refer to each other")
    if [each.level for each in mine] != [each.level for each in theirs]:
        faults.tell(where, f"its headings are not those of {path.name}")
        return
    for a, b in zip(mine, theirs):
        if a.blocks != b.blocks:
            faults.tell(where, f"{a.title}: the code is not that of {b.title}")
        for words in sorted(a.words ^ b.words):
            faults.tell(where, f"{a.title}: {words} is not in both this and {b.title}")
