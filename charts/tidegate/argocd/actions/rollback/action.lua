-- Returns to the last other version that was stable; what Git names is not tried again until it changes or `retry`.
local os = require("os")
local status = obj.status or {}
local stable, back = status.stable or {}, nil
for _, one in ipairs(status.history or {}) do
  if one.outcome == "Promoted" and one.revision ~= stable.revision then
    back = one
  end
end
assert(back, "no earlier version has served: there is nothing to roll back to")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serving.tidegate.io/rollback-to"] = back.revision .. "@" .. os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
