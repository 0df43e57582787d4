"""apps/chat as people use it: in tabs of a real browser."""
import re
import shutil

import pytest

from support.server import ROOT

APPS = ROOT / "apps"

# Counts the links a page opens, from before its own script runs.
COUNT_LINKS = """
window.linksOpened = 0;
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    window.linksOpened += 1;
    window.lastLink = this;
  }
};
"""


class Person:
    """Somebody in front of a tab."""

    def __init__(self, browser, url, name=None, room="lobby"):
        self.name = name
        self.tab = browser.open("about:blank")
        self.tab.cdp("Page.addScriptToEvaluateOnNewDocument",
                     source=COUNT_LINKS)
        self.tab.driver.get(url)
        self.wait(lambda: self.tab.find("#name").is_displayed(), "the form")
        if name is not None:
            self.enter(name, room)
            self.wait_online()

    def wait(self, condition, what):
        return self.tab.wait(condition, "%s (%s)" % (what, self.name))

    def fill(self, css, text):
        field = self.tab.find(css)
        field.clear()
        field.send_keys(text)

    def enter(self, name, room="lobby"):
        self.fill("#name", name)
        self.fill("#room", room)
        self.tab.find("#enter").click()

    @property
    def link(self):
        return self.tab.run("return document.body.dataset.link")

    def wait_online(self):
        self.wait(lambda: self.link == "on", "a link")

    @property
    def links_opened(self):
        return self.tab.run("return window.linksOpened")

    def type(self, text):
        self.tab.find("#text").send_keys(text)

    def say(self, *texts):
        for text in texts:
            self.type(text + "\n")

    def sees(self):
        """[(name or "me", text)] of all lines that the server has told."""
        return [tuple(line) for line in self.tab.run("""
            return [...document.querySelectorAll(".line:not(.is-waiting)")]
              .map((line) => [
                line.classList.contains("is-mine") ? "me"
                  : line.querySelector(".name").textContent,
                line.querySelector(".text").textContent]);""")]

    def wait_to_see(self, *lines):
        """Exactly these are the last lines."""
        self.wait(lambda: self.sees()[-len(lines):] == list(lines),
                  "lines %r" % (lines,))

    def people(self):
        return self.tab.texts("#people .what")

    def wait_people(self, *names):
        self.wait(lambda: self.people() == list(names), "people %r" % (names,))

    def notes(self):
        return self.tab.texts("#lines .note")

    def rooms(self):
        """{name: (how many are there, is there something new)}"""
        return {name: (count, is_new)
                for name, count, is_new in self.tab.run("""
            return [...document.querySelectorAll("#rooms li")].map((li) => [
              li.querySelector(".what").textContent,
              Number(li.querySelector(".how-many").textContent),
              li.classList.contains("is-new")]);""")}

    def go_to_new(self, room):
        self.fill("#new-room-name", room + "\n")
        self.wait_room(room)

    def wait_room(self, room):
        self.wait(lambda: self.tab.text("#room-name") == room, "room " + room)

    def click_room(self, room):
        css = '#rooms li[data-key="%s"] button' % room
        self.wait(lambda: self.tab.find(css), "the list to show it").click()
        self.wait_room(room)


@pytest.fixture
def chat(serve):
    return serve("chat")


@pytest.fixture
def ada_and_grace(browser, chat):
    ada = Person(browser, chat.url, "Ada")
    grace = Person(browser, chat.url, "Grace")
    ada.wait_people("Ada", "Grace")
    return ada, grace


def test_two_tabs_talk_with_each_other(ada_and_grace, chat):
    ada, grace = ada_and_grace
    ada.say("Is anybody there?")
    grace.wait_to_see(("Ada", "Is anybody there?"))
    grace.say("I am.", "It is Grace.")
    ada.wait_to_see(("me", "Is anybody there?"),
                    ("Grace", "I am."), ("Grace", "It is Grace."))
    ada.say("\u65e5\u672c\u8a9e, caf\u00e9")
    grace.wait_to_see(("Ada", "Is anybody there?"),
                      ("me", "I am."), ("me", "It is Grace."),
                      ("Ada", "\u65e5\u672c\u8a9e, caf\u00e9"))
    for person in ada_and_grace:
        assert person.tab.errors() == []
        loaded = person.tab.run(
            "return performance.getEntriesByType('resource').map(e => e.name)")
        assert loaded and all(name.startswith(chat.url) for name in loaded)
        assert person.links_opened == 1


