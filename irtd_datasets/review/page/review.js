"use strict";
// Texts of rows are put into the page by textContent and value alone, so that no text can become markup.
const AHEAD = 3;
const $ = (name) => document.getElementById(name);
const rows = new Map(); // position -> promise of a row with its images decoded
let state = null;
let shown = null;
let editing = false;
let busy = false;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function tell(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "omit", ...options });
  } catch {
    throw new Error("The program that serves this page does not answer. Start irtd review again; every verdict " +
      "that the page has counted is on disk.");
  }
  const body = await answer.json().catch(() => ({ problem: `status ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(body.problem), { status: answer.status });
  return body;
}

function load(position) {
  if (!rows.has(position)) {
    const found = ask(`row/${position}`).then(async (row) => {
      row.pictures = row.images.map((name) => {
        const image = new Image();
        image.alt = name;
        image.src = `image/${position}/${name}`;
        return image;
      });
      await Promise.all(row.pictures.map((image) => image.decode().catch(() => {})));
      return row;
    });
    rows.set(position, found);
    found.catch(() => rows.delete(position));
  }
  return rows.get(position);
}

function forget() {
  const kept = new Set();
  if (shown) for (let n = -1; n <= AHEAD + 1; n += 1) kept.add(shown.position + n).add((shown.next ?? 0) + n);
  for (const position of rows.keys()) if (!kept.has(position)) rows.delete(position);
}

async function ahead(row) {
  let position = row.next;
  for (let n = 0; n < AHEAD && position !== null; n += 1) {
    const next = await load(position).catch(() => null);
    if (next === null) return;
    position = next.next;
  }
  if (row.position + 1 < state.total) load(row.position + 1).catch(() => {});
}

function outline(row) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${row.width} ${row.height}`);
  const size = Math.max(row.width, row.height) / 40;
  const { label = [], box = [], polygon = [], point = [] } = row.objects ?? {};
  const drawn = label.slice(0, 400).map((name, index) => {
    let path = "";
    let at = null;
    const corners = polygon[index];
    const place = box[index];
    const spot = point[index];
    if (place) {
      path = `M${place[0]} ${place[1]}H${place[2]}V${place[3]}H${place[0]}Z`;
      at = place;
    } else if (corners) {
      path = `M${corners[0]} ${corners[1]}L${corners.slice(2).join(" ")}Z`;
      at = corners;
    } else if (spot) {
      const arm = size / 2;
      path = `M${spot[0] - arm} ${spot[1]}h${2 * arm}M${spot[0]} ${spot[1] - arm}v${2 * arm}`;
      at = spot;
    }
    if (!at || !at.every(Number.isFinite)) return null;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
    text.setAttribute("x", at[0]);
    text.setAttribute("y", at[1] > size ? at[1] - size / 4 : at[1] + size);
    text.setAttribute("font-size", size);
    text.textContent = label.length <= 12 ? (name ?? "").slice(0, 40) : "";
    return [line, text];
  });
  svg.append(...drawn.filter(Boolean).flat());
  return svg;
}

function figures(row) {
  return row.images.map((name, index) => {
    const frame = make("div", { class: "frame" }, row.pictures[index]);
    if (!index) frame.append(outline(row));
    row.pictures[index].onerror = () => frame.replaceChildren("This image cannot be shown.");
    const note = index ? "visible partner" : row.note;
    return make("figure", { class: name }, frame, make("figcaption", {}, note));
  });
}

function turns(row) {
  return row.messages.map((message, index) => {
    const role = ["user", "assistant", "system"].includes(message.role) ? message.role : "other";
    const body = editing ? make("textarea", { "data-turn": index, "aria-label": message.role }) : make("div");
    if (editing) body.value = row.mine?.messages?.[index] ?? message.content;
    else body.textContent = message.content;
    const name = make("b");
    name.textContent = message.role;
    return make("div", { class: `turn ${role}` }, name, body);
  });
}

function list(element, texts) {
  element.replaceChildren(...texts.filter(Boolean).map((text) => {
    const item = make("li");
    item.textContent = text;
    return item;
  }));
}

function earlier(row) {
  const lines = [];
  if (row.stale) lines.push("The text was changed since your verdict: it does not count any more.");
  if (row.mine && !row.stale) lines.push(`Your verdict: ${row.mine.verdict} (${row.mine.time})`);
  if (row.mine?.messages?.length && !row.stale) lines.push(`Your text: ${row.mine.messages.at(-1)}`);
  for (const one of row.others) lines.push(`${one.reviewer}: ${one.verdict}`);
  if (row.locked) lines.push(`Not to be edited: ${row.locked}.`);
  return lines.join("\n");
}

function draw() {
  const row = shown;
  $("texts").replaceChildren(...turns(row));
  list($("facts"), [row.task, row.source, row.modality, row.origin, `${row.width} × ${row.height}`]);
  list($("doubts"), row.doubts);
  $("earlier").textContent = earlier(row);
  $("id").textContent = row.id;
  $("number").value = row.position + 1;
  $("edit").disabled = Boolean(row.locked);
  for (const name of ["accept", "edit", "reject"]) {
    $(name).hidden = editing;
    $(name).classList.toggle("given", Boolean(row.mine) && !row.stale && row.mine.verdict === name);
  }
  for (const name of ["save", "cancel"]) $(name).hidden = !editing;
  if (editing) [...document.querySelectorAll(".assistant textarea, textarea")].at(-1)?.focus();
  document.body.dataset.position = row.position;
}

function progress() {
  $("title").textContent = `${state.folder}${state.config ? `:${state.config}` : ""} · ${state.reviewer}`;
  $("progress").max = state.total;
  $("progress").value = state.done;
  $("count").textContent = `${state.done.toLocaleString("en")} of ${state.total.toLocaleString("en")} judged`;
  $("agreement").textContent = state.agreement.filter((one) => one.reviewers.includes(state.reviewer)).map((one) => {
    const other = one.reviewers.find((name) => name !== state.reviewer);
    const kappa = one.kappa === null ? "not defined" : one.kappa.toFixed(2);
    return `with ${other}: ${one.same} of ${one.rows} the same, kappa ${kappa}`;
  }).join("; ");
}

async function show(position) {
  try {
    const row = await load(position);
    shown = row;
    editing = false;
    $("images").replaceChildren(...figures(row));
    draw();
    history.replaceState(null, "", `#${position + 1}`);
    forget();
    ahead(row);
  } catch (error) {
    tell(error.message);
  }
}

async function judge(verdict) {
  if (busy || !shown || (verdict === "edit" && !editing)) return;
  const row = shown;
  const verdictOf = { position: row.position, id: row.id, text: row.text, given: row.given, verdict };
  if (verdict === "edit") {
    verdictOf.messages = [...document.querySelectorAll("#texts textarea")].map((one) => one.value);
    const size = verdictOf.messages.reduce((sum, text) => sum + text.length, 0);
    if (size > state.limit) {
      tell(`The text has ${size.toLocaleString("en")} characters; at most ${state.limit.toLocaleString("en")} are taken. ` +
        "Nothing was saved.");
      return;
    }
  }
  busy = true;
  try {
    // The next row is shown when the verdict is on disk, and not before.
    const saved = await ask("verdict", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(verdictOf),
    });
    tell("");
    rows.delete(row.position);
    state.done = saved.done;
    progress();
    if (saved.next === null) {
      await refresh();
      await show(row.position);
      tell("Every row has a verdict.");
    } else {
      await show(saved.next);
      if (saved.done % 10 === 0) refresh();
    }
  } catch (error) {
    if (error.status === 409) {
      rows.delete(row.position);
      await show(row.position);
    }
    tell(`Not saved: ${error.message}.`);
  } finally {
    busy = false;
  }
}

