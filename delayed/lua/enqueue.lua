-- Adds tasks, all or none: payloads that wait, each with its notification and its allowance.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  producer       string: number of this producer's last call, and the first of the ids reserved for it, or 0
-- KEYS[5]  id             string: the last id handed out
-- ARGV[1]  number of this call; a repetition has the same
-- ARGV[2]  the id of the first task, reserved before; the others have those that follow. 0: the ids are the tasks' own
-- ARGV[3]  the last id that is reserved
-- ARGV[4]  how many to reserve when the tasks have used up all: 0 or 1
-- ARGV[5..1004]  allowance (ms) and payload of each task, in turn
-- Returns  the first id that is reserved now, 0 for none. The same if this very call was carried out before: a client
--          repeats a call whose reply it did not get, and by then a fast worker may have finished the task, so that no
--          other key remembers it.
--          Below 0 if nothing was added, for Redis has forgotten that these ids are reserved and might hand them out
--          again: the one without the sign is reserved instead.
-- A crash before leaves nothing, one after leaves the tasks waiting.
local last_call, reserved = string.match(redis.call('get', KEYS[4]) or '', '^(%d+) (%d+)$')
if last_call == ARGV[1] then
    return tonumber(reserved)
end
-- For ten minutes: no client goes on repeating a call for so long. (To pass a number instead of its text takes longer.)
local function note(call, first_id)
    redis.call('set', KEYS[4], string.format('%s %.0f', call, first_id), 'EX', '600')
end
local next_id = tonumber(reserved or 0)
if ARGV[2] ~= '0' then
    local last = tonumber(ARGV[3])
    next_id = ARGV[2] + (#ARGV - 4) / 2
    local one_more = next_id > last and ARGV[4] == '1'
    local newest = tonumber(redis.call(one_more and 'incr' or 'get', KEYS[5]) or 0)
    if reserved ~= ARGV[2] or newest < last + (one_more and 1 or 0) then
        newest = one_more and newest or redis.call('incr', KEYS[5])
        note(last_call or '0', newest)
        return -newest
    end
    if next_id > last then
        next_id = one_more and newest or 0
    end
end
if #ARGV == 6 then -- by far the most frequent call, and lists would cost it a sixth of its time
    redis.call('zadd', KEYS[3], ARGV[5], ARGV[6])
    redis.call('rpush', KEYS[1], ARGV[6])
    redis.call('rpush', KEYS[2], '1')
else
    local payloads, ones = {}, {}
    for index = 6, #ARGV, 2 do
        payloads[#payloads + 1] = ARGV[index]
        ones[#ones + 1] = '1'
    end
    redis.call('zadd', KEYS[3], unpack(ARGV, 5))
    redis.call('rpush', KEYS[1], unpack(payloads))
    redis.call('rpush', KEYS[2], unpack(ones))
end
note(ARGV[1], next_id)
return next_id