def talk(ada, grace, question, answer, as_heard=lambda text: text):
    ada.say(question)
    grace.wait_to_see(("Ada", as_heard(question)))
    grace.say(answer)
    ada.wait_to_see(("me", as_heard(question)), ("Grace", as_heard(answer)))


def wait_reload(server, since):
    return server.wait_log(
        lambda r: r.get("event") == "reload", since=since)


def test_main_lua_is_edited_under_them_well_and_badly(ada_and_grace, chat):
    ada, grace = ada_and_grace
    good = chat.read()
    loud = good.replace("text = text, at =", "text = text:upper(), at =")
    assert loud != good
    talk(ada, grace, "before", "yes")

    at = chat.mark()
    chat.write("main.lua", loud)
    record = wait_reload(chat, at)
    assert record["level"] == "info", record
    talk(ada, grace, "louder, please", "like this?", str.upper)

    last = loud.count("\n") + 1
    for wrong, complaint in (
            ("if then\n", r"main\.lua:%d: .*near 'then'" % last),
            ("local nobody\nnobody.home = 1\n",
             r"main\.lua:%d: .*index a nil value \(local 'nobody'\)"
             % (last + 1))):
        at = chat.mark()
        chat.write("main.lua", loud + wrong)
        record = wait_reload(chat, at)
        assert record["level"] == "error" and record["kind"] == "error"
        assert re.search(complaint, record["msg"]), record
        talk(ada, grace, "still here?", "of course", str.upper)

    at = chat.mark()
    chat.write("main.lua", good)
    assert wait_reload(chat, at)["level"] == "info"
    talk(ada, grace, "quiet again", "good")

    assert ada.links_opened == 1 and grace.links_opened == 1
    assert ada.people() == ["Ada", "Grace"]
    assert ada.notes() == ["Grace came in"]
    assert chat.stop() == 0


def test_the_server_is_restarted_under_them(ada_and_grace, chat):
    ada, grace = ada_and_grace
    talk(ada, grace, "before", "yes")
    chat.restart()
    for person in ada_and_grace:
        person.wait(lambda p=person: p.links_opened >= 2, "another link")
        person.wait_online()
    ada.wait_people("Ada", "Grace")
    grace.wait_people("Grace", "Ada")
    talk(ada, grace, "after", "yes, again")
    assert ada.sees() == [("me", "before"), ("Grace", "yes"),
                          ("me", "after"), ("Grace", "yes, again")]


def test_what_was_said_while_the_server_was_away_arrives_once(
        ada_and_grace, chat):
    ada, grace = ada_and_grace
    ada.type("half a thou")
    chat.stop()
    ada.wait(lambda: ada.link == "trying", "the loss to be noticed")
    assert ada.tab.text("#link") == "reconnecting"
    assert "Connection lost" in ada.tab.text("#banner")
    ada.say("ght")
    ada.say("and another")
    assert len(ada.tab.texts(".line.is-waiting")) == 2
    ada.type("not yet sen")
    chat.start()
    grace.wait_online()
    grace.wait(lambda: ("Ada", "and another") in grace.sees(),
               "what was typed")
    ada.wait_to_see(("me", "half a thought"), ("me", "and another"))
    assert grace.sees() == [("Ada", "half a thought"), ("Ada", "and another")]
    assert ada.tab.texts(".line.is-waiting") == []
    assert ada.tab.find("#text").get_property("value") == "not yet sen"


def test_a_link_that_breaks_loses_and_doubles_nothing(ada_and_grace):
    ada, grace = ada_and_grace
    talk(ada, grace, "before", "yes")
    ada.tab.run("window.lastLink.close()")
    grace.say("did you hear that?")
    ada.wait(lambda: ada.links_opened == 2, "another link")
    ada.wait_online()
    talk(ada, grace, "after", "yes, again")
    assert ada.sees() == [
        ("me", "before"), ("Grace", "yes"), ("Grace", "did you hear that?"),
        ("me", "after"), ("Grace", "yes, again")]
    assert ada.people() == ["Ada", "Grace"]
    assert grace.people() == ["Grace", "Ada"]


