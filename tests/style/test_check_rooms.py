#!/usr/bin/python3
"""The checker of the floors flags what it must, and nothing else."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_rooms  # noqa: E402

ROOMS = """
# floor room outside headers
0 base   pthread.h mbedtls/*
1 loop   uv.h
1 proto
2 net
"""


class CheckRooms(unittest.TestCase):
    def faults(self, **files):
        """files: room__name='source' -> what check() finds"""
        with tempfile.TemporaryDirectory() as root:
            src = pathlib.Path(root) / "src"
            src.mkdir()
            (src / "ROOMS").write_text(ROOMS)
            for name, source in files.items():
                room, file = name.split("__")
                (src / room).mkdir(exist_ok=True)
                (src / room / (file + ".c")).write_text(source)
            return check_rooms.check(root)

    def test_down_and_own_room_are_fine(self):
        self.assertEqual([], self.faults(
            net__conn='#include "net/net_priv.h"\n#include "loop/io.h"\n'
                      '#include "base/list.h"\n#include <sys/socket.h>\n'))

    def test_up_is_flagged_with_its_line(self):
        (fault,) = self.faults(base__list='\n#include "net/conn.h"\n')
        self.assertIn("src/base/list.c:2:", fault)
        self.assertIn("up", fault)

    def test_sideways_is_flagged(self):
        (fault,) = self.faults(loop__io='#include "proto/http.h"\n')
        self.assertIn("sideways", fault)

    def test_a_private_header_of_a_lower_room_is_flagged(self):
        (fault,) = self.faults(net__conn='#include "loop/loop_priv.h"\n')
        self.assertIn("private", fault)

    def test_an_outside_header_belongs_to_the_rooms_that_name_it(self):
        self.assertEqual([], self.faults(loop__loop="#include <uv.h>\n"))
        self.assertEqual([], self.faults(
            base__digest="#include <mbedtls/sha1.h>\n"))
        self.assertEqual(1, len(self.faults(net__conn="#include <uv.h>\n")))

    def test_a_listed_header_is_not_free_for_the_others(self):
        self.assertEqual(
            1, len(self.faults(net__conn="#include <pthread.h>\n")))

    def test_an_unknown_outside_header_is_flagged(self):
        self.assertEqual(
            1, len(self.faults(net__conn="#include <curl/curl.h>\n")))

    def test_a_header_without_its_room_is_flagged(self):
        self.assertEqual(1, len(self.faults(net__conn='#include "conn.h"\n')))

    def test_an_indented_include_is_seen(self):
        self.assertEqual(
            1, len(self.faults(net__conn='#  include "app/app.h"\n')))

    def test_a_directory_without_a_line_is_flagged(self):
        (fault,) = self.faults(attic__x="int x;\n")
        self.assertIn("src/attic", fault)


if __name__ == "__main__":
    unittest.main()
