-- Finds out what the user of this connection is not allowed to do that a worker must. Changes nothing.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[5]  leases         hash: token of a lease that a worker renews -> its holder
-- KEYS[6]  losses         hash: payload -> when it was lost
-- KEYS[7]  dead           sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- KEYS[8]  swept          string: when somebody last swept
-- ARGV     none
-- Returns  {command, key} of each that is denied; an empty list where none is, or before Redis 7, which cannot tell
if not redis.acl_check_cmd then
    return {}
end
local needed = {
    {'blpop', 2, '1'}, {'llen', 1}, {'llen', 2}, {'lindex', 1, '0'}, {'lrange', 1, '0', '0'},
    {'lpop', 1}, {'lpop', 2}, {'lpush', 1, ''},
    {'rpush', 1, ''}, {'lpush', 2, ''}, {'rpush', 2, ''}, {'lrem', 1, '1', ''}, {'ltrim', 1, '0', '0'}, {'ltrim', 2, '0', '0'},
    {'del', 2},
    {'zadd', 3, '0', ''}, {'zscore', 3, ''}, {'zrem', 3, ''}, {'zadd', 4, '0', ''}, {'zscore', 4, ''}, {'zrem', 4, ''},
    {'zcount', 4, '0', '0'}, {'zrevrangebyscore', 4, '0', '0'}, {'zrangebyscore', 4, '0', '0'}, {'hset', 5, '', ''},
    {'hget', 5, ''}, {'hdel', 5, ''}, {'hgetall', 5}, {'hscan', 5, '0'}, {'exists', 5},
    {'hset', 6, '', ''}, {'hget', 6, ''}, {'hdel', 6, ''}, {'hscan', 6, '0'}, {'exists', 6}, {'zadd', 7, '0', ''},
    {'zcount', 7, '0', '0'}, {'get', 8}, {'del', 8}, {'set', 8, ''},
}
local denied = {}
for _, need in ipairs(needed) do
    local key = KEYS[need[2]]
    if not redis.acl_check_cmd(need[1], key, unpack(need, 3)) then
        denied[#denied + 1] = {need[1], key}
    end
end
if not redis.acl_check_cmd('time') then
    denied[#denied + 1] = {'time', 'no key'}
end
return denied