def test_a_second_tab_with_the_same_secret_takes_over(browser, ada_and_grace):
    ada, grace = ada_and_grace
    # What a browser does when a tab is duplicated.
    stored = ada.tab.run("return Object.entries(sessionStorage)")
    twin = Person(browser, ada.tab.run("return location.origin"))
    twin.tab.run("for (const [key, value] of arguments[0])"
                 " sessionStorage.setItem(key, value);", stored)
    twin.tab.driver.refresh()
    twin.wait_online()
    ada.wait(lambda: ada.link == "off", "to be told")
    assert "another tab" in ada.tab.text("#banner")
    twin.wait_people("Ada", "Grace")
    grace.wait_people("Grace", "Ada")
    talk(twin, grace, "it is me", "I know")
    ada.tab.find("#banner-button").click()
    ada.wait_online()
    twin.wait(lambda: twin.link == "off", "to be told")


def test_typing_shows_and_goes(ada_and_grace):
    ada, grace = ada_and_grace
    ada.type("Let me th")
    grace.wait(lambda: grace.tab.text("#typing") == "Ada is typing", "typing")
    ada.type("ink\n")
    grace.wait_to_see(("Ada", "Let me think"))
    assert not grace.tab.text("#typing")

    # Whoever thinks better of it, or falls asleep over it.
    ada.type("Hm")
    grace.wait(lambda: grace.tab.text("#typing") == "Ada is typing", "typing")
    assert ada.tab.text("#typing") == ""
    ada.type("\b\b")
    grace.wait(lambda: grace.tab.text("#typing") == "", "its end")
    ada.type("Hm")
    grace.wait(lambda: grace.tab.text("#typing") == "Ada is typing", "typing")
    grace.wait(lambda: grace.tab.text("#typing") == "", "its end")


def test_who_is_here_follows_those_who_come_and_go(
        browser, ada_and_grace, chat):
    ada, grace = ada_and_grace
    assert ada.notes() == ["Grace came in"]
    ada.say("Hello")
    linus = Person(browser, chat.url, "Linus")
    assert linus.people() == ["Linus", "Ada", "Grace"]
    assert linus.sees() == [("Ada", "Hello")]
    for person in ada_and_grace:
        person.wait(lambda p=person: "Linus" in p.people(), "Linus")
    grace.tab.find("#leave").click()
    ada.wait_people("Ada", "Linus")
    assert ada.notes() == ["Grace came in", "Linus came in, Grace left"]
    linus.tab.close()
    ada.wait_people("Ada")
    assert ada.notes() == ["Grace came in", "Grace left"]
    assert ada.tab.text("#top-count") == "only you"


def test_a_name_is_one_persons(browser, ada_and_grace, chat):
    other = Person(browser, chat.url)
    other.enter("ADA")
    other.wait(lambda: other.tab.text("#hello-error") ==
               "Ada is here already.", "an answer")
    other.enter("A\u200bda")
    other.wait(lambda: "plain characters" in other.tab.text("#hello-error"),
               "an answer")
    other.enter("Bo")
    other.wait_online()
    assert other.people() == ["Bo", "Ada", "Grace"]


def test_rooms_are_apart_and_remember(browser, ada_and_grace):
    ada, grace = ada_and_grace
    assert set(ada.rooms()) == {"lobby", "music", "random"}
    ada.go_to_new("tea & cake")
    grace.wait_people("Grace")
    grace.wait(lambda: grace.rooms().get("tea & cake") == (1, False),
               "the room")
    assert ada.people() == ["Ada"]
    ada.say("one sugar")
    ada.wait_to_see(("me", "one sugar"))
    grace.wait(lambda: grace.rooms()["tea & cake"] == (1, True), "the mark")
    assert grace.sees() == []
    grace.click_room("tea & cake")
    grace.wait_to_see(("Ada", "one sugar"))
    ada.wait_people("Ada", "Grace")
    ada.wait(lambda: ada.rooms() == {
        "lobby": (0, False), "music": (0, False), "random": (0, False),
        "tea & cake": (2, False)}, "the counts")
    ada.click_room("lobby")
    ada.wait(lambda: ada.people() == ["Ada"] and ada.sees() == [], "the lobby")


