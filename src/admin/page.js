// Keys and paths come from clients: they are shown as text, never as markup.

const at = (id) => document.getElementById(id);
const base = location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`;

const count = (number) => Number(number).toLocaleString("en");

function bytes(number) {
  if (number === null || number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let value = Number(number);
  while (value >= 1024 && unit + 1 < units.length) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && unit ? 1 : 0 })} ${units[unit]}`;
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${+(seconds * 1e3).toPrecision(3)} ms` : `${+seconds.toPrecision(3)} s`;
}

// A percentile is known by the bound of its bucket.
const within = (seconds) => (seconds === null ? "> 30 s" : seconds === undefined ? "–" : `≤ ${time(seconds)}`);

const share = (ratio) => (ratio === null ? "–" : `${(ratio * 100).toFixed(1)} %`);

// A row is a list of cells: a text, or a text with a class, or an element.
function fill(id, rows, none) {
  const body = at(id).tBodies[0];
  const columns = at(id).tHead.rows[0].cells;
  const cells = (row) =>
    row.map((cell, column) => {
      const td = document.createElement("td");
      if (cell instanceof Element) td.append(cell);
      else td.textContent = Array.isArray(cell) ? cell[0] : cell;
      td.className = [columns[column].className, Array.isArray(cell) ? cell[1] : ""].join(" ").trim();
      return td;
    });
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...cells(row));
    return line;
  });
  if (!lines.length) {
    const line = document.createElement("tr");
    const cell = document.createElement("td");
    cell.colSpan = columns.length;
    cell.className = "none";
    cell.textContent = none;
    line.append(cell);
    lines.push(line);
  }
  body.replaceChildren(...lines);
}

function bar(part, whole) {
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = whole ? Math.min(part / whole, 1) : 0;
  return progress;
}

const some = (counts) => Object.entries(counts).filter(([, number]) => number > 0).sort(([, a], [, b]) => b - a);
const sum = (counts) => Object.values(counts).reduce((total, number) => total + number, 0);

let before = null;

function show(stats, now) {
  const sent = sum(stats.response_bytes);
  const fetched = sum(stats.inner_bytes);
  at("name").textContent = stats.name;
  document.title = `${share(stats.byte_hit_ratio)} · ${stats.name}`;
  at("byte-hit-ratio").textContent = share(stats.byte_hit_ratio);
  at("hit-ratio").textContent = share(stats.hit_ratio);
  at("requests").textContent = count(sum(stats.requests));
  at("sent").textContent = bytes(sent);
  at("fetched").textContent = bytes(fetched);
  at("bodies").textContent = count(stats.bodies_under_way);
  at("fills").textContent = count(stats.fills_under_way);
  if (before) {
    const seconds = Math.max((now - before.now) / 1000, 0.001);
    at("sent-rate").textContent = bytes(Math.max(sent - before.sent, 0) / seconds);
    at("fetched-rate").textContent = bytes(Math.max(fetched - before.fetched, 0) / seconds);
  }
  before = { now, sent, fetched };

  const latency = (of, word) => [within(of[word]?.p50), within(of[word]?.p99)];
  fill("outcomes", some(stats.requests).map(([word, n]) => [word, count(n), ...latency(stats.first_byte, word)]), "No request yet.");
  const calls = some(stats.inner_requests);
  const most = Math.max(...Object.values(stats.inner_bytes));
  fill("reasons", calls.map(([word, n]) => [word, count(n), bytes(stats.inner_bytes[word]), bar(stats.inner_bytes[word], most)]), "No call yet.");
  const operation = ([word, n]) => {
    const errors = stats.store_errors[word];
    const { mean, p99 } = stats.store_latency[word] ?? {};
    return [word, count(n), errors ? [count(errors), "bad"] : "0", time(mean), within(p99)];
  };
  fill("operations", some(stats.store_calls).map(operation), "No call yet.");
  fill("refusals", some(stats.refusals).map(([word, n]) => [word, count(n)]), "None.");

  const held = stats.store_weight === null ? "It does not tell what it holds" : `${bytes(stats.store_weight)} of ${bytes(stats.store_capacity)} held`;
  const evicted = stats.store_evicted_bytes === null ? "" : `, ${bytes(stats.store_evicted_bytes)} dropped to make room`;
  const lost = `, ${count(stats.lost_chunks)} chunks lost, ${count(stats.healed_chunks)} fetched again.`;
  at("store").textContent = `${held}, ${bytes(stats.reserved_bytes)} reserved by fills${evicted}${lost}`;
  const knows = stats.store_weight !== null && stats.store_capacity;
  at("weight").hidden = !knows;
  if (knows) at("weight").value = stats.store_weight / stats.store_capacity;

  const trouble = [];
  if (stats.store_is_left_alone) trouble.push("The store does not answer and is left alone for a while.");
  if (stats.damaged_chunks) trouble.push(`${count(stats.damaged_chunks)} chunks failed their checksum.`);
  if (stats.purge_log_is_unreadable) trouble.push("The log of purges cannot be read.");
  at("state").className = trouble.length ? "trouble" : "";
  at("state").textContent = trouble.join(" ") || "Well.";
}

function showTransfers(transfers) {
  const row = ({ key, length, start, next }) => [
    [key, "key"],
    bytes(start),
    bytes(next - start),
    bytes(length),
    bar(next, length ?? 0),
  ];
  fill("transfers", transfers.slice(0, 50).map(row), "Nothing.");
}

function showTop(top) {
  fill("served", top.served.map((one) => [[one.key, "key"], bytes(one.weight), count(one.requests)]), "Nothing yet.");
  fill("missed", top.missed.map((one) => [[one.key, "key"], count(one.weight)]), "Nothing yet.");
  fill("refused", top.refused.map((one) => [[one.key, "key"], count(one.weight), one.detail ?? ""]), "Nothing yet.");
}

async function json(path) {
  const answer = await fetch(base + path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

let turn = 0;
async function refresh() {
  try {
    const [stats, transfers] = await Promise.all([json("stats"), json("transfers")]);
    show(stats, performance.now());
    showTransfers(transfers);
    if (turn % 3 === 0) showTop(await json("top?n=10"));
    turn += 1;
  } catch (error) {
    at("state").className = "trouble";
    at("state").textContent = `No figures: ${error.message}`;
  }
  setTimeout(refresh, 1000);
}

at("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(event.target)) if (value.trim()) query.append(name, value.trim());
  try {
    at("explanation").textContent = (await json(`explain?${query}`)).text;
  } catch (error) {
    at("explanation").textContent = error.message;
  }
});

at("purge").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  const order = { type: form.type, mark: form.mark };
  if (form.type !== "all") order.selectors = [form.selector.trim()];
  if (form.type === "group") order.groups = form.groups.split(",").map((group) => group.trim()).filter(Boolean);
  try {
    const headers = { "content-type": "application/json" };
    const send = (path) => fetch(path, { method: "POST", headers, body: JSON.stringify(order) });
    let answer = await send(`${base}invalidate`);
    if ([404, 405].includes(answer.status)) answer = await send("/invalidate");
    if (answer.status === 404) throw new Error("No PurgeService is mounted at /invalidate.");
    if (!answer.headers.get("content-type")?.includes("json")) throw new Error(await answer.text());
    const { results, effective_within_ms } = await answer.json();
    const found = { true: "found and purged", false: "nothing was stored", null: "purged" };
    at("purged").textContent = results
      .map(({ error, found: was }) => error ?? `${found[was]}; other nodes follow within ${effective_within_ms} ms`)
      .join("\n");
  } catch (error) {
    at("purged").textContent = error.message;
  }
});

const words = {
  answered: (e) => `${e.method} ${e.path} ${e.status ?? "failed"} ${e.outcome}${e.detail ? ` (${e.detail})` : ""} after ${time(e.seconds)}`,
  body: (e) => `${e.path} ${e.end}: ${bytes(e.from_store)} from the store, ${bytes(e.from_inner)} live, ${time(e.seconds)}`,
  fill: (e) => `fill begun: ${e.key}`,
  filled: (e) => `fill ${e.end} after ${time(e.seconds)}: ${e.key}`,
  invalidated: (e) => `removed: ${e.key}`,
  "store-left-alone": (e) => `the store does not answer; no ${e.operation} for a while`,
  "store-back": (e) => `the store answers again: ${e.operation}`,
  "chunk-damaged": () => "a chunk failed its checksum",
  "chunk-lost": () => "the store lost a chunk",
  "chunks-healed": (e) => `${e.chunks} lost chunks fetched again`,
};
const troubles = ["store-left-alone", "chunk-damaged"];

function line(text, isTrouble) {
  const item = document.createElement("li");
  const stamp = document.createElement("time");
  stamp.textContent = new Date().toLocaleTimeString("en-GB");
  item.append(stamp, text);
  if (isTrouble) item.className = "trouble";
  at("events").prepend(item);
  while (at("events").childElementCount > 200) at("events").lastElementChild.remove();
}

let feed = null;
function listen() {
  feed = new EventSource(`${base}events`);
  feed.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    const isTrouble = troubles.includes(event.event) || event.end === "broken" || event.outcome === "error";
    line(words[event.event]?.(event) ?? data, isTrouble);
  });
  feed.addEventListener("missed", ({ data }) => line(`${data} events missed`, true));
}

at("pause").addEventListener("click", () => {
  const paused = feed !== null;
  if (paused) {
    feed.close();
    feed = null;
  } else listen();
  at("pause").setAttribute("aria-pressed", String(paused));
  at("pause").textContent = paused ? "Go on" : "Pause";
});

listen();
refresh();
