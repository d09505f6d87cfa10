-- Renews a lease: replaces its token by one that the caller chose, so that the caller knows it even if the reply is lost.
-- KEYS[1]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[2]  leases    hash: token of a lease that a worker renews -> its holder
-- ARGV[1]  payload
-- ARGV[2]  tokens that the caller may hold, separated by spaces: the last confirmed one and those proposed since
-- ARGV[3]  the new token: its end of lease by the caller's reckoning of the server's clock (Unix ms)
-- ARGV[4]  lease (ms)
-- ARGV[5]  holder
-- Returns  `renewed`; `lost`: the task is another's, or waits; or {now (Unix ms)}, with nothing changed, where the new
--          token is more than a quarter of a lease off the server's clock: to be called again with a better one
-- A repetition finds the new token in place. A crash before or after leaves one of the two leases, both the caller's.
local score = held(KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
if not score then
    return 'lost'
end
local now, token, lease = now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4])
if math.abs(token - lease - now) > lease / 4 then
    return {score_text(now)}
end
redis.call('hdel', KEYS[2], score_text(score))
redis.call('zadd', KEYS[1], ARGV[3], ARGV[1])
redis.call('hset', KEYS[2], score_text(token), ARGV[5])
return 'renewed'
