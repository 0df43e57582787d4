// The page of the echo: what went out, what came back, and how long it took.

const $ = (id) => document.getElementById(id);
const KEPT_LINES = 500;

let socket;
let tries = 0;
let away = [];      // sent and not yet back; they come back in order
let took = [];      // the last round trips, in milliseconds

function showLink(state, text) {
  document.body.dataset.link = state;
  $("link").textContent = text;
  $("send").disabled = $("burst").disabled = state !== "on";
}

function connect() {
  // Beside this page, wherever that is served from.
  const url = new URL("./", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = url.search = "";
  socket = new WebSocket(url);
  socket.onopen = () => {
    tries = 0;
    showLink("on", "online");
  };
  socket.onmessage = (event) => back(event.data);
  socket.onclose = () => {
    for (const { node } of away) finish(node, "is-lost", "lost");
    away = [];
    showLink("trying", "reconnecting");
    // All come back, but not all in the same instant.
    setTimeout(connect, Math.min(10000, 400 * 2 ** tries) * (0.5 + Math.random()));
    tries += 1;
  };
}

function send(text) {
  if (socket.readyState !== WebSocket.OPEN) return;
  const node = document.createElement("li");
  for (const name of ["way", "what", "took"]) {
    node.append(Object.assign(document.createElement("span"), { className: name }));
  }
  node.className = "is-waiting";
  node.children[0].textContent = "\u2192";
  node.children[1].textContent = text;
  $("log").append(node);
  if ($("log").childElementCount > KEPT_LINES) $("log").firstChild.remove();
  $("log").scrollTop = $("log").scrollHeight;
  away.push({ node, at: performance.now() });
  socket.send(text);
}

function finish(node, state, text) {
  node.className = state;
  node.children[0].textContent = state === "" ? "\u2194" : "\u00d7";
  node.children[2].textContent = text;
}

function back(text) {
  const first = away.shift();
  if (!first) return;
  const ms = performance.now() - first.at;
  first.node.children[1].textContent = text;
  finish(first.node, "", ms.toFixed(1) + " ms");
  took = [...took, ms].slice(-100);
  const sorted = [...took].sort((a, b) => a - b);
  $("sum").textContent = `the last ${took.length}: ` +
    `median ${sorted[took.length >> 1].toFixed(1)} ms, ` +
    `slowest ${sorted.at(-1).toFixed(1)} ms`;
}

$("form").onsubmit = (event) => {
  event.preventDefault();
  if ($("text").value !== "" && document.body.dataset.link === "on") {
    send($("text").value);
    $("text").value = "";
  }
  $("text").focus();
};

$("burst").onclick = () => {
  for (let i = 1; i <= 100; i++) send("message " + i);
};

showLink("trying", "connecting");
connect();
