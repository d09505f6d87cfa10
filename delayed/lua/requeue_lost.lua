-- One batch of a sweep: puts lost tasks back in front of the list, the longest lost first, and notifications in step.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[5]  leases         hash: token of a lease that a worker renews -> its holder
-- KEYS[6]  losses         hash: payload -> when it was lost
-- KEYS[7]  dead           sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- ARGV[1]  lost before (Unix ms): leases that nobody renews; empty in the first batch, which tells it to the next ones
-- ARGV[2]  where the last batch stopped: a bound of scores; empty in the first batch
-- ARGV[3]  how many waiting tasks make the queue busy
-- ARGV[4]  for how long a busy queue postpones tasks whose lease nobody renews (ms)
-- ARGV[5]  `all`, or `unrenewed`: spare the leases that workers renew
-- ARGV[6]  how many losses set a task aside; 0: none do
-- ARGV[7]  default allowance (ms)
-- ARGV[8]  most tasks, and most notifications, of this batch
-- ARGV[9]  most bytes of the payloads that this batch looks at; one task is always done
-- ARGV[10] of how many lost tasks, at most, to tell
-- Returns  {how many tasks and notifications were repaired, lost before, where it stopped, 1 if there is more, of the first
--          lost tasks: {the first bytes of its payload, its holder, 1 if it waits again, 0 if it is set aside}}
-- Newest first and each in front of the last, so that the longest lost ends up next, across batches too.
-- A crash between batches leaves the longest lost for the next sweep, which puts them in front again.
local waiting, notifications, enqueued, dequeued, leases, losses, dead = unpack(KEYS)
check_types(waiting, notifications, enqueued, leases, losses, dead)
local lost_before, bound = tonumber(ARGV[1]), ARGV[2]
local max_losses, most, bytes_left = tonumber(ARGV[6]), tonumber(ARGV[8]), tonumber(ARGV[9])
if not lost_before then
    local now = now_ms()
    lost_before, bound = now, score_text(now)
    if redis.call('llen', waiting) >= tonumber(ARGV[3]) then
        lost_before = now - tonumber(ARGV[4])
    end
end

local repaired, more, told = 0, 0, {}
for count = 1, most + 1 do
    local found = redis.call('zrevrangebyscore', dequeued, bound, '-inf', 'withscores', 'limit', 0, 1)
    local payload, score = found[1], tonumber(found[2])
    if not payload then
        break
    elseif count > most or bytes_left <= 0 then
        more = 1
        break
    end
    bytes_left = bytes_left - #payload
    local renewed = redis.call('hget', leases, score_text(score))
    if (renewed and ARGV[5] == 'all') or (not renewed and score <= lost_before) then
        end_lease(dequeued, leases, payload, score, '')
        local waits = true
        if not renewed or string.sub(renewed, 1, 1) == '?' then -- by hand or an old worker's, or it had not begun
            redis.call('lpush', waiting, payload)
            redis.call('lpush', notifications, '1')
        else
            waits = lose(waiting, notifications, enqueued, losses, dead, payload, max_losses, ARGV[7], '')
        end
        if #told < tonumber(ARGV[10]) then
            told[#told + 1] = {string.sub(payload, 1, 500), renewed or '', waits and 1 or 0}
        end
        repaired = repaired + 1
    else
        bound = '(' .. found[2] -- spared or postponed; those of the same score are, too
    end
end

if more == 0 then
    local missing = redis.call('llen', waiting) - redis.call('llen', notifications)
    redis.call('ltrim', notifications, math.max(0 - missing, 0), -1)
    for _ = 1, math.min(missing, most) do
        redis.call('rpush', notifications, '1')
        repaired = repaired + 1
    end
    more = missing > most and 1 or 0
end
return {repaired, score_text(lost_before), bound, more, told}