def test_a_reloaded_page_is_who_and_where_it_was(ada_and_grace):
    ada, grace = ada_and_grace
    ada.go_to_new("den")
    ada.say("remember me")
    ada.wait_to_see(("me", "remember me"))
    ada.type("a draft")
    grace.click_room("den")
    ada.tab.driver.refresh()
    ada.wait_online()
    ada.wait_room("den")
    ada.wait_people("Ada", "Grace")
    grace.wait_people("Grace", "Ada")
    assert ada.sees() == [("me", "remember me")]
    assert ada.tab.find("#text").get_property("value") == "a draft"


def test_markup_is_shown_as_text(browser, ada_and_grace):
    ada, grace = ada_and_grace
    evil = '<img src=x onerror="window.bad=1"><script>window.bad=1</script>'
    ada.say(evil)
    grace.wait_to_see(("Ada", evil))
    ada.go_to_new("<b>den</b>")
    ada.say("javascript:alert(1)")
    grace.wait(lambda: "<b>den</b>" in grace.rooms(), "the room")
    mallory = Person(browser, ada.tab.run("return location.origin"),
                     "<i>Mallory</i>")
    grace.wait_people("Grace", "<i>Mallory</i>")
    for person in (ada, grace, mallory):
        assert person.tab.run("return window.bad === undefined")
        assert person.tab.all(".app i:not(.dots i), .app b, .log img, .log a,"
                              " body script") == []


def test_a_hasty_person_loses_nothing(ada_and_grace):
    ada, grace = ada_and_grace
    said = ["line %d" % i for i in range(12)]
    ada.say(*said)
    grace.wait(lambda: len(grace.sees()) == len(said), "all lines")
    assert grace.sees() == [("Ada", text) for text in said]
    ada.wait_to_see(*[("me", text) for text in said])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_phone(browser, ada_and_grace, scheme, tmp_path):
    ada, grace = ada_and_grace
    ada.tab.scheme(scheme)
    ada.tab.size(360, 640, is_phone=True)
    grace.say("W" * 200, "a sentence of quite a few words, " * 6)
    ada.wait(lambda: len(ada.sees()) == 2, "the lines")
    ada.type("x")

    def width():
        return ada.tab.run("return document.documentElement.scrollWidth")

    def is_in_sight(css):
        return ada.tab.run("""
            const box = document.querySelector(arguments[0])
              .getBoundingClientRect();
            return box.width > 0 && box.left >= 0 && box.top >= 0 &&
              box.right <= innerWidth && box.bottom <= innerHeight;""", css)

    assert width() == 360
    assert ada.tab.run(
        "return document.querySelector('#log').scrollWidth") == 360
    for css in ("#open-side", "#room-name", "#text", "#send", "#link"):
        assert is_in_sight(css), css
    assert not is_in_sight("#rooms")
    ada.tab.shot(tmp_path / "phone.png")
    ada.tab.find("#open-side").click()
    ada.wait(lambda: is_in_sight("#rooms") and is_in_sight("#people"),
             "the side")
    assert width() == 360
    ada.click_room("music")
    ada.wait(lambda: not is_in_sight("#rooms"), "the side to go")
    background = ada.tab.run(
        "return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 245, 250)",
                          "dark": "rgb(18, 20, 31)"}[scheme]


def test_it_works_below_a_path(browser, serve):
    server = serve("chat")
    shutil.copytree(APPS / "chat/public", server.dir / "public/talk")
    ada = Person(browser, server.url + "talk/", "Ada")
    ada.say("from below")
    ada.wait_to_see(("me", "from below"))
    assert ada.tab.errors() == []


def test_everything_can_be_done_with_the_keyboard(browser, chat):
    ada = Person(browser, chat.url)
    assert ada.tab.run("return document.activeElement.id") == "name"
    ada.tab.driver.switch_to.active_element.send_keys("Ada\n")
    ada.wait_online()
    unnamed = ada.tab.run("""
        return [...document.querySelectorAll("button, input, textarea")]
          .filter((e) => e.checkVisibility())
          .filter((e) => !(e.textContent.trim() || e.ariaLabel ||
                           e.labels?.length))
          .map((e) => e.id);""")
    assert unnamed == []
