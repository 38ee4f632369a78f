// The page: what the server tells goes into the list and, where one is open, into the detail.

import * as detail from "./detail.js";
import { byId, h, keep } from "./dom.js";
import * as list from "./list.js";
import { Stream } from "./stream.js";
import { ago, GROUPS, groupOf, phaseOf } from "./words.js";

const CONFIRM = {
  "promote-full": ["Promote to 100 %?", "All requests go to the new version as soon as it has the servers, whatever steps are left."],
  abort: ["Abort?", "All requests go back to the stable version, and this version is not tried again until somebody retries it."],
};
const RIGHTS_MS = 30000;
let acts = false, open = "", lastPhase = "", incoming = null, full = false, facts = {}, live = ["wait", "connecting"];
const rights = new Map(); // namespace -> {known, refusal, at}

// -- the key: it comes in the part of the address that is never sent, and is kept for the page's other tabs

function takesKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!given) return false;
  localStorage.setItem("tidegate-key", given);
  history.replaceState(null, "", location.pathname + "#/");
  return true;
}
takesKey();
const key = localStorage.getItem("tidegate-key") ?? "";

// -- what the server tells

const stream = new Stream(key, {
  hello(told) {
    acts = told.acts;
    rights.clear();
    byId("place").textContent = told.place;
    byId("place").title = told.place;
  },
  facts(told) { facts = told; showFacts(); },
  changes(told) {
    performance.mark("changes");
    if (told.reset) incoming = new Set();
    if (told.full !== full) { full = told.full; showFacts(); }
    for (const one of told.put) { list.put(one); incoming?.add(list.keyOf(one)); }
    for (const [namespace, name] of told.gone) list.drop(`${namespace}/${name}`);
    if (told.whole && incoming) { list.dropAll(incoming); incoming = null; }
    render();
    performance.measure("update", "changes");
  },
  state(state, why) {
    if (live[0] === state && live[1] === why) return;
    live = [state, why];
    showFacts();
  },
});

// Whether what is shown is what is there: our own connection, and the server's to the cluster.
function showFacts() {
  const troubles = facts.troubles ?? [];
  const stale = live[0] === "lost" ? live[1] : troubles.filter((one) => one.passes).map((one) => `${one.about}: ${one.what}`)[0];
  const state = live[0] === "wait" ? "wait" : stale ? "lost" : "live";
  byId("live").dataset.state = state;
  keep(byId("live-text"), state, () => ({ wait: "connecting", lost: "stale", live: "live" }[state]));
  document.body.dataset.state = state;
  keep(byId("notices"), [stale, troubles, live, full], () => [
    full && h("p", { class: "notice warn" }, "There are more rollouts than this page shows: choose namespaces with -n."),
    live[0] === "lost" && h("p", { class: "notice bad" }, h("b", {}, "Not live: "), `${live[1]}. Trying again; what is shown may be old.`),
    live[0] === "live" && troubles.map((one) => h("p", { class: `notice ${one.passes ? "bad" : "warn"}` }, h("b", {}, one.passes ? `Stale since ${new Date(one.since).toLocaleTimeString()}: ` : `Not shown, ${one.about}: `), one.passes ? `${one.about}: ${one.what}. Trying again.` : [one.what, one.do && `: ${one.do}`])),
  ]);
}

// -- what is shown

function render() {
  const found = list.arrange();
  keep(byId("groups"), [found.counts, list.shown.group, found.all], () => [["", "All", found.all], ...Object.entries(GROUPS).map(([group, { title }]) => [group, title, found.counts[group]])].map(([group, title, count]) =>
    h("button", { class: "chip", type: "button", "data-tone": GROUPS[group]?.tone, "aria-pressed": String(list.shown.group === group), "data-group": group, onclick: (event) => { list.shown.group = group; render(); refocus(event, group); } }, `${title} `, h("b", {}, String(count)))));
  keep(byId("space"), [found.spaces, list.shown.space], () => [h("option", { value: "" }, "All namespaces"), ...found.spaces.map((space) => h("option", { value: space }, space))]);
  byId("space").value = list.shown.space;
  const words = found.visible === found.all ? "" : `${found.visible} of ${found.all} shown`;
  keep(byId("count"), [words, found.all, incoming === null], () => words || (found.all || incoming ? "" : "There is no ModelDeployment here yet."));
  showDetail();
}

