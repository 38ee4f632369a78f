-- Ends the step that the candidate is in: one gate.
local os = require("os")
local candidate = (obj.status or {}).candidate
assert(candidate, "no version is being tried: there is nothing to promote")
local step = (obj.status.rollout or {}).step or 0
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/promote"] =
  candidate.revision .. "/" .. step .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
