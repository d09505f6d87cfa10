-- Notes that a worker is alive and what it tells of itself, and how far the queue has come: for operators.
-- KEYS[1]  workers  hash: name of a worker -> when it told last, how long that holds (ms), and JSON of its own
-- KEYS[2]  pace     list, newest first: from when to when (Unix ms) a payload was the last of those that wait, how many
--                   workers had taken by then, how many waited; and in a second line that payload, empty for none
-- KEYS[3]  waiting  list of payloads, next on the left
-- ARGV[1]  name of the worker
-- ARGV[2]  how long it holds (ms)
-- ARGV[3]  JSON
-- ARGV[4]  `first`: the worker has just begun; so those that told nothing for long are forgotten. Else `again`
-- ARGV[5]  how many tasks it has taken since it told last
-- Returns  1
-- A repetition counts what was taken twice; else it, or a crash before or after, does no harm. Both keys expire. A payload
-- of more than 2 KB is not kept: `?` stands for it. The list is kept below some hundred: of what is older, every second
-- entry goes.
local workers, pace, now = KEYS[1], KEYS[2], now_ms()
redis.call('hdel', workers, ARGV[1])
if ARGV[4] == 'first' then
    local entries = redis.call('hgetall', workers)
    for index = 1, #entries, 2 do
        local told, holds = string.match(entries[index + 1], '^(%S+) (%S+) ')
        if not told or now - tonumber(told) > 10 * tonumber(holds) then
            redis.call('hdel', workers, entries[index])
        end
    end
end
redis.call('hset', workers, ARGV[1], string.format('%s %s %s', score_text(now), ARGV[2], ARGV[3]))
redis.call('pexpire', workers, math.max(redis.call('pttl', workers), tonumber(ARGV[2]) * 10))

local function entry(since, till, taken, count, last)
    return string.format('%s %s %.0f %s\n', since, till, taken, count) .. last
end
local since, till, taken, count, last =
    string.match(redis.call('lindex', pace, 0) or '', '^(%S+) (%S+) (%S+) (%S+)\n(.*)$')
taken = (taken or 0) + ARGV[5]
if till and now >= tonumber(till) and now - tonumber(till) < 2000 then
    redis.call('lset', pace, 0, entry(since, till, taken, count, last))
    return 1
end
local newest = redis.call('lindex', KEYS[3], -1) or ''
newest = #newest > 2048 and '?' or newest
redis.call('lpush', pace, entry(last == newest and since or score_text(now), score_text(now), taken,
    redis.call('llen', KEYS[3]), newest))
if redis.call('llen', pace) > 300 then
    local entries = redis.call('lrange', pace, 100, -1)
    redis.call('ltrim', pace, 0, 99)
    for index = 1, #entries, 2 do
        redis.call('rpush', pace, entries[index])
    end
end
redis.call('pexpire', pace, 86400000)
return 1
