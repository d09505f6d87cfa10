-- As advance.lua, where a worker has several queues: takes the next task from the first of them that has one.
-- KEYS[1..6]   as release.lua, of the queue of the task that is released
-- KEYS[7]      leases of the queue of the task that has begun now
-- KEYS[8..12]  of the queue that is asked first: KEYS[1..5] of dequeue.lua
-- KEYS[13..17] of the one that is asked next, and so on for each of the others
-- ARGV[1..4]   as advance.lua
-- ARGV[5..7]   mode, lease and holder, as ARGV[1], ARGV[2] and ARGV[4] of dequeue.lua
-- ARGV[8..9]   default allowance (ms) of the first and the next, and so on
-- Returns      {what release returns, which queue (from 1), payload, token}, or {what release returns} if nothing waits
-- A crash before leaves the first task to be swept; one after leaves the last to be swept or reclaimed.
local released = 1
if ARGV[1] ~= '' then
    released = release(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2])
end
if ARGV[3] ~= '' then
    redis.call('hdel', KEYS[7], '') -- needs no room, see common.lua
    if redis.call('hset', KEYS[7], ARGV[3], ARGV[4]) == 1 then
        redis.call('hdel', KEYS[7], ARGV[3]) -- it is new: its lease has ended meanwhile
    end
end
for queue = 1, #ARGV - 7 do
    local at = 7 + 5 * (queue - 1)
    local taken = take(KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4], KEYS[at + 5],
        ARGV[5], ARGV[6], ARGV[7 + queue], ARGV[7])
    if taken then
        return {released, queue, taken[1], taken[2]}
    end
end
return {released}
