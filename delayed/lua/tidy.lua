-- Drops what our own keys still hold of tasks that an old worker or sweeper has released or put back. One step of a scan.
-- KEYS[1]  enqueued  sorted set: payload -> allowance (ms)
-- KEYS[2]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[3]  leases    hash: token of a lease that a worker renews -> its holder
-- KEYS[4]  losses    hash: payload -> when it was lost
-- ARGV[1]  `leases` or `losses`: which to tidy
-- ARGV[2]  cursor of the scan; 0 at first
-- Returns  cursor of the next step; 0 at the end
-- A crash before or after leaves fewer leftovers than before.
local key = ARGV[1] == 'leases' and KEYS[3] or KEYS[4]
local scan = redis.call('hscan', key, ARGV[2], 'count', 100)
local leftover = {}
for index = 1, #scan[2], 2 do
    local field = scan[2][index]
    local used
    if ARGV[1] == 'leases' then
        used = redis.call('zcount', KEYS[2], field, field) > 0
    else
        used = redis.call('zscore', KEYS[1], field)
    end
    if not used then
        leftover[#leftover + 1] = field
    end
end
for _, field in ipairs(leftover) do
    redis.call('hdel', key, field)
end
return scan[1]
