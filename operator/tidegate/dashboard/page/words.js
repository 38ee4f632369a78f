// How things are said: groups, symbols, times and numbers.  Reads what a status may leave out.

export const GROUPS = {
  waits: { title: "Waiting for you", symbol: "!", tone: "warn" },
  failed: { title: "In trouble", symbol: "✕", tone: "bad" },
  moving: { title: "Rolling out", symbol: "↗", tone: "busy" },
  serving: { title: "Serving", symbol: "✓", tone: "good" },
};
export const VERDICTS = {
  pass: { tone: "good", symbol: "✓" }, fail: { tone: "bad", symbol: "✕" }, undecided: { tone: "warn", symbol: "…" },
};
const FAILED = new Set(["Failed", "Refused", "Returning"]);

export const condition = (one, type) => (one.conditions ?? []).find((row) => row.type === type);
const holds = (one, type) => condition(one, type)?.status === "True";

export const isPaused = (one) => Boolean(one.paused || one.pausedBySpec);

export function groupOf(one) {
  if (FAILED.has(one.phase) || holds(one, "Stalled") || holds(one, "Degraded")) return "failed";
  if (one.rollout?.holdReason === "WaitingForPromote" || (isPaused(one) && one.candidate)) return "waits";
  if (one.candidate || one.rollout || !one.stable) return "moving";
  return condition(one, "Ready")?.status === "False" ? "failed" : "serving";
}

// What it waits for, else what is wrong, else nothing.
export function reasonOf(one) {
  if (one.rollout?.holdReason) return { reason: one.rollout.holdReason, message: one.rollout.holdMessage ?? "" };
  for (const type of ["Stalled", "Degraded", "Reconciling"]) {
    const row = condition(one, type);
    if (row?.status === "True") return { reason: row.reason, message: row.message ?? "" };
  }
  const ready = condition(one, "Ready");
  if (ready && ready.status !== "True") return { reason: ready.reason, message: ready.message ?? "" };
  return { reason: "", message: one.phase ? "" : "no operator has seen it yet" };
}

export const phaseOf = (one) => (one.deleting ? "Deleting" : one.phase || "Unseen");

export function ago(at, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(at)) / 1000));
  if (Number.isNaN(seconds)) return "";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) if (seconds >= size) return `${Math.floor(seconds / size)}${unit}`;
  return `${seconds}s`;
}

const WHOLE = new Intl.NumberFormat("en");
const ROUNDED = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
export const whole = (value) => (value === undefined ? "–" : WHOLE.format(value));
export const rounded = (value, unit = "", times = 1) => (value === undefined || value === null ? "–" : ROUNDED.format(value * times) + unit);
export const shortDigest = (digest) => (digest ?? "").slice(0, 19);

// Which acts can make sense now; the command itself decides, by the object as it then is.
export function actsOf(one) {
  const phase = one.rollout?.phase, active = ["Proving", "Shifting", "Holding"].includes(phase);
  const step = one.rollout?.step ?? 0;
  return {
    promote: Boolean(one.candidate && active && step > 0 && one.rollout.promotedStep !== step && !one.rollout.full),
    "promote-full": Boolean(one.candidate && active && !one.rollout.full),
    abort: Boolean((one.candidate && active) || phase === "Watching"),
    [one.paused ? "resume" : "pause"]: true,
    ...(holds(one, "Stalled") ? { retry: true } : {}),
  };
}

// Since when the stable version is it, where that is known.
export const promotedAt = (one) => (one.history ?? []).filter((row) => row.outcome === "Promoted" && row.revision === one.stable?.revision).at(-1)?.at;
