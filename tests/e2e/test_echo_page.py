"""apps/echo in a browser."""
from support import wires

WIRES = [wires.PLAIN, wires.BOTH]


def test_what_goes_out_comes_back_in_order(browser, serve):
    server = serve("echo")
    tab = browser.open(server.url.replace("localhost", "127.0.0.1"))
    tab.wait(lambda: tab.text("#link") == "online", "the link")
    tab.find("#text").send_keys("<b>hello</b>\n")
    tab.find("#burst").click()
    tab.wait(lambda: len(tab.all("#log li")) == 101 and
             not tab.all("#log .is-waiting"), "the echoes")
    assert tab.run("return [...document.querySelectorAll('#log .what')]"
                   ".map(e => e.textContent)") == [
        "<b>hello</b>", *["message %d" % i for i in range(1, 101)]]
    assert tab.errors() == []

    assert server.stop() == 0
    tab.wait(lambda: tab.text("#link") == "reconnecting", "its loss")
    server.start()
    tab.wait(lambda: tab.text("#link") == "online", "the link again")
    tab.find("#text").send_keys("still there?\n")
    tab.wait(lambda: len(tab.all("#log li")) == 102 and
             not tab.all("#log .is-waiting"), "the echo")
