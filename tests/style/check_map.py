#!/usr/bin/python3
"""docs/ARCHITECTURE.md is a map without white spots: every source file stands
in a row of its room, by its own name or by the beginning that its family
shares ("outbox" stands for outbox_push.c as well), and no row names a file
that is not there.

usage: check_map.py ROOT
"""
import pathlib
import re
import sys


def check(root):
    src = pathlib.Path(root) / "src"
    text = (pathlib.Path(root) / "docs/ARCHITECTURE.md").read_text()
    faults = []
    for room in sorted(p for p in src.iterdir() if p.is_dir()):
        section = re.search(r"^### %s:(.*?)^##" % room.name, text, re.M | re.S)
        if section is None:
            faults.append("%s: has no section" % room.name)
            continue
        rows = re.findall(r"^\| (`[^|]*) \|", section.group(1), re.M)
        families = [re.sub(r"(\.h|\*)$", "", name) for row in rows
                    for name in re.findall(r"`([^`]+)`", row)]
        stems = {f.stem for f in room.glob("*.[chS]")}
        for file in sorted(room.glob("*.[cS]")):
            if not any(file.stem == f or file.stem.startswith(f + "_")
                       for f in families):
                faults.append("%s/%s: is not on the map" % (
                    room.name, file.name))
        for family in families:
            if family not in stems:
                faults.append("%s/%s: is on the map only" % (
                    room.name, family))
    return faults


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found) if found else "the map shows every file")
    sys.exit(1 if found else 0)
