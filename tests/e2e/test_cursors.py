"""apps/cursors as people use it, and as nobody should."""
import shutil
import struct

import pytest

from support.server import ROOT
from support.wire import BINARY, Peer, encode

APPS = ROOT / "apps"

# Before the page's own script runs: counts the links it opens, and lets its
# clock be put forward.
BEFORE = """
window.linksOpened = 0;
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    window.linksOpened += 1;
    window.lastLink = this;
  }
};
window.later = 0;
const now = performance.now.bind(performance);
performance.now = () => now() + window.later;
"""

LEFT = {"button": "left", "buttons": 1, "clickCount": 1}


class Hand:
    """Somebody with a mouse in front of a tab."""

    def __init__(self, browser, url, size=(1200, 800), is_phone=False):
        self.tab = browser.open("about:blank")
        self.tab.size(*size, is_phone=is_phone)
        self.tab.cdp("Page.addScriptToEvaluateOnNewDocument", source=BEFORE)
        self.tab.driver.get(url)
        self.width, self.height = size
        self.wait_online()
        self.id = None

    def wait(self, condition, what):
        return self.tab.wait(condition, what)

    def wait_online(self):
        self.wait(lambda: self.link == "on", "a link")

    @property
    def link(self):
        return self.tab.run("return document.body.dataset.link")

    @property
    def links_opened(self):
        return self.tab.run("return window.linksOpened")

    @property
    def name(self):
        return self.tab.run("return document.querySelector('#name').value")

    def mouse(self, kind, x, y, **how):
        """x and y are parts of the board."""
        self.tab.cdp("Input.dispatchMouseEvent", type="mouse" + kind,
                     x=x * self.width, y=y * self.height, **how)

    def move(self, x, y):
        self.mouse("Moved", x, y)

    def draw(self, *places):
        self.mouse("Moved", *places[0])
        self.mouse("Pressed", *places[0], **LEFT)
        for place in places[1:]:
            self.mouse("Moved", *place, **LEFT)
        self.mouse("Released", *places[-1], button="left", clickCount=1)

    def sees(self):
        """{name: (x, y, classes)} of all the others."""
        return {name: (x / self.width, y / self.height, set(look.split()))
                for name, x, y, look in self.tab.run("""
            return [...document.querySelectorAll(".cursor:not(.is-me)")]
              .map((node) => [node.querySelector(".tag").textContent,
                node.getBoundingClientRect().left,
                node.getBoundingClientRect().top, node.className])""")}

    def wait_to_see(self, name, x, y):
        """To within two pixels."""
        def is_there():
            at = self.sees()[name]
            return (abs(at[0] - x) * self.width < 2 and
                    abs(at[1] - y) * self.height < 2 and
                    "is-away" not in at[2])
        try:
            self.wait(lambda: name in self.sees() and is_there(), name)
        except AssertionError as error:
            raise AssertionError("%s at %r: %r" % (
                name, (x, y), self.sees())) from error

    def wait_people(self, *names):
        self.wait(lambda: sorted(self.sees()) == sorted(names),
                  "people %r" % (names,))

    def look_of(self, name):
        return self.sees()[name][2]

    def ids(self):
        return self.tab.run("return [...document.querySelectorAll("
                            "'.cursor[data-id]')].map((n) => n.dataset.id)")

    def ink(self):
        """How many pixels of the canvas are not empty."""
        return self.tab.run("""
            const { width, height } = document.querySelector("#ink");
            const data = document.querySelector("#ink").getContext("2d")
              .getImageData(0, 0, width, height).data;
            let inked = 0;
            for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
            return inked""")

    def rename(self, name):
        self.tab.run("document.querySelector('#name').focus()")
        self.tab.find("#name").send_keys(name + "\n")

    def put_clock_forward(self, ms):
        self.tab.run("window.later += arguments[0]", ms)


@pytest.fixture
def cursors(serve):
    return serve("cursors")


@pytest.fixture
def ada_and_grace(browser, cursors):
    ada = Hand(browser, cursors.url)
    ada.rename("Ada")
    grace = Hand(browser, cursors.url, (900, 700))
    grace.rename("Grace")
    ada.wait_people("Grace")
    grace.wait_people("Ada")
    return ada, grace


# ---- on the wire, as main.lua's head has it

def place(mode=1, presses=0, x=0, y=0):
    return struct.pack(">BBHH", mode, presses, x, y)


def records(message):
    """-> [(kind, id, ...)] of one message."""
    found = []
    while message:
        kind, who = struct.unpack_from(">BI", message)
        message = message[5:]
        if kind == 2:
            size = message[7]
            found.append((kind, who, message[:6], message[6],
                          message[8:8 + size].decode()))
            message = message[8 + size:]
        elif kind == 3:
            found.append((kind, who, message[:6]))
            message = message[6:]
        else:
            assert kind in (1, 4), kind
            found.append((kind, who))
    return found


