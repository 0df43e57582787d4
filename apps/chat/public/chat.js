// The page of the chat. What others wrote reaches the document as text only
// (textContent), never as markup.
//
//   link      one WebSocket; when it breaks it is made anew, and the server's
//             "welcome" puts everything right again
//   waiting   what was typed and not yet heard back; it outlives the link
//   books     what was said, by room; it outlives the link as well

const $ = (id) => document.getElementById(id);

const KEPT_LINES = 300;     // per room
const GROUP_S = 300;        // one person's lines within this stand together
const WELCOME_MS = 10000;   // a link without a welcome is no link
const SETTLED_MS = 5000;    // a link that holds this long is a good one
const ECHO_MS = 8000;       // a line without an echo is said again...
const MOST_TRIES = 3;       // ...but not for ever
const TYPING_MS = 6000;     // typing is over when not heard of for this long
const TYPING_AGAIN_MS = 3000;
const RETRY_MS = { first: 400, most: 15000 };

// ---- what is kept: over a reload in this tab, the name in this browser too

const memory = {
  get(key, store = sessionStorage) {
    try { return store.getItem("chat." + key); } catch { return null; }
  },
  set(key, value, store = sessionStorage) {
    try {
      if (value === null) store.removeItem("chat." + key);
      else store.setItem("chat." + key, value);
    } catch { /* a private window: then it is not kept */ }
  },
};

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function restored(key, otherwise) {
  try { return JSON.parse(memory.get(key)) ?? otherwise; } catch { return otherwise; }
}

// Who knows the secret is who we were before the link broke.
const secret = memory.get("secret") || random();
memory.set("secret", secret);

const me = { name: "", room: "lobby" };
const people = new Set();
const typing = new Map();   // name -> timer
const books = new Map();    // room -> { entries, known }
const seen = new Map();     // room -> time of the last line we know of
let rooms = {};             // as the server lists them
let waiting = restored("waiting", []);

// ---- small things for the document

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Far enough from each other to be told apart, and none of them muddy.
const HUES = [250, 205, 168, 140, 330, 352, 18, 280, 305, 225];

function hueOf(name) {
  let hash = 2166136261;
  for (const char of name.toLowerCase()) {
    hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
  }
  return HUES[((hash ^ hash >>> 15) >>> 0) % HUES.length];
}

function paintFace(face, name) {
  face.textContent = [...name][0].toUpperCase();
  face.style.setProperty("--hue", hueOf(name));
}

// Makes the children of `list` show `items`, and touches only what differs:
// whoever stands on one of them with the keyboard stays there.
function sync(list, items, keyOf, make, update) {
  const old = new Map(Array.from(list.children, (node) => [node.dataset.key, node]));
  let place = list.firstElementChild;
  for (const item of items) {
    let node = old.get(keyOf(item));
    if (node) {
      old.delete(keyOf(item));
    } else {
      node = make(item);
      node.dataset.key = keyOf(item);
    }
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
    update(node, item);
  }
  for (const node of old.values()) node.remove();
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, 4000);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, {
  weekday: "long", day: "numeric", month: "long",
});

function dayOf(at) {
  const day = new Date(at * 1000).toDateString();
  if (day === new Date().toDateString()) return "Today";
  if (day === new Date(Date.now() - 864e5).toDateString()) return "Yesterday";
  return calendar.format(at * 1000);
}

// ---- the link

let socket = null;
let tries = 0;
let retryTimer, welcomeTimer, settleTimer;

const isOn = () => document.body.dataset.link === "on";

function showLink(state, text = "", button = "") {
  document.body.dataset.link = state;
  $("link").textContent = { on: "online", trying: "reconnecting", off: "offline" }[state];
  $("banner").hidden = text === "";
  $("banner-text").textContent = text;
  $("banner-button").textContent = button;
  $("banner-button").hidden = button === "";
}

function connect() {
  hangUp();
  // Beside this page, wherever that is served from.
  const url = new URL("./", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ name: me.name, room: me.room, secret });
  const mine = socket = new WebSocket(url);
  mine.onmessage = (event) => {
    const message = JSON.parse(event.data);
    on[message.type]?.(message);
  };
  mine.onclose = (event) => lost(event.code, event.reason);
  welcomeTimer = setTimeout(() => { hangUp(); lost(1006); }, WELCOME_MS);
}

