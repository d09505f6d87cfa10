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
-- Takes as many as there are notifications to pop, and a payload that waits twice once. One that has been lost is taken
-- alone: of those that are taken together, only the first is counted as lost if it takes its machine down. The tokens are
-- a microsecond apart, or they would not be unique.
-- A crash before leaves the first tasks to be swept; one after leaves the last to be swept or reclaimed.
local waiting, notifications, enqueued, dequeued, leases, losses = unpack(KEYS)
check_types(waiting, false, enqueued, leases, losses)
local notified = redis.call('llen', notifications) -- which is its check

local released, done, ended, scores = {}, {}, {}, {}
for index = 8, #ARGV, 2 do
    local payload, tokens = ARGV[index], ARGV[index + 1]
    local score = held(dequeued, payload, tokens)
    if score then
        done[#done + 1], ended[#ended + 1], scores[#scores + 1] = payload, tokens, score
        released[#released + 1] = '1'
    else -- seldom: it was lost meanwhile
        released[#released + 1] = release(
            waiting, notifications, enqueued, dequeued, leases, losses, payload, tokens)
        notified = redis.call('llen', notifications)
    end
end
if redis.call('hdel', leases, '', unpack(ended)) < #done then -- needs no room, see common.lua
    for _, score in ipairs(scores) do -- one of several tokens was found
        redis.call('hdel', leases, score_text(score))
    end
end

local taken, seen, ran_out, some_were_lost = {}, {}, false, redis.call('exists', losses) == 1
local most, bytes_left = math.min(tonumber(ARGV[6]), notified), tonumber(ARGV[7])
while #taken < most and not ran_out do
    local found = redis.call('lrange', waiting, #taken, math.min(#taken + 3, most - 1)) -- few, for they may be large
    for _, payload in ipairs(found) do
        bytes_left = bytes_left - #payload
        local alone = some_were_lost and redis.call('hget', losses, payload)
        if seen[payload] or (#taken > 0 and (alone or bytes_left < 0)) then
            most = #taken
            break
        end
        seen[payload] = true
        taken[#taken + 1] = payload
        if alone then
            most = 1
            break
        end
    end
    ran_out = #found == 0
end

-- Redis keeps up to 128 members, or 512 fields, that are all short in a list, which it searches from end to end, reading
-- each score as text. A longer one, be it for a moment, makes it build an index, which stays while there are others.
local long = string.rep(' ', 65)
if #done + #taken > 8 then
    redis.call('zadd', dequeued, '0', long)
    redis.call('hset', leases, long, '')
end
if #done > 0 then
    redis.call('zrem', dequeued, unpack(done))
    redis.call('zrem', enqueued, unpack(done))
    redis.call('hdel', losses, unpack(done))
end

local reply, members, defaults, holders = {table.concat(released)}, {}, {}, {}
if ARGV[1] ~= '' then
    holders = {ARGV[1], ARGV[2]}
end
local first = score_text(now_ms() + ARGV[3])
local whole, thousandths = string.sub(first, 1, -4), tonumber(string.sub(first, -3))
for index, payload in ipairs(taken) do
    local at = thousandths + index - 1
    local token = at < 1000 and whole .. string.format('%03d', at) or score_text(first + (index - 1) / 1000)
    members[#members + 1], members[#members + 2] = token, payload
    defaults[#defaults + 1], defaults[#defaults + 2] = ARGV[4], payload
    holders[#holders + 1], holders[#holders + 2] = token, ARGV[5]
    reply[#reply + 1], reply[#reply + 2] = payload, token
end
if #taken > 0 then
    redis.call('zadd', enqueued, 'nx', unpack(defaults))
    redis.call('zadd', dequeued, unpack(members))
    redis.call('ltrim', waiting, #taken, -1)
end
redis.call('zrem', dequeued, long)
if #holders > 0 and redis.call('hset', leases, unpack(holders)) > #taken then
    redis.call('hdel', leases, ARGV[1]) -- that one was new: it has ended meanwhile
end
redis.call('hdel', leases, long)
if ran_out then
    redis.call('del', notifications) -- nothing waits: those that are left are surplus
elseif #taken > 0 then
    redis.call('ltrim', notifications, #taken, -1)
end
return reply