class Machine:
    """A client that is no page."""

    def __init__(self, server, query=""):
        self.peer = Peer(server.port)
        self.peer.open("/?" + query)
        self.snapshot = records(self.peer.message())
        assert self.snapshot[0][0] == 1
        self.id = self.snapshot[0][1]

    def hear(self):
        return records(self.peer.message())


def test_bytes_are_as_main_lua_says(cursors):
    one = Machine(cursors, "name=One&hue=7")
    assert one.snapshot == [(1, one.id), (2, one.id, place(0), 7, "One")]
    one.peer.binary(place(1, 3, 1000, 65535))
    one.peer.text("Uno")
    assert one.hear() == [
        (2, one.id, place(1, 3, 1000, 65535), 7, "Uno")]
    two = Machine(cursors)
    assert two.snapshot[0] == (1, two.id)
    assert sorted(two.snapshot[1:])[0] == (
        2, one.id, place(1, 3, 1000, 65535), 7, "Uno")
    came, = one.hear()
    assert came[:3] == (2, two.id, place(0)) and len(two.snapshot) == 3
    assert came in two.snapshot
    two.peer.binary(place(2, 4, 5, 6))
    assert one.hear() == [(3, two.id, place(2, 4, 5, 6))]
    two.peer.goodbye()
    assert one.hear() == [(4, two.id)]


def test_nobody_floods_a_board(cursors):
    one, other = Machine(cursors), Machine(cursors)
    one.peer.messages(1)
    other.peer.send(b"".join(encode(BINARY, place(1, 0, i, i))
                             for i in range(1000)))
    other.peer.goodbye()
    heard = [one.hear()[0]]
    while heard[-1] != (4, other.id):
        heard += one.hear()
    # The burst, and what trickled in meanwhile; of those that came together
    # only the newest, for they have a key.
    newest = struct.unpack(">BBHH", heard[-2][2])[2]
    assert 119 <= newest < 500
    assert len(heard) < 60


def test_names_are_short_and_visible(cursors):
    one = Machine(cursors, "name=One")
    for name in ("", " ", "x" * 21, "a\tb", "\u200b"):
        one.peer.text(name)
        assert one.hear()[0][4] == "One", repr(name)
    for name in ("a" * 70, "%0A"):
        assert Machine(cursors, "name=" + name).snapshot[-1][4] != name
    for board in ("", "a%20b", "x" * 33, "%C3%A9"):
        peer = Peer(cursors.port)
        peer.send(peer.request("/?board=" + board))
        assert peer.response().status == 400, board


# ---- in tabs

def test_a_pointer_moves_in_the_other_tab(ada_and_grace, cursors):
    ada, grace = ada_and_grace
    ada.move(0.25, 0.5)
    grace.wait_to_see("Ada", 0.25, 0.5)
    grace.move(0.9, 0.1)
    ada.wait_to_see("Grace", 0.9, 0.1)
    for i in range(20):
        ada.move(0.25 + i / 40, 0.5 - i / 50)
    grace.wait_to_see("Ada", 0.25 + 19 / 40, 0.5 - 19 / 50)
    for hand in ada_and_grace:
        assert hand.tab.errors() == []
        assert hand.links_opened == 1
        loaded = hand.tab.run(
            "return performance.getEntriesByType('resource').map(e => e.name)")
        assert loaded and all(name.startswith(cursors.url) for name in loaded)


def test_who_comes_sees_all_and_who_leaves_is_gone(
        browser, ada_and_grace, cursors):
    ada, grace = ada_and_grace
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    linus = Hand(browser, cursors.url)
    linus.wait_people("Ada", "Grace")
    linus.wait_to_see("Ada", 0.3, 0.4)
    assert "is-away" in linus.look_of("Grace")
    assert linus.tab.text("#count") == "3 here"
    linus.rename("<i>Linus</i>")
    ada.wait_people("Grace", "<i>Linus</i>")
    assert ada.tab.all(".cursor i, #faces i") == []
    linus.tab.close()
    ada.wait_people("Grace")
    grace.tab.close()
    ada.wait_people()
    assert ada.tab.text("#count") == "only you"


def test_who_rests_fades_and_a_pointer_that_leaves_the_page_is_away(
        ada_and_grace):
    ada, grace = ada_and_grace
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    assert "is-idle" not in grace.look_of("Ada")
    grace.put_clock_forward(9000)
    grace.wait(lambda: "is-idle" in grace.look_of("Ada"), "Ada to fade")
    ada.move(0.5, 0.4)
    grace.wait_to_see("Ada", 0.5, 0.4)
    assert "is-idle" not in grace.look_of("Ada")
    ada.tab.run("document.documentElement.dispatchEvent(new PointerEvent("
                "'pointerleave', { isPrimary: true, pointerType: 'mouse' }))")
    grace.wait(lambda: "is-away" in grace.look_of("Ada"), "Ada to leave")
    ada.move(0.6, 0.6)
    grace.wait_to_see("Ada", 0.6, 0.6)


