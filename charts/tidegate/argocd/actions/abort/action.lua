-- Sends the candidate back; after a promotion, while the old version is warm, returns to that one.
local os = require("os")
local status = obj.status or {}
local watched = (status.rollout or {}).phase == "Watching" and status.stable or nil
local version = status.candidate or watched
assert(version, "no version is being tried: there is nothing to abort")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/abort"] = version.revision .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
