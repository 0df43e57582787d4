#!/usr/bin/python3
"""The checker of the house style flags what it must, and nothing else."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_style  # noqa: E402

BANNED = check_style.read_banned(
    pathlib.Path(__file__).with_name("banned.txt"))


class CheckStyle(unittest.TestCase):
    def faults(self, source, name="src/net/conn.c"):
        with tempfile.TemporaryDirectory() as root:
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True)
            path.write_text(source, encoding="utf-8")
            return check_style.check(root, BANNED)

    def expect(self, source, words, name="src/net/conn.c"):
        faults = self.faults(source, name)
        self.assertEqual(1, len(faults), faults)
        self.assertIn(words, faults[0])

    def test_good_code_is_fine(self):
        self.assertEqual([], self.faults(
            "/* conn.c -- \"quoted\", isn't it? see http://x/ */\n"
            "static int f(struct conn *c)\n{\n    return c->n;\n}\n"))

    def test_a_fault_names_its_file_and_line(self):
        self.expect("int x;\n\nint y; // no\n", "src/net/conn.c:3: ")

    def test_slash_comments_are_flagged(self):
        self.expect("int x; // why\n", "//")
        self.expect("// why\n", "//", "tests/unit/net/test_conn.c")
        self.expect("char c = '\"'; // \"\n", "//")

    def test_slashes_in_strings_and_comments_are_none(self):
        self.assertEqual([], self.faults(
            'char *s = "a//b\\"//";\n/* // */\nchar c = \'/\';\n'))

    def test_tabs_are_flagged(self):
        self.expect("int\tx;\n", "tab")
        self.expect("int\tx;\n", "tab", "tests/support/feed.h")

    def test_lines_end_at_80_columns(self):
        fit = "/* " + 74 * "é" + " */\n"
        self.assertEqual([], self.faults(fit))
        self.expect(fit.replace("é", "éé", 1), "81 columns")
        self.assertEqual([], self.faults(
            "/* https://example.org/" + 80 * "x" + " */\n"))

    def test_files_end_at_800_lines(self):
        self.assertEqual([], self.faults("int x;\n" * 800))
        self.expect("int x;\n" * 801, "801 lines")
        self.assertEqual([], self.faults("int x;\n" * 801, "src/net/conn.h"))

    def test_functions_end_at_90_lines(self):
        def function(lines):
            return "int f(void)\n{\n" + "    x++;\n" * lines + "}\n"
        self.assertEqual([], self.faults(2 * function(90)))
        self.expect(function(3) + function(91), "src/net/conn.c:8: ")

    def test_a_long_table_is_no_function(self):
        self.assertEqual([], self.faults(
            "int t[] = {\n" + "    1,\n" * 200 + "};\n"))

    def test_marks_of_unfinished_work_are_flagged(self):
        self.expect("/* TODO: later */\n", "TODO")
        self.expect("/* FIXME */\n", "FIXME")
        self.expect("/* XXX */\n", "XXX")
        self.assertEqual([], self.faults('char *s = "/tmp/fXXXXXX";\n'))

    def test_typedefs_of_structs_are_flagged(self):
        self.expect("typedef struct conn {\n    int x;\n} conn;\n", "typedef")
        self.expect("typedef  union u u;\n", "typedef")
        self.assertEqual([], self.faults("typedef int number;\n"))

    def test_every_banned_function_is_flagged_with_its_reason(self):
        self.assertGreater(len(BANNED), 20)
        for name, (_, reason) in BANNED.items():
            self.expect("int x = %s (1);\n" % name, reason)

    def test_banned_functions_in_tests_are_the_tests_business(self):
        self.assertEqual([], self.faults(
            "void *p = malloc(1);\n", "tests/unit/net/test_conn.c"))

    def test_only_the_file_that_may_calls_malloc(self):
        self.assertEqual([], self.faults(
            "void *p = malloc(1);\n", "src/base/mem.c"))
        self.expect("void *p = strdup(s);\n", "strdup", "src/base/mem.c")

    def test_names_that_only_look_banned_are_fine(self):
        self.assertEqual([], self.faults(
            "void g(void)\n{\n    v->free(v);\n    v.free(v);\n"
            "    mem_free(v); /* not free(v) */\n"
            '    say("free(v)");\n    void (*free)(void *);\n}\n'))


if __name__ == "__main__":
    unittest.main()
