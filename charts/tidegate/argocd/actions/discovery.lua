-- Which actions a ModelDeployment offers now; those that would change nothing are shown and disabled.

local status = obj.status or {}
local rollout = status.rollout or {}
local stable = status.stable

local ACTIVE = {Proving = true, Shifting = true, Holding = true}

local function stalled()
  for _, one in ipairs(status.conditions or {}) do
    if one.type == "Stalled" and one.status == "True" then
      return one
    end
  end
end

-- The last other version that was stable: what actions/rollback returns to.
local function earlier()
  local found
  for _, one in ipairs(status.history or {}) do
    if stable and one.outcome == "Promoted" and one.revision ~= stable.revision then
      found = one
    end
  end
  return found
end

local trying = status.candidate ~= nil and ACTIVE[rollout.phase] == true
local watched = stable ~= nil and rollout.phase == "Watching"
local refused, back = stalled(), earlier()
local rolled_back = refused ~= nil and refused.reason == "RolledBack"
local settled = stable ~= nil and status.candidate == nil

local function action(title, icon, offered)
  return {displayName = title, iconClass = "fa fa-fw " .. icon, disabled = not offered}
end

return {
  ["promote"] = action("Promote: end this step", "fa-step-forward", trying),
  ["promote-full"] = action("Promote to 100 %", "fa-fast-forward", trying and not rollout.full),
  ["abort"] = action("Abort: back to the version before", "fa-times-circle", trying or watched),
  ["retry"] = action("Retry what was refused", "fa-redo", refused ~= nil),
  ["pause"] = action("Pause rollouts", "fa-pause-circle", not status.paused),
  ["resume"] = action("Resume rollouts", "fa-play-circle", status.paused == true),
  ["rollback"] = action(
    back and "Roll back to " .. (back.version or back.revision) or "Roll back", "fa-undo",
    settled and back ~= nil and not rolled_back
  ),
  ["restart"] = action("Restart: the same version in new pods", "fa-sync", settled),
}
