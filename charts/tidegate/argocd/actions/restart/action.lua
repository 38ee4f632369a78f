-- A canary of the same bundle in new pods: fresh processes, fresh secrets.
local os = require("os")
local stable = (obj.status or {}).stable
assert(stable, "no version serves: there is nothing to restart")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/restart"] = stable.revision .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
