"""What a browser makes of compression and TLS. Chromium always offers
permessage-deflate, so the app decides whether it is spoken."""
import pytest

from support import wires

WIRES = wires.ALL

TALK = """
const [url, done] = [arguments[0], arguments[1]];
const ws = new WebSocket(url);
ws.binaryType = "arraybuffer";
const told = {extensions: null, good: 0};
const bytes = new Uint8Array(100000).map((_, i) => i * i % 251);
const sent = ["short", "", "a long one: " + "äöü€🚀 ".repeat(5000), bytes];
ws.onopen = () => { told.extensions = ws.extensions; ws.send(sent[0]); };
ws.onmessage = event => {
  const want = sent[told.good];
  const same = typeof want === "string" ? want === event.data :
    event.data.byteLength === want.length &&
    new Uint8Array(event.data).every((b, i) => b === want[i]);
  if (!same) { told.bad = told.good; ws.close(); return; }
  told.good += 1;
  if (told.good < sent.length) ws.send(sent[told.good]); else ws.close(4000);
};
ws.onclose = event => { told.code = event.code; done(told); };
"""


@pytest.mark.parametrize("context", ["none", "both"])
def test_messages_of_every_kind_come_back(browser, serve, wire, context):
    server = serve("echo")
    is_on = wires.is_packed()
    mark = server.mark()
    server.write("app.conf.lua", "return { compress = %s }" % (
        '{ context = "%s", threshold = 0 }' % context if is_on else "false"))
    server.wait_log(lambda r: r.get("event") == "reload", since=mark)
    scheme = "https" if wires.is_tls() else "http"
    tab = browser.open("%s://127.0.0.1:%d/" % (scheme, server.port))
    tab.driver.set_script_timeout(30)
    told = tab.driver.execute_async_script(
        TALK, "%s://127.0.0.1:%d/" % (scheme.replace("http", "ws"),
                                      server.port))
    assert told["good"] == 4 and told["code"] == 4000, told
    assert ("permessage-deflate" in told["extensions"]) == is_on, told
    assert tab.errors() == []
    assert server.stop() == 0
