-- Notes that a worker is alive and what it tells of itself, and how far the queue has come: for operators.
-- KEYS[1]  workers   hash: name of a worker -> when it told last, how long that holds (ms), and JSON of its own
-- KEYS[2]  pace      list, newest first: from when to when (Unix ms) a queue had which last id, and how many unfinished
-- KEYS[3]  id        string: the last id handed out
-- KEYS[4]  enqueued  sorted set: payload -> allowance (ms)
-- ARGV[1]  name of the worker
-- ARGV[2]  how long it holds (ms)
-- ARGV[3]  JSON
-- ARGV[4]  `first`: the worker has just begun; so those that told nothing for long are forgotten. Else `again`
-- Returns  1
-- A repetition, or a crash before or after, does no harm. Both keys expire. The list is kept below some hundred: of what
-- is older, every second entry goes.
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

local id, unfinished = redis.call('get', KEYS[3]) or '0', redis.call('zcard', KEYS[4])
local newest = redis.call('lindex', pace, 0) or ''
local since, till, last_id, last_unfinished = string.match(newest, '^(%S+) (%S+) (%S+) (%S+)$')
if till and now >= tonumber(till) and now - tonumber(till) < 2000 then
    return 1
end
if last_id == id and tonumber(last_unfinished) == unfinished then
    redis.call('lset', pace, 0, string.format('%s %s %s %s', since, score_text(now), id, unfinished))
else
    redis.call('lpush', pace, string.format('%s %s %s %s', score_text(now), score_text(now), id, unfinished))
end
if redis.call('llen', pace) > 300 then
    local entries = redis.call('lrange', pace, 100, -1)
    redis.call('ltrim', pace, 0, 99)
    for index = 1, #entries, 2 do
        redis.call('rpush', pace, entries[index])
    end
end
redis.call('pexpire', pace, 86400000)
return 1
