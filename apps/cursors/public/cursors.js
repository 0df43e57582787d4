// The page of the cursors. main.lua's head says what the bytes mean.
//
//   link      one WebSocket; when it breaks it is made anew, and what the server
//             says first puts everything right again
//   cursors   one for each person, oneself among them; places are fractions of
//             the board, so that windows of all sizes agree
//   frame     draws, and only while something moves

const $ = (id) => document.getElementById(id);

const SEND_MS = 33;          // between two places that are sent
const DELAY_MS = 80;         // others are shown as they were: that hides the jitter of the net
const IDLE_MS = 8000;        // who rests this long fades
const INK_MS = 5000;         // so does ink
const INK_PX = 3.4;          // half its width at the tip
const HALO = 2.7;            // times as wide
const INK_GAP_PX = 3;        // closer points would not be seen
const INK_STEP = 1 / 4;      // of the way between two samples, however fast frames come
const RIPPLE_MS = 750;
const MOST_SAMPLES = 120;    // a hidden tab does not draw, and need not remember all
const MOST_FACES = 5;
const WELCOME_MS = 10000;    // a link without a welcome is no link
const SETTLED_MS = 5000;     // a link that holds this long is a good one
const RETRY_MS = { first: 400, most: 15000 };
const MOST_WAITING = 256;    // bytes: a link that does not take these does not get more

const AWAY = 0, HERE = 1, PRESSED = 2;   // modes of a pointer

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

const memory = {
  get(key, store = sessionStorage) {
    try { return store.getItem("cursors." + key); } catch { return null; }
  },
  set(key, value, store = sessionStorage) {
    try { store.setItem("cursors." + key, value); } catch { /* then it is not kept */ }
  },
};

// ---- cursors

const hasOklch = CSS.supports("color", "oklch(0.6 0.2 20)");

// Equally light, whatever the hue: a name is to be read on each of them.
function colorOf(hue) {
  const degrees = Math.round(hue * 360 / 256);
  if (hasOklch) return dark.matches ? `oklch(0.77 0.15 ${degrees})` : `oklch(0.57 0.2 ${degrees})`;
  return dark.matches ? `hsl(${degrees} 75% 68%)` : `hsl(${degrees} 70% 42%)`;
}

class Cursor {
  x = 0.5;
  y = 0.5;
  mode = AWAY;
  presses = 0;
  name = "";
  hue = 0;
  samples = [];   // { at, x, y, mode, presses }: [0] is behind us, the rest is to come
  before = null;  // the one before samples[0]
  part = 0;       // how much of the way to samples[1] has its ink
  strokes = [];   // lists of { at, x, y }
  movedAt = performance.now();
  isShownAs = ""; // the class, so that the document is touched only if it changes

  constructor() {
    this.node = $("cursor").content.firstElementChild.cloneNode(true);
    this.tag = this.node.querySelector(".tag");
    $("cursors").append(this.node);
    this.face = document.createElement("li");
    this.face.className = "is-new";
    this.face.onanimationend = () => { this.face.className = ""; };
  }

  introduce(name, hue) {
    this.name = name;
    this.hue = hue;
    this.tag.textContent = name;
    this.face.textContent = initials(name);
    this.tagWidth = this.tag.offsetWidth;
    this.paint();
  }

  paint() {
    this.color = colorOf(this.hue);
    for (const node of [this.node, this.face]) node.style.setProperty("--color", this.color);
  }

  // Where it is said to be. It gets there a little later.
  hear(place) {
    const now = performance.now();
    const last = this.samples.at(-1);
    if (!last || last.mode === AWAY || place.mode === AWAY || calm.matches) {
      this.samples = [];
      this.before = null;
    } else if (now - last.at > 2 * SEND_MS) {
      // It rested, and has been under way since the last sample that was not sent.
      this.samples.push({ ...last, at: now - SEND_MS });
    }
    this.samples.push({ ...place, at: now });
    if (this.samples.length > MOST_SAMPLES) this.samples.shift();
    if (this.samples.length === 1) this.reach(this.samples[0], now);
    this.movedAt = now;
    wake();
  }

  // A snapshot: it was there all along, so nothing ripples.
  put(place) {
    this.samples = [{ ...place, at: performance.now() }];
    Object.assign(this, place);
    wake();
  }