// Forgets the socket at once; its own end may take its time.
function hangUp() {
  clearTimeout(retryTimer);
  clearTimeout(welcomeTimer);
  clearTimeout(settleTimer);
  if (socket) {
    socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
  }
}

function lost(code, reason) {
  hangUp();
  for (const name of [...typing.keys()]) stoppedTyping(name);
  inFlight = null;
  if (code === 4000) return showHello(reason);
  if (code === 4001) {
    return showLink("off", "You are here in another tab.", "Come back to this one");
  }
  // All come back, but not all in the same instant.
  const wait = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** tries) * (0.5 + Math.random());
  tries += 1;
  showLink("trying", "Connection lost. Trying again\u2026", "Try now");
  retryTimer = setTimeout(connect, wait);
}

// The world looks different now: do not wait for the timer.
function tryNow() {
  if (document.body.dataset.link === "trying") {
    tries = 0;
    connect();
  }
}

function send(message) {
  if (isOn() && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

// ---- what the server says

const on = {
  welcome(m) {
    clearTimeout(welcomeTimer);
    // A link that breaks right after its welcome was no success.
    clearTimeout(settleTimer);
    settleTimer = setTimeout(() => { tries = 0; }, SETTLED_MS);
    inFlight = null;
    me.name = m.name;
    memory.set("name", me.name);
    memory.set("name", me.name, localStorage);
    showLink("on");
    document.body.dataset.view = "chat";
    people.clear();
    for (const name of m.here) people.add(name);
    for (const name of [...typing.keys()]) stoppedTyping(name);
    for (const [name, { last }] of Object.entries(m.rooms)) {
      if (!seen.has(name)) seen.set(name, last);
    }
    goTo(m.room);
    for (const said of m.history) hear(said);
    rooms = m.rooms;
    showRooms();
    showPeople();
    pump();
  },

  say(m) {
    stoppedTyping(m.name);
    hear(m);
    if (m.name === me.name && inFlight?.ref === m.ref) {
      inFlight = null;
      pump();
    }
  },

  join(m) {
    if (!people.has(m.name)) note(m.name, true);
    people.add(m.name);
    showPeople();
  },

  leave(m) {
    if (people.delete(m.name)) note(m.name, false);
    stoppedTyping(m.name);
    showPeople();
  },

  typing(m) {
    stoppedTyping(m.name);
    if (m.on) typing.set(m.name, setTimeout(stoppedTyping, TYPING_MS, m.name));
    showTyping();
  },

  rooms(m) {
    rooms = m.rooms;
    showRooms();
  },

  slow_down(m) {
    inFlight = null;
    quietUntil = Date.now() + m.retry_after * 1000;
    setTimeout(pump, m.retry_after * 1000 + 20);
    toast("A little slower, please. The rest follows in a moment.");
  },

  error(m) {
    toast(m.text);
    if (inFlight) giveBack(inFlight);
  },
};

// ---- what we say: one line at a time, so that the order stays

let inFlight = null;
let quietUntil = 0;

function pump() {
  const next = waiting.find((line) => line.room === me.room);
  if (!next || !isOn() || inFlight || Date.now() < quietUntil) return;
  if (next.tries >= MOST_TRIES) {
    toast("This could not be sent.");
    return giveBack(next);
  }
  inFlight = next;
  next.tries += 1;
  send({ type: "say", text: next.text, ref: next.ref });
  setTimeout(() => {
    if (inFlight === next && isOn()) {
      inFlight = null;
      pump();
    }
  }, ECHO_MS);
}

function keepWaiting() {
  memory.set("waiting", JSON.stringify(waiting));
}

// Nothing that was typed is thrown away.
function giveBack(line) {
  forget(line.ref);
  const field = $("text");
  field.value = field.value ? field.value + "\n" + line.text : line.text;
  typed();
  inFlight = null;
  pump();
}

function say(text) {
  const line = { ref: random(), text, room: me.room, tries: 0 };
  waiting.push(line);
  keepWaiting();
  unmarkUnread();
  show({ kind: "say", name: me.name, text, ref: line.ref, isWaiting: true });
  regroup();
  scrollToEnd();
  pump();
}

function forget(ref) {
  waiting = waiting.filter((line) => line.ref !== ref);
  keepWaiting();
  remove((entry) => entry.isWaiting && entry.ref === ref);
}

// ---- what was said

function book(room = me.room) {
  if (!books.has(room)) books.set(room, { entries: [], known: new Set() });
  return books.get(room);
}

// A line of the server: new, or known from before the link broke.
function hear(said) {
  const { known } = book();
  const id = said.name + "\n" + (said.ref ?? said.at);
  seen.set(me.room, Math.max(seen.get(me.room) ?? 0, said.at));
  if (known.has(id)) return;
  known.add(id);
  const isMine = said.name === me.name;
  const stays = isAtEnd() || (isMine && waiting.some((line) => line.ref === said.ref));
  if (isMine) forget(said.ref);
  if (document.hidden && !isMine) markUnread();
  showDay(said.at);
  show({ kind: "say", name: said.name, text: said.text, at: said.at, ref: said.ref });
  regroup();
  if (stays) scrollToEnd();
  else if (!isMine) countNewer();
}

const listing = new Intl.ListFormat("en");

// Who comes and goes without a word in between shares one note; who is back
// before anybody spoke was never away.
function note(name, came) {
  const stays = isAtEnd();
  let last = book().entries.findLast((entry) => !entry.isWaiting);
  if (last?.kind !== "note") {
    const at = Date.now() / 1000;
    showDay(at);
    last = { kind: "note", text: "", at, came: new Set(), left: new Set() };
    show(last);
  }
  const [to, from] = came ? [last.came, last.left] : [last.left, last.came];
  if (!from.delete(name)) to.add(name);
  const parts = [];
  if (last.came.size > 0) parts.push(listing.format(last.came) + " came in");
  if (last.left.size > 0) parts.push(listing.format(last.left) + " left");
  last.node.textContent = parts.join(", ");
  if (parts.length === 0) remove((entry) => entry === last);
  regroup();
  if (stays) scrollToEnd();
}

// A new day is announced before its first entry.
function showDay(at) {
  const before = book().entries.findLast((entry) => entry.at);
  if (!before || dayOf(before.at) !== dayOf(at)) show({ kind: "day", text: dayOf(at), at });
}

// Puts an entry behind the others; only what still waits stands behind it.
function show(entry) {
  const { entries } = book();
  let at = entries.length;
  while (!entry.isWaiting && at > 0 && entries[at - 1].isWaiting) at -= 1;
  entry.node = makeLine(entry);
  $("lines").insertBefore(entry.node, entries[at]?.node ?? null);
  entries.splice(at, 0, entry);
  if (entries.length > KEPT_LINES) entries.shift().node.remove();
  $("empty").hidden = true;
}

function remove(isMeant) {
  const { entries } = book();
  const at = entries.findIndex(isMeant);
  if (at >= 0) entries.splice(at, 1)[0].node.remove();
}

// One to three of them and nothing else.
const EMOJI =
  /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|[\u{1F3FB}-\u{1F3FF}])*\s?){1,3}$/u;

