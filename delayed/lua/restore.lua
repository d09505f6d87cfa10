-- Puts a task that is enqueued but in no place, neither waiting nor dequeued, in front of the list.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dequeued       sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- ARGV[1]  payload
-- ARGV[2]  how long a list may be to be looked through
-- Returns  `restored`; `placed`: it is where it belongs, or is no task any more; `unsure`: the list is too long, or its
--          payloads are larger than 8 MB together
-- A crash before leaves the task in no place, one after leaves it waiting.
local payload, length = ARGV[1], redis.call('llen', KEYS[1])
if not redis.call('zscore', KEYS[3], payload) or redis.call('zscore', KEYS[4], payload) then
    return 'placed'
end
if length > tonumber(ARGV[2]) then
    return 'unsure'
end
local bytes_left = 8 * 1024 * 1024
for first = 0, length - 1, 10 do
    for _, waits in ipairs(redis.call('lrange', KEYS[1], first, first + 9)) do
        if waits == payload then
            return 'placed'
        end
        bytes_left = bytes_left - #waits
    end
    if bytes_left <= 0 then
        return 'unsure'
    end
end
redis.call('lpush', KEYS[1], payload)
redis.call('lpush', KEYS[2], '1')
return 'restored'