  // Comes to a sample: what has changed on the way?
  reach({ x, y, mode, presses }, at) {
    if (presses !== this.presses) {
      if (mode !== AWAY) ripple(this, x, y);
      if (mode === PRESSED) this.strokes.push([]);
    }
    if (mode === PRESSED && this.strokes.length === 0) this.strokes.push([]);
    const isEnd = mode !== PRESSED && this.mode === PRESSED && presses === this.presses;
    if (mode === PRESSED || isEnd) this.draw(x, y, at, isEnd ? 0 : INK_GAP_PX);
    Object.assign(this, { x, y, mode, presses });
  }

  draw(x, y, at, gap = INK_GAP_PX) {
    const points = this.strokes.at(-1);
    const last = points?.at(-1);
    if (!points || last && Math.hypot((x - last.x) * width, (y - last.y) * height) <= gap) return;
    points.push({ x, y, at });
  }

  // -> is it still under way?
  advance(now) {
    const then = now - DELAY_MS;
    const { samples } = this;
    while (samples.length > 1 && samples[1].at <= then) {
      this.glide(1);
      this.before = samples.shift();
      this.part = 0;
      this.reach(samples[0], samples[0].at + DELAY_MS);
    }
    if (samples.length < 2) return false;
    const [from, to] = samples;
    if (then > from.at) this.glide((then - from.at) / (to.at - from.at));
    return true;
  }

  // Along the curve to samples[1], as far as that part of the way.
  glide(part) {
    const [from, to, after = to] = this.samples;
    const before = this.before?.presses === from.presses ? this.before : from;
    const on = (axis, t) => curve(axis, t, before, from, to, after);
    const isInk = this.mode === PRESSED && to.presses === this.presses;
    for (; isInk && this.part + INK_STEP <= part; this.part += INK_STEP) {
      const t = this.part + INK_STEP;
      this.draw(on("x", t), on("y", t), from.at + t * (to.at - from.at) + DELAY_MS);
    }
    this.x = on("x", part);
    this.y = on("y", part);
  }

  show(now) {
    const x = this.x * width, y = this.y * height;
    this.node.style.translate = `${x.toFixed(1)}px ${y.toFixed(1)}px`;
    const look = [
      "cursor",
      this === me && "is-me",
      this.mode === AWAY && "is-away",
      this.mode === PRESSED && "is-pressed",
      now - this.movedAt > IDLE_MS && "is-idle",
      x + this.tagWidth > width - 24 && "is-left",
      y > height - 120 && "is-up", // above the dock
    ].filter(Boolean).join(" ");
    if (look !== this.isShownAs) this.node.className = this.isShownAs = look;
  }

  leave() {
    this.node.remove();
  }
}

// From b to c, so that a, b, c and d lie on one smooth line: at b it has the
// speed of the way from a to c, and at c that of the way from b to d.
function curve(axis, t, a, b, c, d) {
  const span = c.at - b.at;
  const speed = (from, to) => span * (to[axis] - from[axis]) / Math.max(1, to.at - from.at);
  const way = c[axis] - b[axis], start = speed(a, c), end = speed(b, d);
  return within(b[axis] + t * (start + t * (3 * way - 2 * start - end + t * (start + end - 2 * way))));
}

function within(part) {
  return Math.min(1, Math.max(0, part));
}

const me = new Cursor();
me.introduce("", Number(memory.get("hue") ?? 180));
const others = new Map();   // id -> Cursor

function everybody() {
  return [me, ...others.values()];
}

// ---- drawing

const canvas = $("ink");
const paper = canvas.getContext("2d");
let width, height;
let ripples = [];

function fit() {
  const scale = Math.min(2, devicePixelRatio || 1);
  width = innerWidth;
  height = innerHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  paper.setTransform(scale, 0, 0, scale, 0, 0);
  wake();
}

function ripple(cursor, x, y) {
  ripples.push({ cursor, x, y, at: performance.now() });
  document.body.classList.add("has-drawn");
  wake();
}

