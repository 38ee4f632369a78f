// One rollout: what is going on, the two versions with their pods, figures, verdicts, and what was before.
//
// Made of parts; a part is made anew only when what it shows has changed, so that focus and selected text stay.

import { byId, h, keep } from "./dom.js";
import { badge } from "./list.js";
import { actsOf, ago, groupOf, isPaused, phaseOf, reasonOf, rounded, shortDigest, VERDICTS, whole } from "./words.js";

const TITLES = {
  promote: "Promote", "promote-full": "Promote to 100 %", abort: "Abort", pause: "Pause", resume: "Resume", retry: "Retry",
};
const OUTCOMES = { Promoted: "good", RolledBack: "bad" };
const PARTS = ["head", "acts", "now", "versions", "figures", "checks", "facts", "rejected", "history"];
let shownKey = "";

export function show(key, one, rights, act) {
  const root = byId("detail");
  if (shownKey !== key || !root.firstChild) {
    shownKey = key;
    root.replaceChildren(h("p", {}, h("a", { class: "back", href: "#/" }, "← All rollouts")),
      ...PARTS.map((name) => h("div", { id: `part-${name}`, class: `part part-${name}` })));
  }
  if (!one) {
    for (const name of PARTS) byId(`part-${name}`).replaceChildren();
    keep(byId("part-head"), [key, "gone"], () => h("h1", { id: "detail-title", tabindex: "-1" }, `There is no rollout ${key}`));
    return;
  }
  const part = (name, data, make) => keep(byId(`part-${name}`), data, make);
  part("head", [key, one.url, one.uri, one.createdAt, phaseOf(one), groupOf(one)], () => head(one));
  part("acts", [key, actsOf(one), rights, one.waiting], () => acts(one, rights, act));
  part("now", [key, one.rollout, one.steps, one.candidate, one.stable, reasonOf(one), isPaused(one)], () => now(one));
  part("versions", [key, one.stable, one.candidate, one.rollout?.previous, one.pods], () => versions(one));
  part("figures", [key, one.rollout?.measurements], () => figures(one.rollout?.measurements));
  part("checks", [key, one.rollout?.checks], () => checks(one.rollout?.checks));
  part("facts", [key, one.conditions], () => facts(one.conditions));
  part("rejected", [key, one.rejected], () => rejected(one.rejected));
  part("history", [key, one.history], () => history(one.history));
}

const since = (at) => (at ? h("time", { datetime: at, title: at }, ago(at)) : "");

function head(one) {
  return [
    h("div", { class: "line wraps" }, h("h1", { id: "detail-title", tabindex: "-1" }, one.name), badge(groupOf(one), phaseOf(one))),
    h("p", { class: "quiet" }, `namespace ${one.namespace}`, one.createdAt && [" · ", since(one.createdAt), " old"], one.url && [" · ", h("code", {}, one.url)]),
    one.uri && h("p", { class: "quiet" }, "spec: ", h("code", {}, one.uri)),
  ];
}

function acts(one, rights, act) {
  const waiting = Object.entries(one.waiting ?? {}).map(([verb, value]) =>
    h("p", { class: "note" }, `${verb} of ${value.split("@")[0]} is asked for and not taken up yet`));
  if (!rights) return waiting; // this dashboard is for reading only
  if (rights.refusal) return [h("p", { class: "note", id: "rights" }, `For reading only: ${rights.refusal}.`), waiting];
  const buttons = Object.entries(actsOf(one)).map(([verb, can]) =>
    h("button", { class: "button", type: "button", "data-verb": verb, disabled: !can || !rights.known, onclick: () => act(one, verb) }, TITLES[verb]));
  return [h("div", { class: "acts", role: "group", "aria-label": "Acts" }, buttons), waiting];
}

function now(one) {
  const { reason, message } = reasonOf(one);
  const rollout = one.rollout, weight = one.candidate?.weight ?? 0;
  const why = reason && h("p", { class: "reason", "data-tone": groupOf(one) === "failed" ? "bad" : groupOf(one) === "waits" ? "warn" : undefined }, h("b", {}, reason), message && message !== reason ? `: ${message}` : "");
  if (!one.candidate || !rollout) return why || "";
  const stops = [...(one.steps ?? []).map((step, at) => ({ at: at + 1, weight: step.weight, hold: step.hold })), { at: (one.steps ?? []).length + 1, weight: 100 }];
  return [
    h("h2", {}, "Traffic"),
    h("div", { class: "split", role: "img", "aria-label": `${weight} % to the new version, ${100 - weight} % to the stable one` },
      h("div", { class: "share new", style: { width: `${weight}%` } }), h("div", { class: "share old", style: { width: `${100 - weight}%` } })),
    h("p", { class: "line legend" },
      h("span", {}, h("i", { class: "swatch new" }), ` new ${one.candidate.version ?? ""} `, h("b", {}, `${weight} %`), seen(one.candidate)),
      h("span", {}, h("i", { class: "swatch old" }), ` stable ${one.stable?.version ?? ""} `, h("b", {}, `${100 - weight} %`))),
    h("ol", { class: "steps", "aria-label": "Steps" }, stops.map((stop) => step(stop, rollout))),
    why,
    h("p", { class: "quiet" }, [rollout.phase, rollout.cause && `began by ${rollout.cause.toLowerCase()}`, rollout.surge && `surge: ${rollout.surge}`].filter(Boolean).join(" · "),
      rollout.stepStartedAt && [" · this step for ", since(rollout.stepStartedAt)]),
  ];
}

