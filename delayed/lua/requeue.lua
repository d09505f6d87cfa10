-- Puts a dequeued task back into the list.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[4]  leases         hash: token of a lease that a worker renews -> its holder
-- ARGV[1]  payload
-- ARGV[2]  tokens, separated by spaces; empty: by payload alone, as 0.5.1b2 does
-- ARGV[3]  `back`: behind all others; `front`: it is next again
-- Returns  1, or 0 where it was not dequeued (or no longer by this caller)
-- A repetition finds nothing to do. A crash before leaves the task dequeued, one after leaves it waiting.
local score = held(KEYS[3], ARGV[1], ARGV[2])
if not score then
    return 0
end
check_types(KEYS[1], KEYS[2], false, KEYS[4], false, false)
end_lease(KEYS[3], KEYS[4], ARGV[1], score, ARGV[2])
redis.call(ARGV[3] == 'front' and 'lpush' or 'rpush', KEYS[1], ARGV[1])
redis.call('rpush', KEYS[2], '1')
return 1