function makeLine(entry) {
  if (entry.kind !== "say") return element("li", entry.kind, entry.text);
  const node = element("li", "line");
  const face = element("span", "face");
  const bubble = element("div", "bubble");
  const stamp = element("time", "",
    entry.isWaiting ? "sending\u2026" : clock.format(entry.at * 1000));
  const text = element("span", "text", entry.text);
  const name = element("span", "name", entry.name);
  if (!entry.isWaiting) stamp.dateTime = new Date(entry.at * 1000).toISOString();
  node.style.setProperty("--hue", hueOf(entry.name));
  node.classList.toggle("is-mine", entry.name === me.name);
  node.classList.toggle("is-waiting", entry.isWaiting === true);
  node.classList.toggle("is-big", EMOJI.test(entry.text));
  name.dir = text.dir = "auto";
  face.ariaHidden = "true";
  paintFace(face, entry.name);
  bubble.append(text, stamp);
  node.append(face, name, bubble);
  return node;
}

// One person's lines in a row look like one.
function regroup() {
  let before = null;
  for (const entry of book().entries) {
    const follows = before?.kind === "say" && entry.kind === "say" &&
      before.name === entry.name &&
      (entry.isWaiting || entry.at - before.at < GROUP_S);
    entry.node.classList.toggle("is-more", follows);
    before?.node.classList.toggle("has-next", follows);
    before = entry;
  }
  before?.node.classList.remove("has-next");
}

