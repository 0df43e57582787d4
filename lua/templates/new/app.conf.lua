-- Settings of @NAME@. All of them are optional; the values shown are the
-- defaults. Sizes are bytes or "1MB", times are seconds or "30s".
return {
  -- message = { max = "1MB" },           -- longer ones are closed with 1009
  -- outbox = {                           -- what waits for a client that lags
  --   policy = "close",                  -- close | drop_oldest | drop_newest
  --   hard = "1MB",                      -- never more than this
  --   soft = 256, soft_for = "2s",       -- messages, and for how long
  -- },
  -- limits = { cpu = "100ms", memory = "64MB", clients = 100000 },
  -- ping = "30s",                        -- to clients that are silent
  -- origins = { "https://example.com" }, -- pages of other hosts that may connect
  -- env = { GREETING = "hello" },        -- env.GREETING in main.lua
}
