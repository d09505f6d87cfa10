-- Releases several tasks and takes the next ones: one round trip for a batch. Each command moves as many as it can.
-- KEYS[1..6]  as release.lua
-- ARGV[1..2]  as ARGV[3..4] of advance.lua
-- ARGV[3]     lease (ms)
-- ARGV[4]     default allowance (ms), for tasks that have none
-- ARGV[5]     holder of all that are taken, as in dequeue.lua
-- ARGV[6]     how many to take at most, some hundreds (Lua's `unpack` ends at 8000)
-- ARGV[7]     most bytes of the payloads that are taken; one task is always taken
-- ARGV[8..]   what is to be released: payload, tokens, payload, tokens, ...
-- Returns     {what release returns for each, as digits; payload, token, payload, token, ...}
-- Takes as many as there are notifications to pop, and a payload that waits twice once. The tokens are a microsecond
-- apart, or they would not be unique.
-- A crash before leaves the first tasks to be swept; one after leaves the last to be swept or reclaimed.
local waiting, notifications, enqueued, dequeued, leases, losses = unpack(KEYS)

local released, done, ended = {}, {}, {}
for index = 8, #ARGV, 2 do
    local score = held(dequeued, ARGV[index], ARGV[index + 1])
    if score then
        done[#done + 1] = ARGV[index]
        ended[#ended + 1] = score_text(score)
        released[#released + 1] = 1
    else -- seldom: it was lost meanwhile
        released[#released + 1] = release(
            waiting, notifications, enqueued, dequeued, leases, losses, ARGV[index], ARGV[index + 1])
    end
end
redis.call('hdel', leases, '') -- needs no room, see common.lua
if #done > 0 then
    redis.call('zrem', dequeued, unpack(done))
    redis.call('hdel', leases, unpack(ended))
    redis.call('zrem', enqueued, unpack(done))
    redis.call('hdel', losses, unpack(done))
end
if ARGV[1] ~= '' and redis.call('hexists', leases, ARGV[1]) == 1 then
    redis.call('hset', leases, ARGV[1], ARGV[2])
end

local reply, seen, taken, scores, holders, missing = {table.concat(released)}, {}, {}, {}, {}, {}
local most, bytes_left = math.min(tonumber(ARGV[6]), redis.call('llen', notifications)), tonumber(ARGV[7])
local now = now_ms() + tonumber(ARGV[3])
while #taken < most do
    local payload = redis.call('lindex', waiting, #taken)
    if not payload then
        if #taken == 0 then
            redis.call('del', notifications) -- nothing waits: all of them are surplus
        else
            redis.call('ltrim', notifications, 0, #taken - 1)
        end
        break
    end
    bytes_left = bytes_left - #payload
    if seen[payload] or (bytes_left < 0 and #taken > 0) then
        break
    end
    seen[payload] = true
    local token = score_text(now + #taken / 1000)
    taken[#taken + 1] = payload
    reply[#reply + 1], reply[#reply + 2] = payload, token
    scores[#scores + 1], scores[#scores + 2] = token, payload
    holders[#holders + 1], holders[#holders + 2] = token, ARGV[5]
    if not redis.call('zscore', enqueued, payload) then
        missing[#missing + 1], missing[#missing + 2] = ARGV[4], payload
    end
end
if #taken == 0 then
    return reply
end
if #missing > 0 then
    redis.call('zadd', enqueued, unpack(missing))
end
redis.call('zadd', dequeued, unpack(scores))
redis.call('hset', leases, unpack(holders))
redis.call('ltrim', waiting, #taken, -1)
redis.call('ltrim', notifications, #taken, -1)
return reply