function goTo(room) {
  if (room !== me.room || $("lines").childElementCount === 0) {
    me.room = room;
    $("lines").replaceChildren(...book().entries.map((entry) => entry.node));
    for (const line of waiting) {
      if (line.room === room && !book().entries.some((entry) => entry.ref === line.ref)) {
        line.tries = 0;
        show({ kind: "say", name: me.name, text: line.text, ref: line.ref, isWaiting: true });
      }
    }
    $("empty").hidden = book().entries.length > 0;
    regroup();
    scrollToEnd();
  }
  memory.set("room", room);
  history.replaceState(null, "", "#" + encodeURIComponent(room));
  $("room-name").textContent = room;
  $("text").placeholder = "Message #" + room;
  setTitle();
}

function moveTo(room) {
  closeSide();
  if (room && room !== me.room) {
    if (!isOn()) return toast("Not connected at the moment.");
    sendTyping(false);
    send({ type: "move", room });
  }
}

// ---- scrolling, and what was not yet seen

const log = $("log");
let newer = 0;   // below the fold
let unread = 0;  // while the tab was hidden

function isAtEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function scrollToEnd() {
  log.scrollTop = log.scrollHeight;
  newer = 0;
  $("newer").hidden = true;
}

function countNewer() {
  newer += 1;
  $("newer").textContent = newer === 1 ? "1 new message \u2193" : newer + " new messages \u2193";
  $("newer").hidden = false;
}

function markUnread() {
  if (unread === 0) {
    unmarkUnread();
    show({ kind: "unread", text: "New" });
  }
  unread += 1;
  setTitle();
}

function unmarkUnread() {
  remove((entry) => entry.kind === "unread");
}

function setTitle() {
  document.title = (unread > 0 ? "(" + unread + ") " : "") + "#" + me.room;
}

// ---- people, rooms, typing

function showPeople() {
  const names = [...people].sort((a, b) =>
    (b === me.name) - (a === me.name) || a.localeCompare(b));
  sync($("people"), names, (name) => name, (name) => {
    const node = element("li");
    const face = element("span", "face");
    const what = element("span", "what", name);
    face.ariaHidden = "true";
    what.dir = "auto";
    paintFace(face, name);
    node.append(face, what, element("span", "you"), element("span", "is-typing dots"));
    node.lastChild.append(element("i"), element("i"), element("i"));
    return node;
  }, (node, name) => {
    node.querySelector(".you").textContent = name === me.name ? "you" : "";
    node.querySelector(".dots").hidden = !typing.has(name);
  });
  $("here-count").textContent = people.size;
  $("top-count").textContent = people.size === 1 ? "only you" : people.size + " here";
  $("my-name").textContent = me.name;
  paintFace($("my-face"), me.name);
}

function showRooms() {
  const names = Object.keys(rooms).sort((a, b) =>
    (b === "lobby") - (a === "lobby") || a.localeCompare(b));
  let isElsewhere = false;
  sync($("rooms"), names, (name) => name, (name) => {
    const node = element("li");
    const button = element("button");
    button.type = "button";
    button.append(element("span", "sign", "#"), element("span", "what", name),
      element("span", "dot"), element("span", "aside"), element("span", "how-many"));
    button.onclick = () => moveTo(name);
    node.append(button);
    return node;
  }, (node, name) => {
    const { here, last } = rooms[name];
    const isCurrent = name === me.room;
    const isNew = !isCurrent && last > (seen.get(name) ?? 0);
    isElsewhere ||= isNew;
    node.classList.toggle("is-new", isNew);
    node.querySelector(".dot").hidden = !isNew;
    node.querySelector(".aside").textContent = isNew ? "new messages," : "";
    node.querySelector(".how-many").textContent = here || "";
    if (isCurrent) node.firstChild.setAttribute("aria-current", "true");
    else node.firstChild.removeAttribute("aria-current");
  });
  $("elsewhere").hidden = !isElsewhere;
}

function stoppedTyping(name) {
  clearTimeout(typing.get(name));
  if (typing.delete(name)) showTyping();
}

function showTyping() {
  const names = [...typing.keys()];
  const line = $("typing");
  line.replaceChildren();
  if (names.length > 0) {
    const dots = element("span", "dots");
    dots.append(element("i"), element("i"), element("i"));
    line.append(dots, names.length === 1 ? names[0] + " is typing" :
      names.length === 2 ? names.join(" and ") + " are typing" : "Several people are typing");
  }
  showPeople();
}

