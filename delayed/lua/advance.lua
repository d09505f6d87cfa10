-- Releases one task and takes the next: a busy worker's one round trip a task, made while it runs the one between them.
-- KEYS[1..6]  as release.lua
-- ARGV[1..2]  as release.lua; no payload: nothing to release
-- ARGV[3]     token of a task that was taken ahead and has begun now; empty: none has
-- ARGV[4]     its holder: from now on, losing it counts as a loss
-- ARGV[5..8]  as ARGV[1..4] of dequeue.lua
-- Returns     {what release returns, payload, token}, or {what release returns} if nothing waits
-- A crash before leaves the first task to be swept; one after leaves the last to be swept or reclaimed.
local released = 1
if ARGV[1] ~= '' then
    released = release(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2])
end
local begun = ARGV[3] ~= '' and ARGV[3]
local taken = take(
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[5], ARGV[6], ARGV[7], ARGV[8], begun, ARGV[4])
if not taken then
    if begun and redis.call('hset', KEYS[5], begun, ARGV[4]) == 1 then
        redis.call('hdel', KEYS[5], begun)
    end
    return {released}
end
return {released, taken[1], taken[2]}
