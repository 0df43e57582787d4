#!/usr/bin/python3
"""Holds the C files to those rules of the house style that a formatter and a
linter do not know.

usage: check_style.py ROOT

In src/ and tests/: no // comments, no tabs. In src/ also: no line over 80
columns (a URL may), no .c file over 800 lines, no function over 90, no
TODO, FIXME or XXX, no typedef of a struct or union, none of the functions of
banned.txt.
"""
import pathlib
import re
import sys

LINE_COLUMNS = 80
FILE_LINES = 800
FUNCTION_LINES = 90

# A comment, a string or a character: whichever begins first.
TOKEN = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.DOTALL | re.VERBOSE)
MARK = re.compile(r"\b(TODO|FIXME|XXX)\b")
TYPEDEF = re.compile(r"\btypedef\s+(struct|union)\b")


def read_banned(path):
    """-> {name: (file that may call it, reason)}"""
    banned = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, may, reason = (part.strip() for part in line.split("|"))
            banned[name] = (may, reason)
    return banned


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def code_of(text):
    """-> the text with comments, strings and characters blanked out, line
    for line; and the lines on which a // comment begins"""
    slashes = []

    def blank(match):
        if match.group().startswith("//"):
            slashes.append(line_of(text, match.start()))
        return re.sub(r"[^\n]", " ", match.group())

    return TOKEN.sub(blank, text), slashes


def long_lines(text):
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_COLUMNS and "://" not in line:
            yield number, "%d columns" % len(line)


def long_functions(code):
    """A function's braces stand in column 0, and nothing else's do."""
    start = 0
    for number, line in enumerate(code.splitlines(), 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start:
            if number - start - 1 > FUNCTION_LINES:
                yield start, "a function of %d lines" % (number - start - 1)
            start = 0


def banned_calls(code, name, banned):
    for match in re.finditer(r"(?<![\w.])(?<!->)(\w+)\s*\(", code):
        may, reason = banned.get(match.group(1), (name, ""))
        if may != name:
            yield line_of(code, match.start()), "%s(): %s" % (
                match.group(1), reason)


def anywhere(text, slashes):
    """What is wrong in any C file, (line, what) each."""
    for number in slashes:
        yield number, "a // comment"
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line:
            yield number, "a tab"


def in_src(name, text, code, banned):
    yield from long_lines(text)
    yield from long_functions(code)
    yield from banned_calls(code, name, banned)
    for match in MARK.finditer(text):
        yield line_of(text, match.start()), match.group()
    for match in TYPEDEF.finditer(code):
        yield line_of(code, match.start()), "typedef %s" % match.group(1)
    lines = len(text.splitlines())
    if name.endswith(".c") and lines > FILE_LINES:
        yield lines, "a file of %d lines" % lines


def check(root, banned):
    faults = []
    for top in ("src", "tests"):
        for file in sorted((pathlib.Path(root) / top).rglob("*.[ch]")):
            name = file.relative_to(root).as_posix()
            text = file.read_text(encoding="utf-8")
            code, slashes = code_of(text)
            wrong = list(anywhere(text, slashes))
            if top == "src":
                wrong += in_src(name, text, code, banned)
            faults += ["%s:%d: %s" % (name, *w) for w in sorted(wrong)]
    return faults


if __name__ == "__main__":
    found = check(sys.argv[1], read_banned(
        pathlib.Path(__file__).with_name("banned.txt")))
    print("\n".join(found) if found else "the house style holds")
    sys.exit(1 if found else 0)