// -> what a line is drawn from, in pixels: points with a radius, the older the
// thinner, and the direction across the line. A sharp turn begins another run.
function runsOf(points, now) {
  const runs = [];
  let run = null;
  for (const { x, y, at } of points) {
    const age = (now - at) / INK_MS;
    const point = { x: x * width, y: y * height, r: INK_PX * (1 - age ** 3), dx: 1, dy: 0 };
    const last = run?.at(-1);
    const length = last ? Math.hypot(point.x - last.x, point.y - last.y) : 0;
    if (length > 0) {
      point.dx = (point.x - last.x) / length;
      point.dy = (point.y - last.y) / length;
      if (run.length === 1) Object.assign(last, { dx: point.dx, dy: point.dy });
      if (last.dx * point.dx + last.dy * point.dy < 0.5) {
        runs.push(run = [{ ...last, dx: point.dx, dy: point.dy }]);
      }
    }
    if (!run) runs.push(run = []);
    run.push(point);
  }
  return runs;
}

// One outline around each run, all of them filled at once: where they overlap
// nothing shows.
function fillRuns(runs, factor) {
  paper.beginPath();
  for (const run of runs) {
    const tail = run[0], tip = run.at(-1);
    const tailAngle = Math.atan2(tail.dy, tail.dx), tipAngle = Math.atan2(tip.dy, tip.dx);
    paper.moveTo(tail.x - tail.dy * tail.r * factor, tail.y + tail.dx * tail.r * factor);
    paper.arc(tail.x, tail.y, tail.r * factor, tailAngle + Math.PI / 2, tailAngle - Math.PI / 2);
    for (const { x, y, dx, dy, r } of run) paper.lineTo(x + dy * r * factor, y - dx * r * factor);
    paper.arc(tip.x, tip.y, tip.r * factor, tipAngle - Math.PI / 2, tipAngle + Math.PI / 2);
    for (let i = run.length - 1; i >= 0; i--) {
      const { x, y, dx, dy, r } = run[i];
      paper.lineTo(x - dy * r * factor, y + dx * r * factor);
    }
    paper.closePath();
  }
  paper.fill();
}

function drawInk(cursor, now) {
  const open = cursor.mode === PRESSED ? cursor.strokes.at(-1) : null;
  for (const points of cursor.strokes) {
    const fresh = points.findIndex((point) => now - point.at < INK_MS);
    points.splice(0, fresh < 0 ? points.length : fresh);
    if (points.length === 0) continue;
    const tip = points === open ? [{ x: cursor.x, y: cursor.y, at: points.at(-1).at }] : [];
    const runs = runsOf([...points, ...tip], now);
    paper.fillStyle = cursor.color;
    paper.globalAlpha = 0.12;
    fillRuns(runs, HALO);
    paper.globalAlpha = 1;
    fillRuns(runs, 1);
  }
  cursor.strokes = cursor.strokes.filter((points) => points.length > 0 || points === open);
  return cursor.strokes.some((points) => points.length > 0);
}

function drawRipples(now) {
  ripples = ripples.filter(({ at }) => now - at < RIPPLE_MS);
  for (const { cursor, x, y, at } of ripples) {
    const age = Math.max(0, now - at) / RIPPLE_MS;
    const grown = calm.matches ? 0.5 : 1 - (1 - age) ** 3;
    paper.strokeStyle = paper.fillStyle = cursor.color;
    paper.beginPath();
    paper.arc(x * width, y * height, 8 + 38 * grown, 0, 2 * Math.PI);
    paper.globalAlpha = 0.22 * (1 - age);
    paper.fill();
    paper.globalAlpha = 0.9 * (1 - age);
    paper.lineWidth = 1 + 3 * (1 - age);
    paper.stroke();
  }
  paper.globalAlpha = 1;
  return ripples.length > 0;
}

let isAwake = false;

function wake() {
  if (!isAwake) requestAnimationFrame(frame);
  isAwake = true;
}

function frame() {
  const now = performance.now();
  let isMoving = false;
  paper.clearRect(0, 0, width, height);
  for (const cursor of everybody()) {
    isMoving = cursor.advance(now) || isMoving;
    isMoving = drawInk(cursor, now) || isMoving;
    cursor.show(now);
  }
  isMoving = drawRipples(now) || isMoving;
  isAwake = false;
  if (isMoving) wake();
}

// Nothing moves, but somebody may have become idle.
setInterval(wake, 1000);

// ---- the link

const words = new TextDecoder();
let socket = null;
let tries = 0;
let myId = 0;
let retryTimer, welcomeTimer, settleTimer;

function showLink(state, text = "") {
  document.body.dataset.link = state;
  $("link").hidden = text === "";
  $("link-text").textContent = text;
}

