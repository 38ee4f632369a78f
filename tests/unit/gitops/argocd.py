"""What Argo CD does with the scripts of charts/tidegate/argocd, written from its util/lua and its server.

A script sees the object as the global `obj`, the base and table libraries, and by `require("os")` nothing but the time:
no string, no math, no io.  What it gives comes back as JSON, where an empty table is a list; a returned object is compared
with the live one, and the difference is sent as a JSON merge patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

SCRIPTS = Path(__file__).resolve().parents[3] / "charts/tidegate/argocd"
HEALTH = "health.lua"
DISCOVERY = "actions/discovery.lua"
ACTIONS = sorted(path.parent.name for path in SCRIPTS.glob("actions/*/action.lua"))
WORDS = ("Healthy", "Progressing", "Degraded", "Suspended")
Object = dict[str, Any]

# Strings know their library by their metatable, which a script of Argo CD must not find either.
SANDBOX = """
getmetatable("").__index = {}
local date, time, insert, concat = os.date, os.time, table.insert, table.concat
local known = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, select = select,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
}
return function(script, name, obj)
  local seen = {obj = obj, table = {insert = insert, concat = concat}}
  for key, value in pairs(known) do seen[key] = value end
  seen.require = function(library)
    assert(library == "os", "module not found: " .. library)
    return {date = date, time = time}
  end
  return setfenv(assert(loadstring(script, "=" .. name)), seen)()
end
"""


@cache
def _lua() -> tuple[LuaRuntime, Any]:
    runtime = LuaRuntime(register_eval=False, register_builtins=False)
    return runtime, runtime.execute(SANDBOX)


def run(script: str, obj: Mapping[str, Any], name: str = "script") -> Any:
    """What a script gives for an object, as JSON would carry it; raises LuaError where the script fails."""
    runtime, sandboxed = _lua()
    return _encoded(sandboxed(script, name, _decoded(runtime, obj)), [])


def _run(name: str, obj: Mapping[str, Any]) -> Any:
    return run((SCRIPTS / name).read_text(), obj, name)


def _decoded(runtime: LuaRuntime, value: Any) -> Any:
    """A null is not there: Lua has no table with a nil in it."""
    if isinstance(value, Mapping):
        return runtime.table_from({key: _decoded(runtime, one) for key, one in value.items() if one is not None})
    if isinstance(value, list | tuple):
        return runtime.table_from([_decoded(runtime, one) for one in value])
    return value


def _encoded(value: Any, around: list[Any]) -> Any:
    if lua_type(value) != "table":
        return value
    assert not any(value == table for table in around), "the JSON encoder of Argo CD refuses a table that is met twice"
    around.append(value)
    entries = list(value.items())
    if all(isinstance(key, int) for key, _ in entries):  # an empty table too
        return [_encoded(one, around) for _, one in entries]
    assert all(isinstance(key, str) for key, _ in entries), "the JSON encoder of Argo CD refuses mixed keys"
    return {key: _encoded(one, around) for key, one in entries}


def health(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Argo CD's word for an object, and the message beside it."""
    found = _run(HEALTH, obj)
    assert set(found) == {"status", "message"}, found
    return found["status"], found["message"]


def offered(obj: Mapping[str, Any]) -> dict[str, Object]:
    """The actions that are shown, by name."""
    found = _run(DISCOVERY, obj)
    assert isinstance(found, dict)
    return found


def enabled(obj: Mapping[str, Any]) -> set[str]:
    """The actions that can be chosen."""
    return {name for name, action in offered(obj).items() if not action["disabled"]}


def patch_of(action: str, obj: Mapping[str, Any]) -> Object:
    """The merge patch that Argo CD sends for an action; {} where the object stays as it is."""
    changed = _run(f"actions/{action}/action.lua", obj)
    return _difference(obj, _cleaned(changed, obj))


def _cleaned(new: Any, old: Any) -> Any:
    """Lists that were empty maps before the script are maps again."""
    if isinstance(new, dict) and isinstance(old, Mapping):
        return {key: _cleaned(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, Mapping) and not new:
        return dict(old)
    if isinstance(new, list) and isinstance(old, list):
        return [_cleaned(one, before) for one, before in zip(new, old, strict=True)]
    return new


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7396) from one object to another."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), Mapping):
            if inner := _difference(old[key], value):
                patch[key] = inner
        elif key not in old or old[key] != value:
            patch[key] = value
    return patch