def test_what_is_drawn_shows_and_fades(ada_and_grace):
    ada, grace = ada_and_grace
    assert grace.ink() == 0
    ada.draw((0.2, 0.2), (0.4, 0.3), (0.6, 0.2), (0.8, 0.3))
    grace.wait_to_see("Ada", 0.8, 0.3)
    grace.put_clock_forward(1000)   # the ripple is over
    grace.wait(lambda: grace.ink() > 2000, "ink")
    assert "is-pressed" not in grace.look_of("Ada")
    assert ada.ink() > 2000
    grace.put_clock_forward(6000)
    grace.wait(lambda: grace.ink() == 0, "it to fade")

    # A press without a move is a ripple, a dot, and then nothing.
    ada.draw((0.5, 0.5))
    grace.wait(lambda: grace.ink() > 0, "a ripple")
    grace.put_clock_forward(7000)
    grace.wait(lambda: grace.ink() == 0, "it to fade")


def test_boards_are_apart(browser, ada_and_grace, cursors):
    ada, grace = ada_and_grace
    linus = Hand(browser, cursors.url + "?board=The%20Den")
    assert linus.tab.text("#board-name") == "the-den"
    assert linus.sees() == {}
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    linus.move(0.1, 0.1)
    assert linus.sees() == {} and list(ada.sees()) == ["Grace"]
    machine = Machine(cursors, "board=the-den&name=Machine")
    machine.peer.binary(place(1, 0, 32768, 32768))
    linus.wait_to_see("Machine", 0.5, 0.5)


def test_malformed_frames_hurt_only_who_sends_them(ada_and_grace, cursors):
    ada, grace = ada_and_grace
    at = cursors.mark()
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    for bad, code in ((b"", 1008), (b"\x01", 1008), (place()[:-1], 1008),
                      (place() + b"\0", 1008), (place(mode=3), 1008),
                      (b"\xff" * 6, 1008), (b"\x01" * 256, 1008),
                      (b"\x01" * 257, 1009)):
        machine = Machine(cursors)
        machine.peer.binary(bad)
        _, (how, _) = machine.peer.rest()
        assert how == code, bad
    ada.move(0.7, 0.2)
    grace.wait_to_see("Ada", 0.7, 0.2)
    ada.wait_people("Grace")
    for hand in ada_and_grace:
        assert hand.links_opened == 1
        assert hand.tab.errors() == []
    assert [r for r in cursors.log[at:] if r["level"] in ("warn", "error")] \
        == []


def test_the_server_is_restarted_under_them(ada_and_grace, cursors):
    ada, grace = ada_and_grace
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    color = "return document.querySelector('#dock').style" \
            ".getPropertyValue('--color')"
    before = ada.tab.run(color)
    cursors.stop()
    ada.wait(lambda: ada.link == "trying", "the loss to be noticed")
    assert "Reconnecting" in ada.tab.text("#link")
    cursors.start()
    for hand in ada_and_grace:
        hand.wait_online()
    ada.wait_people("Grace")
    grace.wait_people("Ada")
    grace.wait_to_see("Ada", 0.3, 0.4)  # without a move
    assert ada.tab.run(color) == before != ""
    assert ada.tab.text("#link") is None
    ada.move(0.6, 0.1)
    grace.wait_to_see("Ada", 0.6, 0.1)


def test_a_link_that_breaks_is_made_anew(ada_and_grace):
    ada, grace = ada_and_grace
    ada.move(0.3, 0.4)
    grace.wait_to_see("Ada", 0.3, 0.4)
    ada.tab.run("window.lastLink.close()")
    ada.wait(lambda: ada.links_opened == 2, "another link")
    ada.wait_online()
    ada.wait_people("Grace")
    ada.move(0.8, 0.8)
    grace.wait_to_see("Ada", 0.8, 0.8)
    grace.wait_people("Ada")