function connect() {
  hangUp();
  // Beside this page, wherever that is served from.
  const url = new URL("./", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const query = { board, name: memory.get("name") ?? memory.get("name", localStorage), hue: memory.get("hue") };
  for (const [key, value] of Object.entries(query)) {
    if (value !== null) url.searchParams.set(key, value);
  }
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => read(new DataView(event.data));
  socket.onclose = (event) => lost(event.code, event.reason);
  welcomeTimer = setTimeout(() => lost(1006), WELCOME_MS);
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
  if (code === 4000) return showLink("off", reason);
  // All come back, but not all in the same instant.
  const wait = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** tries) * (0.5 + Math.random());
  tries += 1;
  showLink("trying", "Reconnecting\u2026");
  retryTimer = setTimeout(connect, wait);
}

// The world looks different now: do not wait for the timer.
function tryNow() {
  if (document.body.dataset.link !== "on") {
    tries = 0;
    connect();
  }
}

function isOn() {
  return document.body.dataset.link === "on" && socket?.readyState === WebSocket.OPEN;
}

// A message has one or more records.
function read(view) {
  let at = 0;
  let gone = [];   // whom a snapshot does not name any more
  const u8 = () => view.getUint8(at++);
  const u16 = () => view.getUint16((at += 2) - 2);
  const u32 = () => view.getUint32((at += 4) - 4);
  const place = () => ({ mode: u8(), presses: u8(), x: u16() / 65535, y: u16() / 65535 });
  const text = () => {
    const size = u8();
    at += size;
    return words.decode(new Uint8Array(view.buffer, at - size, size));
  };
  const on = {
    1: (id) => {
      gone = [...others.keys()];
      welcome(id);
    },
    2: (id) => {
      gone = gone.filter((other) => other !== id);
      here(id, place(), u8(), text());
    },
    3: (id) => {
      const where = place();
      others.get(id)?.hear(where);
    },
    4: (id) => leave(id),
  };
  while (at < view.byteLength) on[u8()](u32());
  gone.forEach(leave);
  showPeople();
}

function welcome(id) {
  clearTimeout(welcomeTimer);
  // A link that breaks right after its welcome was no success.
  clearTimeout(settleTimer);
  settleTimer = setTimeout(() => { tries = 0; }, SETTLED_MS);
  myId = id;
  showLink("on");
  sent = null;
  if (me.mode !== AWAY) tell();
}

function here(id, place, hue, name) {
  if (id === myId) {
    me.introduce(name, hue);
    memory.set("hue", hue);
    memory.set("name", name);
    $("dock").style.setProperty("--color", me.color);
    if (document.activeElement !== $("name")) $("name").value = name;
    return;
  }
  let cursor = others.get(id);
  if (!cursor) {
    others.set(id, cursor = new Cursor());
    cursor.node.dataset.id = id;
    cursor.put(place);
  }
  cursor.introduce(name, hue);
}

function leave(id) {
  others.get(id)?.leave();
  others.delete(id);
  wake();
}

// ---- one's own pointer

let sent = null;      // the last place that was sent, as text
let sentAt = 0;
let sendTimer = null;

// Now if it is about a press, else at most once in SEND_MS, and always the newest.
function tell(isUrgent = false) {
  const wait = sentAt + SEND_MS - performance.now();
  if (wait > 0 && !isUrgent || socket?.bufferedAmount > MOST_WAITING) {
    sendTimer ??= setTimeout(() => { sendTimer = null; tell(); }, Math.max(wait, SEND_MS / 4));
    return;
  }
  const bytes = new DataView(new ArrayBuffer(6));
  bytes.setUint8(0, me.mode);
  bytes.setUint8(1, me.presses);
  bytes.setUint16(2, Math.round(me.x * 65535));
  bytes.setUint16(4, Math.round(me.y * 65535));
  const place = new Uint8Array(bytes.buffer).join();
  if (!isOn() || place === sent) return;
  socket.send(bytes);
  sent = place;
  sentAt = performance.now();
}

function moveTo(event, mode, presses = me.presses) {
  const isUrgent = mode !== me.mode;
  // A mouse tells more often than frames are drawn: ink takes all of it.
  const all = event.getCoalescedEvents?.() ?? [];
  for (const { clientX, clientY } of all.length > 0 ? all : [event]) {
    me.reach({ x: within(clientX / width), y: within(clientY / height), mode, presses }, performance.now());
  }
  me.movedAt = performance.now();
  // Under a finger an arrow would only be in the way.
  document.body.classList.toggle("is-drawn", event.pointerType !== "touch");
  wake();
  tell(isUrgent);
}

