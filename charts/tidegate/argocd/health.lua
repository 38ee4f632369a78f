-- The health of a ModelDeployment in Argo CD: Healthy, Progressing, Suspended or Degraded, and what to do next.
-- The order is that of kstatus, so that Flux and Argo CD say the same of the same object; docs/argocd.md has the table.
-- Argo CD gives neither string nor math nor io: text is joined, never formatted.

local spec = obj.spec or {}
local status = obj.status or {}
local rollout = status.rollout or {}
local stable, candidate = status.stable, status.candidate

local BY_ITSELF = {Resolving = true, StepHold = true, Converging = true}
local EVIDENCE = {
  TooFewRequests = true, NoTraffic = true, Undecided = true, EvidenceMissing = true, SyntheticFailing = true,
}

local function health(word, message, next_step)
  return {status = word, message = message .. "; " .. next_step}
end

local function condition(kind)
  for _, one in ipairs(status.conditions or {}) do
    if one.type == kind then
      return one
    end
  end
  return {}
end

local function said(one)
  local reason, message = one.reason or "no reason", one.message or ""
  return message == "" and reason or reason .. ": " .. message
end

local function name(version)
  return version.version or version.revision or "a version"
end

local function holds(one)
  return one.status == "True"
end

local ready, promoted, degraded = condition("Ready"), condition("Promoted"), condition("Degraded")
local reconciling, stalled = condition("Reconciling"), condition("Stalled")

local function serving()
  return stable and name(stable) .. " goes on serving" or "nothing serves"
end

-- With `Replace` a single server stops before the next one starts, which its spec allows.
local function nobody_is_served()
  local downtime = rollout.surge == "Replace" and (rollout.live or 1) <= 1
  return stable and not holds(ready) and not downtime
end

local function rejected()
  local found = {}
  for _, one in ipairs(status.rejected or {}) do
    if one.reason == stalled.reason then
      found = one
    end
  end
  return found
end

local function under_way()
  if not candidate then
    return said(reconciling)
  end
  local what = " goes back ("
  if rollout.phase ~= "Returning" then
    what = " has " .. (candidate.weight or 0) .. " % (step " .. (rollout.step or 0) .. ", "
  end
  return name(candidate) .. what .. said(reconciling) .. ")"
end

local function way_on()
  if rollout.phase == "Returning" or BY_ITSELF[reconciling.reason] then
    return "nothing to do"
  end
  if EVIDENCE[reconciling.reason] then
    return "requests decide; promote goes on without them, abort goes back"
  end
  if reconciling.reason == "SharedDegradation" then
    return "both versions are bad alike: look at what they depend on, or abort"
  end
  return "it goes back by itself after rollout.progressDeadline; docs/errors.md says what is missing"
end

local function after_refusal()
  local record = rejected()
  if record.class == "Environment" then
    local at = record.retryAt and " at " .. record.retryAt or ""
    return "it is tried again by itself" .. at .. ", at once with retry"
  end
  if record.class == "Command" then
    return "a person decided this: name in Git what is to serve, or retry"
  end
  return "correct the bundle or the manifest in Git, or retry"
end

if status.observedGeneration == nil or status.observedGeneration ~= (obj.metadata or {}).generation then
  return health("Progressing", "the operator has not seen this change yet", "if this lasts, look at its pods")
end
if nobody_is_served() then
  return health("Degraded", "no request is answered: " .. said(ready), "look at the pods of " .. name(stable))
end
if holds(reconciling) then
  if reconciling.reason == "WaitingForPromote" then
    return health("Suspended", under_way(), "promote goes on, abort goes back")
  end
  if reconciling.reason == "Paused" then
    return health("Suspended", under_way(), spec.paused and "set spec.paused to false in Git" or "resume goes on")
  end
  return health("Progressing", under_way(), way_on())
end
if holds(stalled) then
  return health("Degraded", said(stalled) .. "; " .. serving(), after_refusal())
end
if not holds(promoted) then
  return health("Progressing", said(promoted), "if this lasts, look at the operator's log")
end
if holds(degraded) and degraded.reason == "StableNotReady" then
  return health("Progressing", said(degraded), "Kubernetes starts what is missing; if this lasts, look at the pods")
end
if holds(degraded) then
  return health("Degraded", said(degraded) .. "; " .. serving(), "docs/errors.md says what to do")
end
if status.phase == "Watching" and rollout.previous then
  local warm = name(rollout.previous) .. " is kept warm" .. (rollout["until"] and " until " .. rollout["until"] or "")
  return health("Healthy", said(promoted) .. "; " .. warm, "abort returns to it")
end
return health("Healthy", said(promoted), "nothing to do")