const seen = (version) => (version.realisedWeight === undefined ? "" : ` (${rounded(version.realisedWeight)} % seen)`);

function step(stop, rollout) {
  const state = rollout.step > stop.at ? "done" : rollout.step === stop.at ? "now" : "next";
  const words = { done: "passed", now: "now", next: "to come" }[state];
  return h("li", { class: "step", "data-state": state, "aria-current": state === "now" ? "step" : undefined },
    h("b", {}, `${stop.weight} %`), h("span", {}, stop.hold === "manual" ? "by promote" : stop.hold ?? "promotion"), h("span", { class: "unseen" }, words));
}

function versions(one) {
  const rows = [["new", "New version", one.candidate], ["old", "Stable version", one.stable], ["past", "Previous version", one.rollout?.previous]].filter(([, , version]) => version);
  const named = new Set(rows.map(([, , version]) => version.revision));
  const others = [...new Set((one.pods ?? []).map((pod) => pod.revision))].filter((revision) => !named.has(revision));
  return [
    h("h2", {}, "Versions"),
    h("div", { class: "versions-grid" },
      rows.map(([kind, title, version]) => box(kind, title, version, one.pods)),
      others.map((revision) => box("past", "Going", { revision }, one.pods))),
    one.pods ? "" : h("p", { class: "note" }, "Pods are not shown: you may not list them here."),
  ];
}

function box(kind, title, version, pods) {
  const own = (pods ?? []).filter((pod) => pod.revision === version.revision);
  const facts = [
    ["Revision", version.number ? `${version.revision} (number ${version.number})` : version.revision], ["Digest", shortDigest(version.digest)],
    ["Bundle", version.uri], ["Weight", version.weight === undefined ? "" : `${version.weight} %${seen(version)}`],
    ["Ready", version.replicas === undefined ? "" : `${version.readyReplicas ?? 0} of ${version.replicas}`], ["Device", version.device],
  ].filter(([, value]) => value);
  return h("section", { class: "box", "data-kind": kind, "aria-label": title },
    h("h3", {}, h("i", { class: `swatch ${kind}` }), ` ${title} `, h("b", {}, version.version ?? "")),
    h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    own.length ? h("ul", { class: "pods", "aria-label": "Pods" }, own.map(pod)) : "");
}

const TONES = { Running: "good", Succeeded: "good", Pending: "warn", Terminating: "warn" };

function pod(one) {
  const [ready, all] = one.ready.split("/");
  const tone = one.status === "Running" && ready !== all ? "warn" : TONES[one.status] ?? (one.status.startsWith("Init:") ? "warn" : "bad");
  const more = [`${one.ready} ready`, one.restarts ? `${one.restarts} restarts` : "", one.node].filter(Boolean).join(", ");
  return h("li", { class: "pod", "data-tone": tone }, h("i", { class: "lamp", "aria-hidden": "true" }),
    h("span", { class: "cut", title: one.name }, one.name), h("span", {}, one.status), h("span", { class: "quiet" }, more));
}

function table(title, heads, rows, numbers = false) {
  if (!rows.length) return "";
  return [h("h2", {}, title), h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": title },
    h("table", { class: numbers ? "numbers" : "" },
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, at) => (at ? h("td", {}, cell) : h("th", { scope: "row" }, cell))))))))];
}

function figures(measured) {
  const rows = ["stable", "candidate"].filter((role) => measured?.[role]).map((role) => {
    const row = measured[role];
    return [role === "stable" ? "Stable" : "New", whole(row.requests ?? 0), rounded(row.rps), rounded(row.errorRate, " %", 100), rounded(row.p50Ms, " ms"), rounded(row.p99Ms, " ms"), rounded(row.divergence, " %", 100)];
  });
  return table("Counts", ["Version", "Requests", "Per second", "Errors", "p50", "p99", "Differ"], rows, true);
}

function checks(found = []) {
  return table("Verdicts", ["Check", "Verdict", "Evidence"], found.map((row) => {
    const { tone, symbol } = VERDICTS[row.verdict] ?? { tone: "warn", symbol: "?" };
    return [row.name, h("span", { class: "badge", "data-tone": tone }, h("span", { "aria-hidden": "true" }, symbol), ` ${row.verdict}`), row.message ?? ""];
  }));
}

const facts = (found = []) => table("Conditions", ["Condition", "Status", "Reason", "Message", "For"],
  found.map((row) => [row.type, row.status, row.reason, row.message ?? "", since(row.lastTransitionTime)]));

const rejected = (found = []) => table("Rejected", ["Revision", "Reason", "Message", "Class", "Ago"],
  [...found].reverse().map((row) => [row.key, row.reason, row.message ?? "", row.class, since(row.at)]));

const history = (found = []) => table("History", ["No.", "Version", "Revision", "Outcome", "Reason", "Ago"],
  [...found].reverse().map((row) => [String(row.number ?? ""), row.version ?? "", row.revision,
    h("span", { class: "badge", "data-tone": OUTCOMES[row.outcome] ?? "warn" }, row.outcome ?? ""), row.reason ?? "", since(row.at)]));
