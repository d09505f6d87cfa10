-- What several scripts share; each has those of these functions in front of it that it uses. (All of them would cost as
-- much as four commands, for a script makes them anew each time it runs.)
--
-- All times are the Redis server's. A missing value is `false` in Redis' Lua, never `nil`. An error undoes nothing, so
-- every function looks first and writes last.
--
-- A server that is full (`maxmemory`) refuses a script's commands that may need room, unless it has written before by one
-- that needs none. All that workers do to empty a queue therefore begins with such a one, be it of no effect.

-- Returns now in Unix ms, with the microseconds as fraction.
local function now_ms()
    local time = redis.call('time')
    return time[1] * 1000 + time[2] / 1000
end

-- Returns the text of a score. Servers print scores differently, so text is compared only where it was made here.
local function score_text(score)
    return string.format('%.3f', score)
end

-- Returns the score of a dequeued payload if it is one of `tokens` (texts, separated by spaces), else nil.
-- They are compared as numbers. No tokens at all: any score will do, as in 0.5.1b2.
local function held(dequeued, payload, tokens)
    local score = tonumber(redis.call('zscore', dequeued, payload))
    if not score or tokens == '' or tonumber(tokens) == score then -- mostly there is one
        return score
    end
    for token in string.gmatch(tokens, '%S+') do
        if tonumber(token) == score then
            return score
        end
    end
    return nil
end

-- Fails where a key is of another type than ours: anybody may have written it, and a task that was half moved would be
-- lost. `false` stands for a key that the caller does not use.
local function check_types(waiting, notifications, enqueued, leases, losses, dead)
    local _ = waiting and redis.call('llen', waiting) -- one a line: by it Redis names a command that is not allowed
    _ = notifications and redis.call('llen', notifications)
    _ = enqueued and redis.call('zscore', enqueued, '')
    _ = leases and redis.call('hget', leases, '')
    _ = losses and redis.call('hget', losses, '')
    _ = dead and redis.call('zcount', dead, '0', '0')
end

-- Forgets a lease that `held` has found. `tokens`: what it was found by; mostly that is the very text of its score, which
-- costs as much as a command to make.
local function end_lease(dequeued, leases, payload, score, tokens)
    if tokens == '' or redis.call('hdel', leases, tokens) == 0 then -- first: it may fail, see `check_types`
        redis.call('hdel', leases, score_text(score))
    end
    redis.call('zrem', dequeued, payload)
end

-- Takes the oldest waiting payload and grants its lease; see dequeue.lua. `begun` and `begun_holder`, if there are any,
-- are noted along with it; see advance.lua.
local function take(waiting, notifications, enqueued, dequeued, leases, mode, lease, default_allowance, holder,
                    begun, begun_holder)
    if mode == 'waited' and redis.call('llen', notifications) < redis.call('llen', waiting) then
        mode = 'notified'
    end
    if mode ~= 'notified' and not redis.call('lpop', notifications) and mode == 'ready' then -- needs no room, see above
        return false
    end
    local payload = redis.call('lindex', waiting, '0')
    if not payload then
        redis.call('del', notifications) -- nothing waits: all of them are surplus
        return false
    end
    if mode == 'notified' then
        redis.call('zrem', dequeued, payload) -- needs no room
    end
    local allowance = lease
    if lease == '' then
        allowance = redis.call('zscore', enqueued, payload) or default_allowance
    end
    redis.call('zadd', enqueued, 'nx', default_allowance, payload)
    local token = score_text(now_ms() + allowance)
    redis.call('zadd', dequeued, token, payload)
    if begun then
        if redis.call('hset', leases, token, holder, begun, begun_holder) == 2 then
            redis.call('hdel', leases, begun) -- both were new: that one has ended meanwhile
        end
    elseif holder ~= '' then
        redis.call('hset', leases, token, holder)
    end
    redis.call('lpop', waiting)
    return {payload, token}
end

-- Returns whether a payload is among the first hundred that wait, and their first 4 MB. To look at all of a million would
-- hold up Redis for 26 ms, and at 100 MB for 220 ms.
local function waits_near_front(waiting, payload)
    local bytes_left = 4 * 1024 * 1024
    for index = 0, 99 do
        local waits = bytes_left > 0 and redis.call('lindex', waiting, index)
        if not waits or waits == payload then
            return waits == payload
        end
        bytes_left = bytes_left - #waits
    end
    return false
end

-- Forgets a task; see release.lua.
local function release(waiting, notifications, enqueued, dequeued, leases, losses, payload, tokens)
    local score = held(dequeued, payload, tokens)
    if score then
        end_lease(dequeued, leases, payload, score, tokens)
    elseif tokens ~= '' then
        if redis.call('zscore', dequeued, payload) then
            return 0 -- somebody else's now
        end
        if not waits_near_front(waiting, payload) then
            return redis.call('zscore', enqueued, payload) and 0 or 2
        end
        redis.call('lrem', waiting, 1, payload)
        redis.call('lpop', notifications)
    end
    redis.call('zrem', enqueued, payload)
    redis.call('hdel', losses, payload)
    return score and 1 or 2
end

-- Sets a task aside: out of `enqueued`, into `dead`, under a score of its own, which is the dead letter's id. `record`: how
-- the task ended, as JSON; empty: nobody saw it.
local function bury(enqueued, losses, dead, payload, reason, default_allowance, record)
    local id = now_ms()
    while redis.call('zcount', dead, score_text(id), score_text(id)) > 0 do
        id = id + 0.001
    end
    local allowance = redis.call('zscore', enqueued, payload) or default_allowance
    local lost_at = redis.call('hget', losses, payload) or ''
    local header = {reason = reason, lost_at = lost_at, allowance = allowance}
    if record ~= '' then
        header.outcome = record
    end
    redis.call('zadd', dead, score_text(id), cjson.encode(header) .. '\n' .. payload)
    redis.call('zrem', enqueued, payload)
    redis.call('hdel', losses, payload)
end

-- Counts one more loss of a task that no longer is in `dequeued`, and puts it in front of the list or, when it has
-- been lost `max_losses` times, aside. Returns whether it waits again.
local function lose(waiting, notifications, enqueued, losses, dead, payload, max_losses, default_allowance, record)
    local times = redis.call('hget', losses, payload)
    times = (times and times .. ',' or '') .. string.format('%.0f', math.floor(now_ms()))
    local _, commas = string.gsub(times, ',', '')
    redis.call('hset', losses, payload, times)
    if max_losses > 0 and commas + 1 >= max_losses then
        bury(enqueued, losses, dead, payload, string.format(
            'it was lost %d times: each time, the processes that ran it died or froze', commas + 1), default_allowance, record)
        return false
    end
    redis.call('lpush', waiting, payload)
    redis.call('lpush', notifications, '1')
    return true
end
