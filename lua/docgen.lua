-- docgen.lua -- lua/api.lua -> docs/LUA-API.md, lua/moonwire.d.lua (stubs for
-- the Lua language server) and .luacheckrc (the sandbox as a linter sees it).
--
--   lua5.4 lua/docgen.lua TOP            writes the three files
--   lua5.4 lua/docgen.lua TOP --check    fails if one of them is not as it would be written

local top, mode = arg[1] or ".", arg[2]
local api = dofile(top .. "/lua/api.lua")

local function joined(list, sep, fn)
  local out = {}
  for i, v in ipairs(list or {}) do out[i] = fn(v, i) end
  return table.concat(out, sep)
end

local function bare(name) return (name:gsub("%?$", "")) end

local function signature(item)
  if item.kind == "field" or item.kind == "value" then return item.name end
  return item.name .. "(" .. joined(item.params, ", ", function(p) return p[1] end) .. ")"
end

local function flat(text) return (text:gsub("%s*\n%s*", " ")) end

---------------------------------------------------------------- the reference

local function reference()
  local out = {}
  local function put(...) out[#out + 1] = table.concat({ ... }) end

  put("# What an app sees")
  put("")
  put("<!-- Made from lua/api.lua by lua/docgen.lua; edit that table instead. -->")
  put("")
  put("A first app is in [WRITING-AN-APP.md](WRITING-AN-APP.md). Beside what is below an app has Lua's own")
  put("`string`, `table`, `math`, `utf8`, `coroutine`, the base functions, `os.time`, `os.clock`, `os.date` and")
  put("`debug.traceback`. There is no `io`, no `package`, no bytecode, no `__gc`. Where the server runs on")
  put("a Lua before 5.4.8, as on Debian 12, there are two things less that it is not safe with: `__concat`, and weak")
  put("values (`__mode = \"k\"` is there, alone in its metatable).")
  put("")
  put("Expected failures return `nil`, a short stable word, and a detail; wrong argument types raise an error that")
  put("names the argument. Only what is marked **[await]** lets other handlers of the app run meanwhile.")
  for _, section in ipairs(api) do
    put("")
    put("## ", section.title)
    if section.text ~= "" then
      put("")
      put(flat(section.text))
    end
    for _, item in ipairs(section.items) do
      put("")
      put("### `", signature(item), "`", item.await and " **[await]**" or "")
      put("")
      if item.type then put("*", item.type, "* · ", flat(item.text)) else put(flat(item.text)) end
      local lines = {}
      for _, p in ipairs(item.params or {}) do
        if p[3] ~= "" or p[2] ~= "" then
          lines[#lines + 1] = "- `" .. p[1] .. "`: " .. p[2]:gsub("|", " \\| ") .. (p[3] ~= "" and ", " .. p[3] or "")
        end
      end
      for _, o in ipairs(item.options or {}) do
        lines[#lines + 1] = "  - `" .. o[1] .. "`: " .. o[2]:gsub("|", " \\| ") .. ", " .. o[3]
      end
      for i, r in ipairs(item.returns or {}) do
        lines[#lines + 1] = (i == 1 and "- returns " or "- and ") .. r[1]:gsub("|", " \\| ") .. (r[2] ~= "" and ": " .. r[2] or "")
      end
      if #lines > 0 then
        put("")
        put(table.concat(lines, "\n"))
      end
    end
  end
  return table.concat(out, "\n") .. "\n"
end

---------------------------------------------------------------- the stubs

local function stubs()
  local out = { "---@meta", "-- Made from lua/api.lua by lua/docgen.lua; edit that table instead.", "" }
  local function put(line) out[#out + 1] = line end
  local tables, classes = {}, {}

  put("---@class queue\n---@field messages integer\n---@field bytes integer\n---@field dropped integer\n")
  put("---@class json_null\n")
  put("---@class connection\n---@field user? string\n---@field data? table\n---@field rooms? string[]\n"
    .. "---@field protocol? string\n---@field headers? table<string, string|string[]>\n")
  for _, section in ipairs(api) do
    for _, item in ipairs(section.items) do
      for _, p in ipairs(item.params or {}) do
        if item.options and (p[2]:match("_options$") or p[2] == "room_rule") and not classes[p[2]] then
          classes[p[2]] = true
          put("---@class " .. p[2])
          for _, o in ipairs(item.options) do put("---@field " .. o[1] .. "? " .. o[2] .. " " .. o[3]) end
          put("")
        end
      end
    end
  end
  local function declare_class(name, section)
    if classes[name] then return end
    classes[name] = true
    put("---@class " .. name)
    for _, item in ipairs(section.items) do
      local owner, field = item.name:match("^(%w+)%.([%w_]+)$")
      if owner == name and item.kind == "field" then put("---@field " .. field .. " " .. item.type .. " " .. flat(item.text)) end
    end
    put("local " .. name .. "_class = {}")
    put("")
  end
  for _, section in ipairs(api) do
    if section.class then declare_class(section.class, section) end
    for _, item in ipairs(section.items) do
      local owner = item.name:match("^([%w_]+)%.")
      if item.class then declare_class(item.class, section) end
      if owner and item.kind ~= "field" and not tables[owner] then
        tables[owner] = true
        if owner == "clients" then
          put("---@class clients_table\n---@overload fun(): fun(): client?\nclients = {}\n")
        else
          put(owner .. " = {}\n")
        end
      end
      if item.kind ~= "field" and item.name ~= "clients" then
        put("--- " .. flat(item.text))
        if item.kind == "value" then
          put("---@type " .. item.type)
          put(item.name .. " = nil\n")
        else
          if item.await then put("---@async") end
          for _, p in ipairs(item.params or {}) do
            put("---@param " .. p[1] .. " " .. p[2] .. (p[3] ~= "" and " " .. p[3] or ""))
          end
          for _, r in ipairs(item.returns or {}) do put("---@return " .. r[1] .. (r[2] ~= "" and " # " .. r[2] or "")) end
          local name = item.name
          if item.kind == "method" then name = name:gsub("^(%w+):", "%1_class:") end
          put("function " .. name .. "(" .. joined(item.params, ", ", function(p) return bare(p[1]) end) .. ") end\n")
        end
      end
    end
  end
  put("---@class app_table")
  for _, section in ipairs(api) do
    for _, item in ipairs(section.items) do
      local field = item.name:match("^app%.([%w_]+)$")
      if field then put("---@field " .. field .. " " .. item.type .. " " .. flat(item.text)) end
    end
  end
  put("app = {}")
  return table.concat(out, "\n") .. "\n"
end

---------------------------------------------------------------- the linter

local standard = {
  "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs", "pcall", "print",
  "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type",
  "xpcall", "_VERSION", "_G",
}
local libraries = {
  coroutine = true, debug = { "traceback" }, math = true, os = { "time", "clock", "date" },
  string = true, table = true, utf8 = true,
}

local function luacheckrc()
  local handlers, globals, seen = {}, {}, {}
  for _, name in ipairs(standard) do seen[name] = true end
  for _, section in ipairs(api) do
    for _, item in ipairs(section.items) do
      if item.kind == "event" then handlers[#handlers + 1] = item.name end
      local name = item.name:match("^([%w_]+)")
      if item.kind ~= "event" and item.kind ~= "method" and not seen[name]
        and name ~= "client" and name ~= "request" and not (item.kind == "field" and name == "room") then
        seen[name] = true
        globals[#globals + 1] = name
      end
    end
  end
  for name in pairs(libraries) do globals[#globals + 1] = name end
  for _, name in ipairs(standard) do globals[#globals + 1] = name end
  table.sort(globals)
  table.sort(handlers)
  local function list(names)
    local out, line = {}, "   "
    for _, name in ipairs(names) do
      if #line + #name > 88 then
        out[#out + 1] = line
        line = "   "
      end
      line = line .. ' "' .. name .. '",'
    end
    out[#out + 1] = line
    return table.concat(out, "\n")
  end
  return table.concat({
    "-- Made from lua/api.lua by lua/docgen.lua; edit that table instead.",
    "-- What apps may use is what the sandbox has; our own tools are plain Lua 5.4.",
    'std = "none"',
    "max_line_length = 120",
    "allow_defined_top = false",
    "",
    'local apps = { "apps/**", "lua/templates/**", "tests/bench/apps/**", "tests/lua/app/**" }',
    "local sandbox = {",
    list(globals),
    "}",
    "local handlers = {",
    list(handlers),
    "}",
    "for _, place in ipairs(apps) do",
    "  files[place] = { read_globals = sandbox, globals = handlers }",
    "end",
    'for _, place in ipairs { "lua/*.lua", "tests/lua/**" } do',
    '  files[place] = { std = "lua54", max_line_length = false }',
    "end",
    'exclude_files = { "build/**", "lua/moonwire.d.lua", "tests/hostile/**" }',
  }, "\n") .. "\n"
end

---------------------------------------------------------------- writing

local files = {
  { "docs/LUA-API.md", reference() },
  { "lua/moonwire.d.lua", stubs() },
  { ".luacheckrc", luacheckrc() },
}
local stale = false
for _, file in ipairs(files) do
  local path, text = top .. "/" .. file[1], file[2]
  if mode == "--check" then
    local f = io.open(path, "rb")
    local old = f and f:read("a")
    if f then f:close() end
    if old ~= text then
      stale = true
      io.stderr:write(file[1], " is not what lua/api.lua says: run lua5.4 lua/docgen.lua .\n")
    end
  else
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
  end
end
os.exit(stale and 1 or 0)
