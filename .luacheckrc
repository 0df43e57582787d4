-- Made from lua/api.lua by lua/docgen.lua; edit that table instead.
-- What apps may use is what the sandbox has; our own tools are plain Lua 5.4.
std = "none"
max_line_length = 120
allow_defined_top = false

local apps = { "apps/**", "lua/templates/**", "tests/bench/apps/**", "tests/lua/app/**" }
local sandbox = {
    "_G", "_VERSION", "app", "assert", "broadcast", "clients", "collectgarbage",
    "coroutine", "crypto", "debug", "env", "error", "getmetatable", "ipairs", "json",
    "limit", "load", "lock", "log", "math", "next", "os", "pairs", "pcall", "print",
    "rawequal", "rawget", "rawlen", "rawset", "require", "room", "rooms", "select",
    "setmetatable", "sleep", "string", "table", "task", "time", "timer", "tonumber",
    "tostring", "type", "utf8", "xpcall",
}
local handlers = {
    "on_close", "on_connect", "on_drain", "on_error", "on_message", "on_open", "on_request",
    "on_slow", "on_start", "on_stop",
}
for _, place in ipairs(apps) do
  files[place] = { read_globals = sandbox, globals = handlers }
end
for _, place in ipairs { "lua/*.lua", "tests/lua/**" } do
  files[place] = { std = "lua54", max_line_length = false }
end
exclude_files = { "build/**", "lua/moonwire.d.lua", "tests/hostile/**" }
