-- Moves a dequeued task that cannot be run to the dead letters, with the reason.
-- KEYS[1]  enqueued  sorted set: payload -> allowance (ms)
-- KEYS[2]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[3]  leases    hash: token of a lease that a worker renews -> its holder
-- KEYS[4]  losses    hash: payload -> when it was lost
-- KEYS[5]  dead      sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- ARGV[1]  payload
-- ARGV[2]  tokens, separated by spaces; empty: by payload alone
-- ARGV[3]  reason
-- ARGV[4]  default allowance (ms)
-- ARGV[5]  how the task ended, as JSON; empty: nobody saw it
-- Returns  1, or 0 where it was not dequeued (or no longer by this caller)
-- A repetition finds nothing to do. A crash before leaves the task dequeued, one after leaves it dead.
local score = held(KEYS[2], ARGV[1], ARGV[2])
if not score then
    return 0
end
check_types(false, false, KEYS[1], KEYS[3], KEYS[4], KEYS[5])
end_lease(KEYS[2], KEYS[3], ARGV[1], score, ARGV[2])
bury(KEYS[1], KEYS[4], KEYS[5], ARGV[1], ARGV[3], ARGV[4], ARGV[5])
return 1