async function refresh() {
  state = await ask("state");
  progress();
}

function edit(on) {
  if (!shown || (on && shown.locked)) return;
  editing = on;
  tell("");
  draw();
}

function go(position) {
  if (busy || editing || !Number.isInteger(position)) return;
  tell("");
  show(Math.min(Math.max(position, 0), state.total - 1));
}

async function open() {
  await refresh().catch((error) => tell(error.message));
  if (state.first === null) tell("Every row has a verdict.");
  else go(shown?.next ?? state.first);
}

const KEYS = {
  a: () => judge("accept"), r: () => judge("reject"), e: () => edit(true), n: open,
  ArrowLeft: () => go(shown.position - 1), ArrowRight: () => go(shown.position + 1),
  b: () => $("marks").click(), p: () => $("partner").click(),
};

addEventListener("keydown", (event) => {
  if (editing) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      judge("edit");
    } else if (event.key === "Escape") edit(false);
    return;
  }
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target === $("number")) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action && shown) {
    event.preventDefault();
    action();
  }
});

$("accept").onclick = () => judge("accept");
$("reject").onclick = () => judge("reject");
$("edit").onclick = () => edit(true);
$("save").onclick = () => judge("edit");
$("cancel").onclick = () => edit(false);
$("back").onclick = () => go(shown.position - 1);
$("forward").onclick = () => go(shown.position + 1);
$("open").onclick = open;
$("number").onchange = () => { go(Number($("number").value) - 1); $("number").blur(); };
for (const name of ["marks", "partner"]) {
  $(name).onchange = () => document.body.classList.toggle(`no-${name}`, !$(name).checked);
}

refresh().then(() => {
  const wanted = Number(location.hash.slice(1)) - 1;
  const first = Number.isInteger(wanted) && wanted >= 0 && wanted < state.total ? wanted : state.first ?? 0;
  show(first);
}).catch((error) => tell(error.message));
