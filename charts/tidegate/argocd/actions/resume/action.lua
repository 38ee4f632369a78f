-- Ends what the pause command began; spec.paused is Git's.
local os = require("os")
local status = obj.status or {}
local version = status.candidate or status.stable or {}
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/resume"] =
  (version.revision or "any") .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