// A button that was made anew while it had the focus has it again.
function refocus(event, group) {
  if (event.detail === 0) byId("groups").querySelector(`[data-group="${group}"]`)?.focus();
}

function showDetail() {
  if (!open) return;
  const one = list.get(open);
  detail.show(open, one, acts && one ? rightsOf(one.namespace) : null, act);
  const phase = one ? phaseOf(one) : "";
  if (lastPhase && phase && phase !== lastPhase) say(`${one.name} is ${phase}`, "plain");
  lastPhase = phase;
  document.title = one ? `${GROUPS[groupOf(one)].symbol} ${one.name} · Tidegate` : "Tidegate";
}

function route() {
  if (takesKey()) return location.reload(); // the address of a server that was started anew, in the old one's tab
  const [namespace, name] = location.hash.slice(2).split("/").map(decodeURIComponent);
  open = namespace && name ? `${namespace}/${name}` : "";
  lastPhase = "";
  byId("list").hidden = Boolean(open);
  byId("detail").hidden = !open;
  document.title = "Tidegate";
  showDetail();
  (byId(open ? "detail-title" : "list-title"))?.focus({ preventScroll: true });
  if (open) window.scrollTo(0, 0);
}

// -- acts

const headers = { "X-Tidegate-Token": key, "Content-Type": "application/json" };

function rightsOf(namespace) {
  const known = rights.get(namespace);
  if (!known || Date.now() - known.at > RIGHTS_MS) ask(namespace, known);
  return known ?? { known: false, refusal: "" };
}

async function ask(namespace, before) {
  rights.set(namespace, { ...(before ?? { known: false, refusal: "" }), at: Date.now() });
  const told = await call(`rights?namespace=${encodeURIComponent(namespace)}`, { headers });
  const refusal = told.error ? told.error.what : told.refusal;
  rights.set(namespace, { known: true, refusal, at: Date.now() });
  showDetail();
}

async function call(path, options) {
  try {
    const answer = await fetch(path, { ...options, cache: "no-store" });
    return await answer.json();
  } catch {
    return { error: { what: "the dashboard's server cannot be reached" } };
  }
}

async function act(one, verb) {
  if (CONFIRM[verb] && !(await confirmed(verb, one))) return;
  say(`${verb} of ${one.name} is asked for`, "plain");
  const seen = verb === "promote" ? { step: one.rollout.step } : {};  // and not the gate after it
  const body = JSON.stringify({ namespace: one.namespace, name: one.name, verb, ...seen });
  const told = await call("act", { method: "POST", headers, body });
  if (told.error) say([told.error.what, told.error.do].filter(Boolean).join(": "), "bad");
  else say(told.message, "good");
}

function confirmed(verb, one) {
  const [title, text] = CONFIRM[verb], dialog = byId("confirm");
  byId("confirm-title").textContent = `${one.name}: ${title}`;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = title.replace("?", "");
  byId("confirm-yes").dataset.verb = verb;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function say(text, tone) {
  const toast = h("p", { class: "toast", "data-tone": tone }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), tone === "bad" ? 15000 : 6000);
}

// -- the page's own

const THEMES = { "": ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen; else delete document.documentElement.dataset.theme;
  localStorage.setItem("tidegate-theme", chosen);
  byId("theme").textContent = THEMES[chosen][0];
  byId("theme").setAttribute("aria-label", `Colours: ${THEMES[chosen][1]}`);
  byId("theme").title = `Colours: ${THEMES[chosen][1]}`;
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES), now = localStorage.getItem("tidegate-theme") ?? "";
  theme(names[(names.indexOf(now) + 1) % names.length]);
});
theme(THEMES[localStorage.getItem("tidegate-theme")] ? localStorage.getItem("tidegate-theme") : "");
byId("search").addEventListener("input", (event) => { list.shown.search = event.target.value.trim().toLowerCase(); render(); });
byId("space").addEventListener("change", (event) => { list.shown.space = event.target.value; render(); });
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("confirm").open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "/" && !open) { event.preventDefault(); byId("search").focus(); }
  if (event.key === "Escape" && open) location.hash = "#/";
});
setInterval(() => { for (const time of document.querySelectorAll("time")) time.textContent = ago(time.getAttribute("datetime")); }, 10000);
route();
stream.run();
