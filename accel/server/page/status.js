// The page's life: a stream of snapshots, each compared with the one before, and everything drawn from the two.

const OUTCOMES = { hits: "hits", misses: "misses", passes: "passes", synthetic: "made here", errors: "errors" };
const KEPT = 300;
const SPANS = [60, 120, KEPT];
const RECENT = 10;
const LOST_MS = 4000;
const snapshots = [];
const history = [];
let policiesOf = null;
let asked = 0;
let lastHeard = Date.now();

const tiles = new Map();

function tile(name, value, more, values) {
  if (!tiles.has(name)) {
    const figure = el("b"), words = el("span", "dim");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    line.setAttribute("viewBox", "0 0 100 26");
    line.setAttribute("preserveAspectRatio", "none");
    line.setAttribute("aria-hidden", "true");
    const path = line.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    const card = el("div", "tile", el("span", "dim", name), figure, words);
    card.append(line);
    at("tiles").append(card);
    tiles.set(name, { figure, words, path });
  }
  const { figure, words, path } = tiles.get(name);
  say(figure, value);
  say(words, more);
  sparkline(path, values);
}

const of = (snapshot, name) => snapshot.counters[name] || 0;

function rates(before, now, names) {
  const seconds = Math.max(0.001, now.at - before.at);
  return Object.fromEntries(names.map(name => [name, Math.max(0, of(now, name) - of(before, name)) / seconds]));
}

function rowRates(before, now, list, key, value) {
  const seconds = Math.max(0.001, now.at - before.at);
  const then = new Map(before[list].map(one => [one[key], one[value]]));
  return Object.fromEntries(now[list].map(one => [one[key], Math.max(0, one[value] - (then.get(one[key]) ?? one[value])) / seconds]));
}

function drawTiles(now, recent) {
  const sum = Object.keys(OUTCOMES).reduce((all, name) => all + recent[name], 0);
  const line = name => history.map(sample => sample[name]);
  const ratios = history.map(sample => sample.requests ? sample.hits / sample.requests : 0);
  const clients = now.workers.reduce((all, one) => all + one.connections, 0);
  tile("requests a second", rate(recent.requests), `${count(of(now, "requests"))} in all`, line("requests"));
  tile("hit ratio", percent(sum ? recent.hits / sum : NaN), `${percent(of(now, "hits") / of(now, "requests"))} in all`, ratios);
  tile("fetches a second", rate(recent.fetches), `${count(of(now, "fetches"))} in all`, line("fetches"));
  drawLatency({ hit: {}, miss: {} });
  tile("sent a second", bytes(recent.client_bytes_out), `${bytes(of(now, "client_bytes_out"))} in all`, line("client_bytes_out"));
  tile("errors a second", rate(recent.errors), `${count(of(now, "errors"))} in all`, line("errors"));
  tile("clients connected", count(clients), `${count(of(now, "connections"))} in all`, line("clients"));
}

const medians = { hit: [], miss: [] };

function drawLatency(latency) {
  for (const [kind, name] of [["hit", "median time of hits"], ["miss", "median time of misses"]]) {
    const { p50, p99 } = latency[kind];
    if (Number.isFinite(p50)) medians[kind].push(p50);
    medians[kind].splice(0, medians[kind].length - KEPT / 5);
    if (Number.isFinite(p50) || !tiles.has(name)) tile(name, time(p50), `99 of 100: ${time(p99)}`, medians[kind]);
  }
}

function drawStore(now) {
  const store = now.store;
  const hasMap = store.kind === "shared" && store.map;
  at("map").hidden = at("map-said").hidden = at("store-legend").hidden = !hasMap;
  const facts = [["kind", store.kind === "shared" ? "one for all workers" : "one in each worker"], ["memory", bytes(now.facts.memory_bytes)]];
  if (hasMap) {
    mapped = atob(store.map);
    drawMap(at("map"), mapped);
    facts.push(
      ["filled", `${bytes(store.filled_bytes)} (${percent(store.filled_bytes / (mapped.length * store.segment_bytes))})`],
      ["responses, about", count(store.records)], ["segments", `${count(mapped.length)} of ${bytes(store.segment_bytes)}`],
      ["stored in all", count(of(now, "stored"))], ["evicted in all", count(of(now, "evicted"))], ["found no room", count(store.refused)]);
  }
  const list = at("store");
  if (list.children.length !== facts.length) list.replaceChildren(...facts.map(() => el("div", "", el("dt"), el("dd"))));
  facts.forEach(([name, value], index) => {
    say(list.children[index].firstChild, name);
    say(list.children[index].lastChild, value);
  });
}

