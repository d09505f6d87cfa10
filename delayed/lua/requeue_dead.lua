-- Puts a dead letter's task back at the end of the list, its losses forgotten.
-- KEYS[1]  waiting        list of payloads, next on the left
-- KEYS[2]  notifications  list, a 1 for each waiting payload
-- KEYS[3]  enqueued       sorted set: payload -> allowance (ms)
-- KEYS[4]  dead           sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- ARGV[1]  the letter's id
-- Returns  1, or 0 if there is no such letter, or one that no script has written
-- A repetition finds no such letter. A crash before leaves the task dead, one after leaves it waiting.
local letter = redis.call('zrangebyscore', KEYS[4], ARGV[1], ARGV[1], 'limit', 0, 1)[1]
if not letter then
    return 0
end
local line_end = string.find(letter, '\n', 1, true) or 0
local readable, header = pcall(cjson.decode, string.sub(letter, 1, line_end - 1)) -- anybody may have written it
local allowance = readable and type(header) == 'table' and tonumber(header['allowance'])
if line_end == 0 or not allowance or allowance ~= allowance then
    return 0
end
check_types(KEYS[1], KEYS[2], KEYS[3], false, false, false)
local payload = string.sub(letter, line_end + 1)
redis.call('zadd', KEYS[3], allowance, payload)
redis.call('rpush', KEYS[1], payload)
redis.call('rpush', KEYS[2], '1')
redis.call('zrem', KEYS[4], letter)
return 1
