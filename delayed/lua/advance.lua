-- Releases one task and takes the next: a busy worker's one round trip a task.
-- KEYS, ARGV[1..2]  as release.lua
-- ARGV[3..6]        as ARGV[1..4] of dequeue.lua
-- Returns  {what release returns, payload, token}, or {what release returns} if nothing waits
-- A crash before leaves the first task to be swept; one after leaves the second to be swept or reclaimed.
local released = release(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2])
local taken = take(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
if not taken then
    return {released}
end
return {released, taken[1], taken[2]}
