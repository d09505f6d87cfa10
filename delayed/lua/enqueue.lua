-- Adds a task: a payload that waits, with its notification and its allowance.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  producer       string: number of this producer's last call
-- ARGV[1]  payload
-- ARGV[2]  allowance (ms)
-- ARGV[3]  number of this call; a repetition has the same
-- ARGV[4]  how long the producer's record is kept (ms)
-- Returns  1, or 0 if this very call was carried out before: a client repeats a call whose reply it did not get, and by
--          then a fast worker may have finished the task, so that no other key remembers it.
-- A crash before leaves nothing, one after leaves the task waiting.
if redis.call('get', KEYS[4]) == ARGV[3] then
    return 0
end
redis.call('zadd', KEYS[3], ARGV[2], ARGV[1])
redis.call('rpush', KEYS[1], ARGV[1])
redis.call('rpush', KEYS[2], '1')
redis.call('set', KEYS[4], ARGV[3], 'PX', ARGV[4])
return 1
