-- spec.lua -- tests that run inside the sandbox, reported as TAP.
--
--   local spec = ...
--   local it, expect = spec.it, spec.expect
--   it("adds", function() expect(1 + 1).is(2) end)
--
-- A test that raises has failed. After each one everything that it left
-- behind is collected, so that what only lives by accident dies here. What
-- runs the specs calls `finish` last. In an app the tests wait for on_start,
-- where they may await: `defer` comes first, then `run`.

local spec = {}

local count, failed = 0, 0
local prefix = ""
local pending = {} -- counted functions of the test that runs

local function show(value)
  return type(value) == "string" and string.format("%q", value) or tostring(value)
end

local function is_same(a, b, seen)
  if rawequal(a, b) or a == b then
    return math.type(a) == math.type(b)
  end
  if type(a) ~= "table" or type(b) ~= "table" then
    return false
  end
  seen = seen or {}
  if seen[a] == b then
    return true
  end
  seen[a] = b
  for k, v in next, a do
    if not is_same(v, b[k], seen) then
      return false
    end
  end
  for k in next, b do
    if a[k] == nil then
      return false
    end
  end
  return true
end

local function check(ok, ...)
  if not ok then
    error(string.format(...), 3)
  end
end

-- Claims about a value. `is` wants the same value, `equals` the same contents;
-- both keep 1 and 1.0 apart.
function spec.expect(value)
  local claims = {}
  function claims.is(wanted)
    local same = rawequal(value, wanted) or value == wanted
    check(same and math.type(value) == math.type(wanted), "expected %s, got %s",
      show(wanted), show(value))
  end
  function claims.equals(wanted)
    check(is_same(value, wanted), "expected the contents of %s, got %s", show(wanted), show(value))
  end
  function claims.is_a(wanted)
    check(type(value) == wanted, "expected a %s, got %s", wanted, show(value))
  end
  function claims.matches(pattern)
    check(type(value) == "string" and value:find(pattern), "expected a match for %q, got %s",
      pattern, show(value))
  end
  function claims.contains(text)
    check(type(value) == "string" and value:find(text, 1, true), "expected %q in %s", text,
      show(value))
  end
  -- The value is a function that must raise a string with `text` in it.
  function claims.fails_with(text)
    local ok, err = pcall(value)
    check(not ok, "expected an error with %q", text)
    check(type(err) == "string" and err:find(text, 1, true), "expected the error %q, got %s", text,
      show(err))
  end
  return claims
end

-- A function that must have been called `times` times when the test ends.
function spec.counted(times, body)
  local entry = { wanted = times, calls = 0 }
  pending[#pending + 1] = entry
  return function(...)
    entry.calls = entry.calls + 1
    if body then
      return body(...)
    end
  end
end

local function check_counted()
  for _, entry in ipairs(pending) do
    if entry.calls ~= entry.wanted then
      error(string.format("expected %d calls, got %d", entry.wanted, entry.calls), 0)
    end
  end
end

local deferred -- tests to be run later; nil: each runs at once

local function run(name, body)
  pending = {}
  local ok, trace = xpcall(function()
    body()
    check_counted()
  end, debug.traceback)
  collectgarbage()
  collectgarbage()
  count = count + 1
  if ok then
    print(string.format("ok %d - %s", count, name))
  else
    failed = failed + 1
    print(string.format("not ok %d - %s", count, name))
    print("  # " .. tostring(trace):gsub("\n", "\n  # "))
  end
end

function spec.it(name, body)
  if deferred then
    deferred[#deferred + 1] = { prefix .. name, body }
  else
    run(prefix .. name, body)
  end
end

function spec.defer()
  deferred = {}
end

function spec.run()
  for _, test in ipairs(deferred) do
    run(test[1], test[2])
  end
end

-- A group of tests: its name stands before theirs.
function spec.describe(name, body)
  local outer = prefix
  prefix = prefix .. name .. " "
  body()
  prefix = outer
end

-- How many tests ran, and how many of them failed.
function spec.finish()
  print("1.." .. count)
  return count, failed
end

return spec
