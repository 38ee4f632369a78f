// The list: a card per rollout, the ones that need somebody first.

import { byId, h } from "./dom.js";
import { ago, groupOf, GROUPS, isPaused, phaseOf, promotedAt, reasonOf, VERDICTS, whole } from "./words.js";

const ORDER = Object.keys(GROUPS);
const cards = new Map(); // key -> {item, link, one, group, text}
export const shown = { group: "", space: "", search: "" };

export const keyOf = (one) => `${one.namespace}/${one.name}`;
export const linkOf = (one) => `#/${encodeURIComponent(one.namespace)}/${encodeURIComponent(one.name)}`;

export function put(one) {
  const key = keyOf(one);
  let card = cards.get(key);
  if (!card) {
    const link = h("a", { class: "card", href: linkOf(one) });
    card = { key, link, item: h("li", {}, link) };
    cards.set(key, card);
  }
  card.one = one;
  card.group = groupOf(one);
  const { reason, message } = reasonOf(one);
  card.text = [one.namespace, one.name, one.stable?.version, one.candidate?.version, phaseOf(one), reason, message].join(" ").toLowerCase();
  const rank = `${ORDER.indexOf(card.group)} ${key}`;
  if (card.rank !== rank) card.item.remove(); // only what moves is moved
  card.rank = rank;
  card.link.dataset.tone = GROUPS[card.group].tone;
  card.link.replaceChildren(...inside(one, card.group, reason, message));
}

export function drop(key) {
  cards.get(key)?.item.remove();
  cards.delete(key);
}

export function dropAll(but) {
  for (const key of [...cards.keys()]) if (!but.has(key)) drop(key);
}

function inside(one, group, reason, message) {
  const version = one.candidate
    ? [h("span", {}, one.stable?.version || "nothing"), h("span", { class: "arrow", "aria-label": "to" }, "→"), h("strong", {}, one.candidate.version || one.candidate.revision)]
    : [h("span", {}, one.stable?.version || one.stable?.revision || "no version yet")];
  const servers = (one.stable?.replicas ?? 0) + (one.candidate?.replicas ?? 0);
  const ready = (one.stable?.readyReplicas ?? 0) + (one.candidate?.readyReplicas ?? 0);
  return [
    h("div", { class: "line" }, h("h2", { class: "name" }, one.name), badge(group, phaseOf(one))),
    h("div", { class: "line quiet" }, h("span", { class: "cut" }, one.namespace), h("span", { title: "servers that are ready" }, `${whole(ready)}/${whole(servers)} ready`)),
    h("div", { class: "line" }, h("p", { class: "versions" }, version), tally(one)),
    traffic(one),
    h("p", { class: "why" }, reason ? [h("b", {}, reason), message && reason !== message ? ` ${message}` : ""] : message || steady(one)),
  ];
}

// The verdicts so far, and on how many requests of the new version.
function tally(one) {
  const checks = one.rollout?.checks ?? [], requests = one.rollout?.measurements?.candidate?.requests;
  const counts = Object.entries(VERDICTS).map(([verdict, { tone, symbol }]) => ({ verdict, tone, symbol, count: checks.filter((row) => row.verdict === verdict).length })).filter(({ count }) => count);
  return h("p", { class: "tally" }, requests ? `${whole(requests)} requests` : "",
    counts.map(({ verdict, tone, symbol, count }) => h("span", { "data-tone": tone, class: "mark", role: "img", "aria-label": `${count} ${verdict}`, title: `${count} ${verdict}` }, `${symbol} ${count}`)));
}

function steady(one) {
  const at = promotedAt(one);
  return at ? ["promoted ", h("time", { datetime: at }, ago(at)), " ago"] : "";
}

export function badge(group, words) {
  const { tone, symbol } = GROUPS[group];
  return h("span", { class: "badge", "data-tone": tone }, h("span", { "aria-hidden": "true" }, symbol), ` ${words}`);
}

// Who gets how much: the candidate's share, and where the steps are.
export function traffic(one) {
  const weight = one.candidate ? one.candidate.weight ?? 0 : 0;
  const words = one.candidate ? `${weight} % of the requests go to the new version` : "all requests go to the stable version";
  const steps = one.candidate ? (one.steps ?? []).map((step) => h("i", { class: "tick", style: { left: `${step.weight}%` } })) : [];
  return h("div", { class: "traffic", "data-busy": one.candidate ? "" : undefined, "data-paused": isPaused(one) ? "" : undefined },
    h("div", { class: "track", role: "img", "aria-label": words }, h("div", { class: "fill", style: { width: `${weight}%` } }), steps),
    h("span", { class: "percent", "aria-hidden": "true" }, one.candidate ? `${weight} %` : one.stable ? "stable" : ""));
}

const fits = (card) => (!shown.group || card.group === shown.group) && (!shown.space || card.one.namespace === shown.space)
  && shown.search.split(/\s+/).every((word) => card.text.includes(word));

// Put the cards that fit in order; one that is where it belongs is not touched.
export function arrange() {
  const list = byId("cards");
  const sorted = [...cards.values()].sort((a, b) => (a.rank < b.rank ? -1 : 1));
  const counts = Object.fromEntries(ORDER.map((group) => [group, 0]));
  let next = list.firstElementChild, visible = 0;
  for (const card of sorted) {
    counts[card.group] += 1;
    if (!fits(card)) { if (card.item === next) next = next.nextElementSibling; card.item.remove(); continue; }
    visible += 1;
    if (card.item === next) next = next.nextElementSibling;
    else list.insertBefore(card.item, next);
  }
  return { counts, visible, all: cards.size, spaces: [...new Set(sorted.map((card) => card.one.namespace))].sort() };
}

export const get = (key) => cards.get(key)?.one;