function drawHistory() {
  const span = SPANS.find(seconds => history.length <= seconds + 1) || KEPT;
  drawTraffic(at("traffic"), history, Object.keys(OUTCOMES), span);
  say(at("traffic-from"), `${time(span)} ago`);
}

let mapped = "";
at("map").addEventListener("pointermove", event => say(at("map-said"), segmentAt(at("map"), mapped, event)));
at("map").addEventListener("pointerleave", () => say(at("map-said"), ""));

function problemsOf(now, recent) {
  const found = [];
  const serving = now.workers.filter(one => one.state === "accepting").length;
  if (!serving) found.push(["bad", "no worker accepts connections"]);
  else if (serving < now.facts.workers) found.push(["warn", `${serving} of ${now.facts.workers} workers accept connections`]);
  const up = now.backends.filter(one => one.state === "up").length;
  for (const one of now.backends) {
    if (one.state === "down") found.push([up ? "warn" : "bad", `backend ${one.address} is down: ${one.why || "no reason known"}`]);
  }
  if (!up) found.push(["bad", "no backend is up: only what is stored is served"]);
  if (recent.errors > 0.01 * recent.requests) found.push(["warn", `${percent(recent.errors / recent.requests)} of requests end in an error`]);
  const refused = policiesOf ? Object.keys(policiesOf.refused) : [];
  if (refused.length) found.push(["warn", `not in force as on disk: ${refused.join(", ")}`]);
  if (now.facts.upgrade.failure) found.push(["warn", `the last upgrade failed: ${now.facts.upgrade.failure}`]);
  return found;
}

function drawVerdict(found) {
  const worst = found.some(([kind]) => kind === "bad") ? "bad" : found.length ? "warn" : "good";
  say(at("verdict"), { good: "all is well", warn: found.length === 1 ? "one thing to look at" : `${found.length} things to look at`, bad: "not serving as it should" }[worst]);
  style(at("verdict"), "pill " + worst);
  const list = at("problems");
  list.hidden = !found.length;
  style(list, worst);
  const words = found.map(([, text]) => text).join("\n");
  if (list.dataset.said !== words) {
    list.dataset.said = words;
    list.replaceChildren(...found.map(([kind, text]) => el("li", kind, text)));
  }
}

// What changes seldom, or takes the arbiter longer, is not in the stream.
async function askTheRest(generation) {
  if (++asked % 5 === 1) {
    drawOverrides(await ask("/overrides"));
    drawLatency(latencyOf(await ask("/histograms")));
    await readLog();
  }
  if (policiesOf && policiesOf.generation === generation) return;
  policiesOf = { ...await ask("/policies"), generation };
  drawPolicies(policiesOf);
}

function draw(now) {
  const before = snapshots[snapshots.length - 1] || now;
  if (before.facts.pid !== now.facts.pid) { location.reload(); return; }
  snapshots.push(now);
  snapshots.splice(0, snapshots.length - RECENT - 1);
  const names = [...new Set([...Object.keys(now.counters), ...Object.keys(OUTCOMES), "requests", "fetches", "client_bytes_out"])];
  const last = rates(before, now, names), recent = rates(snapshots[0], now, names);
  history.push({ ...last, clients: now.workers.reduce((all, one) => all + one.connections, 0) });
  history.splice(0, history.length - KEPT);
  const facts = now.facts;
  document.title = `${facts.name} – accel`;
  say(at("name"), facts.name);
  say(at("about"), `accel ${facts.version}, process ${facts.pid}, up ${time(Math.max(1, Math.floor(now.at - facts.since)))}, at ${facts.listeners.join(", ")}`);
  drawTiles(now, recent);
  drawHistory();
  drawBackends(now.backends, rowRates(snapshots[0], now, "backends", "address", "requests"));
  drawWorkers(now.workers, now.facts.workers, rowRates(snapshots[0], now, "workers", "number", "requests"));
  drawStore(now);
  drawCounters(now.counters, recent);
  drawVerdict(problemsOf(now, recent));
  askTheRest(facts.generation).catch(() => {});  // it is asked again with the next snapshot
}

function watch() {
  const stream = new EventSource("/events");
  stream.onmessage = event => {
    lastHeard = Date.now();
    document.body.classList.remove("stale");
    draw(JSON.parse(event.data));
  };
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(watch, 5000);
  };
}

setInterval(() => {
  if (Date.now() - lastHeard < LOST_MS) return;
  document.body.classList.add("stale");
  say(at("verdict"), "accel does not answer");
  style(at("verdict"), "pill bad");
}, 1000);
legend(at("traffic-legend"), OUTCOMES);
legend(at("store-legend"), KINDS);
addEventListener("resize", () => {
  if (!snapshots.length) return;
  drawHistory();
  if (mapped) drawMap(at("map"), mapped);
});
watch();
