#!/usr/bin/python3
"""docs/CONFORMANCE*.md name tests that exist: a row that nobody could fail
would be a claim, and a test that was renamed must be renamed there.

Every row of a table with a "test" column names at least one test, as
`FILE::NAME`; FILE is a name of the table of files. A NAME is a function of a
.py or a .c file, or the title of a vector.

usage: check_conformance.py ROOT
"""
import pathlib
import re
import sys

# The rules are found by their clauses; none of these may be lost.
CLAUSES = {
    "CONFORMANCE.md": """4.1 4.2.1 4.2.2 4.4 5.1 5.2 5.3 5.4 5.5 5.5.1 5.5.2
        5.5.3 5.6 5.7 5.8 6.1 6.2 7.1.1 7.1.2 7.1.3 7.1.5 7.1.6 7.1.7 7.2.1
        7.2.2 7.3 7.4.1 7.4.2 8.1 9.1 10.4 10.5 10.7""",
    "CONFORMANCE-7692.md": """5 5.1 6 6.1 6.2 7.1 7.1.1.1 7.1.1.2 7.1.2.1
        7.1.2.2 7.2.1 7.2.2 7.2.3.1 7.2.3.2 7.2.3.3 7.2.3.4 7.2.3.5
        7.2.3.6"""}


def names_of(path):
    """What a test file has to offer."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        return set(re.findall(r"^== (.*)$", text, re.M))
    if path.suffix == ".py":
        return set(re.findall(r"^def (test_\w+)\(", text, re.M))
    return set(re.findall(r"\bcmocka_unit_test\w*\(\s*(\w+)", text))


def rows_of(text):
    """-> cells of each row of each table, without its two head rows"""
    table = []
    for line in text.splitlines() + [""]:
        if line.startswith("|"):
            table.append([c.strip() for c in line.strip("|").split("|")])
            continue
        if len(table) > 2:
            yield from ((table[0], row) for row in table[2:])
        table = []


def check(root, page, clauses):
    text = (root / "docs" / page).read_text(encoding="utf-8")
    files, seen, faults = {}, set(), []
    for head, row in rows_of(text):
        if head == ["name", "file"]:
            path = root / row[1].strip("`")
            if path.is_file():
                files[row[0].strip("`")] = names_of(path)
            else:
                faults.append("%s: there is no such file" % row[1])
            continue
        if head[-1] != "test":
            continue
        seen.update(c.strip() for c in row[0].split(","))
        tests = re.findall(r"`([\w-]+)::([^`]+)`", row[-1])
        if len(row) != len(head) or not tests:
            faults.append("%s (%s): no test is named" % (row[0], row[1]))
        faults += ["%s: no test %s::%s" % (row[0], f, n)
                   for f, n in tests if n not in files.get(f, ())]
    faults += ["clause %s is missing" % c for c in clauses if c not in seen]
    return ["%s: %s" % (page, fault) for fault in faults]


if __name__ == "__main__":
    found = [fault for page, clauses in CLAUSES.items() for fault in
             check(pathlib.Path(sys.argv[1]), page, clauses.split())]
    print("\n".join(found) if found else "every rule has its test")
    sys.exit(1 if found else 0)
