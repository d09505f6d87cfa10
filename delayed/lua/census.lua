-- Counts what a queue holds, all at one moment.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[5]  leases         hash: token of a lease that a worker renews -> its holder
-- KEYS[6]  losses         hash: payload -> when it was lost
-- KEYS[7]  dead           sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- KEYS[8]  id             string: the last id handed out
-- ARGV     none
-- Returns  {now (Unix ms), how many wait, notifications, enqueued, dequeued, renewed leases, lost tasks, dead letters,
--          dequeued ones whose lease has ended, last id}
-- It only reads.
local now = score_text(now_ms())
return {now, redis.call('llen', KEYS[1]), redis.call('llen', KEYS[2]), redis.call('zcard', KEYS[3]),
    redis.call('zcard', KEYS[4]), redis.call('hlen', KEYS[5]), redis.call('hlen', KEYS[6]), redis.call('zcard', KEYS[7]),
    redis.call('zcount', KEYS[4], '-inf', now), redis.call('get', KEYS[8]) or '0'}