const surface = $("board");

surface.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0) return;
  document.activeElement?.blur();
  try { surface.setPointerCapture(event.pointerId); } catch { /* it is up again already */ }
  moveTo(event, PRESSED, me.presses + 1 & 255);
});

addEventListener("pointermove", (event) => {
  if (event.isPrimary) moveTo(event, me.mode === PRESSED ? PRESSED : HERE);
});

function released(event) {
  if (event.isPrimary && me.mode === PRESSED) moveTo(event, HERE);
}
addEventListener("pointerup", released);
addEventListener("pointercancel", (event) => {
  // It does not say where it was.
  released({ isPrimary: event.isPrimary, pointerType: event.pointerType,
             clientX: me.x * width, clientY: me.y * height });
});

document.documentElement.addEventListener("pointerleave", (event) => {
  // A finger leaves whenever it is lifted; the pointer rests where that was.
  if (event.isPrimary && event.pointerType !== "touch" && me.mode !== AWAY) moveTo(event, AWAY);
});

surface.addEventListener("contextmenu", (event) => event.preventDefault());

// ---- what lies above

const KINDS = ["amber", "brave", "calm", "fuzzy", "happy", "lucky", "merry", "quiet", "sunny", "witty"];
const THINGS = ["cloud", "comet", "field", "garden", "harbor", "island", "meadow", "moon", "river", "valley"];

function any(list) {
  return list[Math.floor(Math.random() * list.length)];
}

function boardOf(text) {
  const name = (text ?? "").trim().toLowerCase().replace(/\s+/g, "-").replace(/[^a-z0-9_-]/g, "");
  return name.slice(0, 32) || "lobby";
}

const board = boardOf(new URLSearchParams(location.search).get("board"));

function initials(name) {
  const parts = name.trim().split(/\s+/);
  return [parts[0], parts.length > 1 ? parts.at(-1) : ""].map((part) => [...part][0] ?? "").join("").toUpperCase();
}

let shownPeople = null;

function showPeople() {
  const all = everybody();
  const now = all.map((cursor) => cursor.node.dataset.id).join();
  if (now === shownPeople) return;
  shownPeople = now;
  const isAlone = all.length === 1;
  document.body.classList.toggle("is-alone", isAlone);
  document.title = (isAlone ? "" : `(${all.length}) `) + board + " \u00b7 cursors";
  $("count").textContent = isAlone ? "only you" : all.length + " here";
  const faces = [...others.values()].slice(1 - MOST_FACES).map((cursor) => cursor.face);
  if (all.length > MOST_FACES) {
    const more = document.createElement("li");
    more.className = "more";
    more.textContent = "+" + (all.length - MOST_FACES);
    faces.unshift(more);
  }
  $("faces").replaceChildren(...faces, me.face);
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, 4000);
}

$("dock").onsubmit = (event) => {
  event.preventDefault();
  $("name").blur();
};

$("name").onfocus = () => $("name").select();

$("name").onchange = () => {
  const name = $("name").value.trim();
  if (name === "") {
    $("name").value = me.name;
  } else {
    // Kept here as well: the link may be away just now.
    memory.set("name", name);
    memory.set("name", name, localStorage);
    if (isOn()) socket.send(name);
  }
};

$("invite").onclick = async () => {
  try {
    if (navigator.share) {
      await navigator.share({ title: "cursors", url: location.href });
    } else {
      await navigator.clipboard.writeText(location.href);
      toast("The link is copied. Send it to somebody.");
    }
  } catch (error) {
    if (error.name !== "AbortError") toast("Send this link: " + location.href);
  }
};

$("again").onclick = tryNow;
addEventListener("online", tryNow);
addEventListener("pageshow", (event) => { if (event.persisted) tryNow(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) tryNow(); });
addEventListener("resize", fit);
dark.addEventListener("change", () => {
  everybody().forEach((cursor) => cursor.paint());
  $("dock").style.setProperty("--color", me.color);
  wake();
});

$("board-name").textContent = board;
$("fresh").href = `?board=${any(KINDS)}-${any(THINGS)}-${10 + Math.floor(Math.random() * 90)}`;
fit();
showPeople();
connect();
