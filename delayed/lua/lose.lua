-- Puts a dequeued task back in front of the list and counts a loss; one that has been lost too often is set aside.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[5]  leases         hash: token of a lease that a worker renews -> its holder
-- KEYS[6]  losses         hash: payload -> when it was lost
-- KEYS[7]  dead           sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- ARGV[1]  payload
-- ARGV[2]  tokens, separated by spaces
-- ARGV[3]  how many losses set a task aside; 0: none do
-- ARGV[4]  default allowance (ms)
-- ARGV[5]  how the task ended, as JSON; empty: nobody saw it
-- Returns  1: it waits again; 2: it is set aside; 0: it was no longer this caller's
-- A repetition finds nothing to do. A crash before leaves the task dequeued, one after leaves it waiting or dead.
local score = held(KEYS[4], ARGV[1], ARGV[2])
if not score then
    return 0
end
check_types(KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7])
end_lease(KEYS[4], KEYS[5], ARGV[1], score, ARGV[2])
local waits = lose(KEYS[1], KEYS[2], KEYS[3], KEYS[6], KEYS[7], ARGV[1], tonumber(ARGV[3]), ARGV[4], ARGV[5])
return waits and 1 or 2