let toldAt = 0; // when we last told that we are typing; 0: we are not
let idleTimer;

function sendTyping(isTyping) {
  clearTimeout(idleTimer);
  if (isTyping) idleTimer = setTimeout(sendTyping, TYPING_AGAIN_MS, false);
  if (isTyping ? Date.now() - toldAt > TYPING_AGAIN_MS : toldAt > 0) {
    toldAt = isTyping ? Date.now() : 0;
    send({ type: "typing", on: isTyping });
  }
}

// ---- the field

function typed() {
  const field = $("text");
  const wasAtEnd = isAtEnd();
  field.style.height = "auto";
  field.style.height = field.scrollHeight + 2 + "px";
  if (wasAtEnd) scrollToEnd();
  const left = field.maxLength - field.value.length;
  $("left").hidden = left > 100;
  $("left").textContent = left;
  $("send").disabled = field.value.trim() === "";
  memory.set("draft", field.value);
}

$("text").oninput = () => {
  typed();
  sendTyping($("text").value.trim() !== "");
};

$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("say").requestSubmit();
  }
};

$("say").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text === "") return;
  $("text").value = "";
  clearTimeout(idleTimer);
  toldAt = 0; // the line itself says that we are done
  typed();
  say(text);
  $("text").focus();
};

// ---- coming and going

function showHello(error = "") {
  hangUp();
  showLink("off");
  document.body.dataset.view = "hello";
  document.title = "chat";
  closeSide();
  $("name").value = me.name || memory.get("name", localStorage) || "";
  $("room").value = me.room;
  $("hello-error").textContent = error;
  $("name").ariaInvalid = error ? "true" : "false";
  $("enter").disabled = false;
  $("name").focus();
  $("name").select();
}

// As phones write it.
const plain = (text) => text.trim().replaceAll("\u2019", "'");

$("hello-form").onsubmit = (event) => {
  event.preventDefault();
  me.name = plain($("name").value);
  if (me.name === "") return showHello("A name, please.");
  const room = plain($("room").value).replace(/^#+/, "").toLowerCase() || "lobby";
  if (room !== me.room) $("lines").replaceChildren();
  me.room = room;
  $("hello-error").textContent = "";
  $("enter").disabled = true;
  tries = 0;
  connect();
};

$("leave").onclick = () => {
  memory.set("name", null);
  showHello();
};

$("new-room").onsubmit = (event) => {
  event.preventDefault();
  moveTo(plain($("new-room-name").value).replace(/^#+/, "").toLowerCase());
  $("new-room-name").value = "";
};

$("banner-button").onclick = () => {
  showLink("trying", "Connecting\u2026");
  tryNow();
};

$("newer").onclick = scrollToEnd;

function openSide() {
  document.body.classList.add("is-open");
  $("open-side").ariaExpanded = "true";
  $("close-side").focus();
}

function closeSide() {
  if (document.body.classList.contains("is-open")) {
    document.body.classList.remove("is-open");
    $("open-side").ariaExpanded = "false";
    $("open-side").focus();
  }
}

$("open-side").onclick = openSide;
$("close-side").onclick = $("veil").onclick = closeSide;
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeSide(); });

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    unread = 0;
    setTitle();
    tryNow();
  }
});
addEventListener("online", tryNow);
addEventListener("hashchange", () => moveTo(roomOfAddress()));
log.addEventListener("scroll", () => {
  if (isAtEnd()) {
    newer = 0;
    $("newer").hidden = true;
  }
});

// The keyboard of a phone comes up: the last line stays in sight.
let height = log.clientHeight;
new ResizeObserver(() => {
  const grown = log.clientHeight - height;
  height = log.clientHeight;
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 80 + Math.abs(grown)) scrollToEnd();
}).observe(log);

function roomOfAddress() {
  try { return decodeURIComponent(location.hash.slice(1)).toLowerCase(); } catch { return ""; }
}

me.room = roomOfAddress() || memory.get("room") || "lobby";
$("text").value = memory.get("draft") || "";
typed();
if (memory.get("name")) { // the page was only reloaded
  me.name = memory.get("name");
  connect();
} else {
  showHello();
}
