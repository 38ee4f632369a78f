-- Forgets what stands against the manifest, or against the version that a person wants back.
local os = require("os")
local status = obj.status or {}
local named = (status.resolution or {}).revision or "any"
local back = status.rollback or ""
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/retry"] =
  (back ~= "" and back or named ~= "" and named or "any") .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
