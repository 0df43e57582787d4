#!/usr/bin/python3
"""Holds src/ to the floors of src/ROOMS.

usage: check_rooms.py ROOT

Flagged: an include that points up, or to another room of the same floor; a
private header (x_priv.h) of another room; an outside header in a room whose
line does not name it; a header of ours without its room in front; a directory
of src/ that has no line.
"""
import fnmatch
import pathlib
import re
import sys

# C11 and POSIX, and the two of Linux that nothing else stands for.
FREE = set("""
assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h
locale.h math.h setjmp.h signal.h stdalign.h stdarg.h stdbool.h stddef.h
stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h time.h wchar.h
arpa/inet.h dirent.h fcntl.h net/if.h netdb.h netinet/in.h netinet/tcp.h
poll.h sched.h sys/mman.h sys/resource.h sys/socket.h sys/stat.h sys/time.h
sys/types.h sys/uio.h sys/un.h sys/wait.h ucontext.h unistd.h
sys/random.h sys/prctl.h
sanitizer/asan_interface.h sanitizer/common_interface_defs.h
sanitizer/tsan_interface.h sanitizer/lsan_interface.h
""".split())

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def read_rooms(path):
    """-> {room: (floor, [patterns of outside headers])}"""
    rooms = {}
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            rooms[words[1]] = (int(words[0]), words[2:])
    return rooms


def judge(rooms, room, quote, header):
    """-> what is wrong with this include in this room, or None"""
    floor, outside = rooms[room]
    if quote == "<":
        listed = any(fnmatch.fnmatch(header, p) for p in outside)
        held = any(fnmatch.fnmatch(header, p)
                   for _, patterns in rooms.values() for p in patterns)
        if listed or (header in FREE and not held):
            return None
        return "the line of %s in ROOMS does not name <%s>" % (room, header)
    if "/" not in header:
        return 'write "%s/%s"' % (room, header)
    other, name = header.split("/", 1)
    if other not in rooms:
        return "there is no room %s" % other
    if other == room:
        return None
    if name.endswith("_priv.h"):
        return "%s is private to %s" % (name, other)
    if rooms[other][0] > floor:
        return "points up, from floor %d to %d" % (floor, rooms[other][0])
    if rooms[other][0] == floor:
        return "points sideways, to another room of floor %d" % floor
    return None


def check(root):
    src = pathlib.Path(root) / "src"
    rooms = read_rooms(src / "ROOMS")
    faults = []
    for directory in sorted(p for p in src.iterdir() if p.is_dir()):
        files = sorted(directory.glob("*.[chS]"))
        if files and directory.name not in rooms:
            faults.append("src/%s: has no line in ROOMS" % directory.name)
            continue
        for file in files:
            text = file.read_text(encoding="utf-8")
            for number, line in enumerate(text.splitlines(), 1):
                m = INCLUDE.match(line)
                wrong = m and judge(rooms, directory.name, *m.groups())
                if wrong:
                    faults.append("%s:%d: %s" % (
                        file.relative_to(root), number, wrong))
    return faults


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found) if found else "every include points down")
    sys.exit(1 if found else 0)
