-- luacheck settings; the list of what an app may use replaces `read_globals`
-- once it is generated from lua/api.lua.
std = "lua54"
codes = true
max_line_length = 100
