// The tables: backends with their buttons, workers, policies, overrides, counters.

const STATE_CLASS = { up: "good", accepting: "good", starting: "warn", draining: "warn", leaving: "warn", restarting: "warn", down: "bad" };
const state = name => [name, "state " + (STATE_CLASS[name] || "")];
const TOKEN = document.querySelector("meta[name=accel-token]").content;
const MEANINGS = JSON.parse(at("meanings").textContent);

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Accel-Token": TOKEN },
    body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path);
  return answer.json();
}

// One button a backend, kept: what it does follows from the state that the last snapshot showed.
const buttons = new Map();
let lastBackends = [];

function backendButton(backend) {
  let button = buttons.get(backend.address);
  if (!button) {
    button = el("button");
    button.addEventListener("click", () => changeBackend(backend.address, button));
    buttons.set(backend.address, button);
  }
  if (!button.disabled) {
    const words = backend.state === "draining" ? "Enable" : "Drain";
    say(button, words);
    button.title = words === "Drain" ? "no new requests; those under way end" : "give it requests again";
    button.setAttribute("aria-label", `${words} ${backend.address}`);
  }
  return button;
}

async function changeBackend(address, button) {
  const isDraining = button.textContent === "Drain";
  const others = lastBackends.filter(one => one.state === "up" && one.address !== address);
  if (isDraining && !others.length && !confirm(`${address} is the last backend that is up. Drain it all the same?`)) return;
  button.disabled = true;
  try {
    await post(isDraining ? "/drain" : "/undrain", { backend: address });
    button.disabled = false;  // drawn with its new word
    const shown = lastBackends.find(one => one.address === address);
    if (shown) { shown.state = isDraining ? "draining" : "up"; drawBackends(lastBackends, {}); }
  } catch (error) {
    alert(`${address} is as it was: ${error.message}`);
  }
  button.disabled = false;
}

let backendRates = {};
const backendTable = tabled(at("backends"), [
  ["backend", "key mono", one => one.address],
  ["pools", "", one => (one.pools || []).filter(Boolean).join(", ")],
  ["state", "", one => state(one.state === "up" && one.ramp < 1000 ? `up, ${Math.round(one.ramp / 10)} % of its share` : one.state)
    .map((word, place) => place ? "state " + (STATE_CLASS[one.state] || "") : word)],
  ["weight", "number", one => String(one.weight)],
  ["in flight", "number", one => count(one.in_flight)],
  ["a second", "number", one => rate(backendRates[one.address] || 0)],
  ["requests", "number", one => count(one.requests)],
  ["failures", "number", one => count(one.failures)],
  ["why", "wordy", one => one.why ? (one.state === "down" ? "" : "last: ") + one.why : ""],
  ["", "", backendButton],
]);

function drawBackends(backends, rates) {
  at("backends").classList.toggle("plain", !backends.some(one => (one.pools || []).some(Boolean)));
  lastBackends = backends;
  backendRates = Object.keys(rates).length ? rates : backendRates;
  backendTable(backends, one => one.address);
}

let workerRates = {};
const workerTable = tabled(at("workers"), [
  ["worker", "key", one => String(one.number)],
  ["process", "number", one => one.pid ? String(one.pid) : "–"],
  ["state", "", one => state(one.state)],
  ["age", "number", one => time(Math.max(1, Math.floor(one.age_s)))],
  ["clients", "number", one => count(one.connections)],
  ["a second", "number", one => rate(workerRates[one.number] || 0)],
  ["heartbeat", "number", one => [time(one.heartbeat_age_s), one.heartbeat_age_s > 1 ? "bad" : ""]],
  ["restarts", "number", one => [String(one.restarts ?? "–"), one.restarts ? "warn" : ""]],
]);

// A dead worker whose successor is not there yet has no row in the snapshot.
function drawWorkers(workers, wanted, rates) {
  const missing = Array.from({ length: wanted }, (_, index) => index + 1).filter(number => !workers.some(one => one.number === number));
  const waiting = missing.map(number => ({ number, state: "restarting", age_s: NaN, connections: 0, heartbeat_age_s: NaN }));
  workerRates = rates;
  workerTable([...workers, ...waiting].sort((first, second) => first.number - second.number), one => one.number);
}

const policyTable = tabled(at("policies"), [
  ["file", "key mono", one => one.file],
  ["hosts", "wordy", one => one.hosts.join(", ") || "every other"],
  ["rules", "number", one => count(one.rules)],
  ["tests", "number", one => count(one.tests)],
  ["since", "number", one => new Date(one.since * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" })],
  ["", "", one => one.is_last_good ? ["last good version", "warn"] : ""],
]);

function drawPolicies(policies) {
  at("policies-section").hidden = !policies.files.length;
  const earlier = policies.earlier.length ? `, ${policies.earlier.length} before it kept` : "";
  say(at("policy-version"), `version ${policies.version}${earlier}`);
  policyTable(policies.files, one => one.file);
  at("refused").replaceChildren(...Object.values(policies.refused).map(text => el("pre", "bad", text)));
}

const overrideTable = tabled(at("overrides"), [
  ["reason", "key wordy", one => one.reason],
  ["what", "", one => one.what],
  ["rule", "mono", one => one.file + (one.lines.length ? ":" + one.lines.join(", ") : "")],
  ["", "", one => one.is_in_force ? "" : ["no longer in force", "dim"]],
  ["responses", "number", one => one.uses === null ? "with others" : count(one.uses)],
]);

function drawOverrides(told) {
  at("overrides-section").hidden = !told.overrides.length;
  say(at("overrides-total"), `${count(told.total)} responses since it began`);
  overrideTable(told.overrides, one => one.file + one.what + one.reason);
}

let counterRates = {};
const counterTable = tabled(at("counters"), [
  ["counter", "key mono", ([name]) => name],
  ["now", "number", ([name, value]) => MEANINGS[name] && MEANINGS[name][0] === "B" ? bytes(value) : count(value)],
  ["a second", "number", ([name]) => counterRates[name] ? MEANINGS[name] && MEANINGS[name][0] === "B"
    ? bytes(counterRates[name]) : rate(counterRates[name]) : ""],
  ["meaning", "wordy dim", ([name]) => MEANINGS[name] ? MEANINGS[name][1] : ""],
]);

function drawCounters(counters, rates) {
  if (!at("counters-details").open) return;
  counterRates = rates;
  const order = Object.keys(MEANINGS).filter(name => name in counters);
  counterTable(order.map(name => [name, counters[name]]), ([name]) => name);
}