def test_main_lua_is_edited_while_they_move(ada_and_grace, cursors):
    ada, grace = ada_and_grace
    ada.move(0.1, 0.1)
    grace.wait_to_see("Ada", 0.1, 0.1)
    who = ada.ids(), grace.ids()
    good = cursors.read()
    for round_number in range(1, 4):
        at = cursors.mark()
        cursors.write("main.lua", good + "-- edition %d\n" % round_number)
        moved = 0
        while not any(r.get("event") == "reload" for r in cursors.log[at:]):
            moved += 1
            ada.move(moved % 50 / 50, 0.3)
            grace.move(0.3, moved % 50 / 50)
            assert moved < 5000
        record = cursors.wait_log(
            lambda r: r.get("event") == "reload", since=at)
        assert record["level"] == "info", record
        ada.move(0.2 * round_number, 0.6)
        grace.wait_to_see("Ada", 0.2 * round_number, 0.6)
        grace.move(0.6, 0.2 * round_number)
        ada.wait_to_see("Grace", 0.6, 0.2 * round_number)
    assert (ada.ids(), grace.ids()) == who
    for hand in ada_and_grace:
        assert hand.links_opened == 1
        assert hand.tab.errors() == []
    assert Machine(cursors).snapshot[1:] and cursors.stop() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_phone(browser, cursors, scheme, tmp_path):
    phone = Hand(browser, cursors.url + "?board=" + "w" * 32, (360, 640),
                 is_phone=True)
    phone.tab.scheme(scheme)
    others = [Machine(cursors, "board=%s&name=%s" % ("w" * 32, "W" * 20))
              for _ in range(7)]
    for i, other in enumerate(others):
        other.peer.binary(place(1, 0, 65535 * (i % 2), 65535 * i // 6))
    phone.wait(lambda: phone.tab.text("#count") == "8 here", "all")
    phone.rename("W" * 20)

    def is_in_sight(css):
        return phone.tab.run("""
            const box = document.querySelector(arguments[0])
              .getBoundingClientRect();
            return box.width > 0 && box.left >= 0 && box.top >= 0 &&
              box.right <= innerWidth && box.bottom <= innerHeight;""", css)

    for css in (".where", ".people", "#dock", "#name", "#fresh", "#invite"):
        assert is_in_sight(css), css
    for axis in ("Width", "Height"):
        assert phone.tab.run(
            "const root = document.documentElement;"
            "return root['scroll' + arguments[0]] <="
            " window['inner' + arguments[0]]", axis)
    assert phone.tab.run("""
        const a = document.querySelector(".where").getBoundingClientRect();
        const b = document.querySelector(".people").getBoundingClientRect();
        return a.right <= b.left""")
    background = phone.tab.run(
        "return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(245, 245, 251)",
                          "dark": "rgb(13, 15, 24)"}[scheme]
    phone.tab.shot(tmp_path / "phone.png")


def test_a_finger_draws_too(browser, cursors):
    phone = Hand(browser, cursors.url, (360, 640), is_phone=True)
    machine = Machine(cursors)
    phone.wait(lambda: len(phone.sees()) == 1, "the machine")

    def touch(kind, *points):
        phone.tab.cdp("Input.dispatchTouchEvent", type="touch" + kind,
                      touchPoints=[{"x": x, "y": y} for x, y in points])

    touch("Start", (90, 160))
    touch("Move", (180, 320))
    touch("Move", (270, 480))
    touch("End")
    heard = []
    while not heard or heard[-1][0] != 1:
        heard += [struct.unpack(">BBHH", where) for _, _, where
                  in machine.hear()]
    assert heard[0][:2] == (2, 1)
    mode, presses, x, y = heard[-1]
    assert (mode, presses) == (1, 1)
    assert abs(x / 65535 - 0.75) < 0.01 and abs(y / 65535 - 0.75) < 0.01
    assert phone.tab.run("return scrollX + scrollY") == 0
    assert phone.tab.errors() == []


def test_who_wants_no_motion_gets_none(ada_and_grace):
    ada, grace = ada_and_grace
    grace.tab.cdp("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-reduced-motion", "value": "reduce"}])
    ada.move(0.1, 0.1)
    grace.wait_to_see("Ada", 0.1, 0.1)
    grace.tab.run("""
        window.seen = new Set();
        const node = document.querySelector(".cursor:not(.is-me)");
        (function look() {
          window.seen.add(node.style.translate);
          requestAnimationFrame(look);
        })();""")
    ada.move(0.9, 0.9)
    grace.wait_to_see("Ada", 0.9, 0.9)
    assert len(grace.tab.run("return [...window.seen]")) <= 2
    assert grace.tab.run(
        "return getComputedStyle(document.querySelector('.cursor'))"
        ".transitionDuration") == "0s"


def test_it_works_below_a_path(browser, serve):
    server = serve("cursors")
    shutil.copytree(APPS / "cursors/public", server.dir / "public/pointers")
    ada = Hand(browser, server.url + "pointers/?board=den")
    grace = Hand(browser, server.url + "?board=den")
    ada.move(0.4, 0.4)
    grace.wait_to_see(ada.name, 0.4, 0.4)
    assert ada.tab.errors() == []
