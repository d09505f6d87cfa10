-- Tells where a task is.
-- KEYS[1]  enqueued  sorted set: payload -> allowance (ms)
-- KEYS[2]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[3]  dead      sorted set: dead letter -> when it was set aside (Unix ms, unique: its id)
-- ARGV[1]  payload
-- Returns  {now (Unix ms), `dequeued`, `waiting`, `dead` or `gone`, the dead letter's id or empty}
-- It only reads: of the dead letters the newest hundred, and of those 4 MB.
local payload, now = ARGV[1], score_text(now_ms())
if redis.call('zscore', KEYS[2], payload) then
    return {now, 'dequeued', ''}
end
if redis.call('zscore', KEYS[1], payload) then
    return {now, 'waiting', ''}
end
local bytes_left = 4 * 1024 * 1024
for rank = 0, 99 do
    local pair = redis.call('zrevrange', KEYS[3], rank, rank, 'withscores')
    if not pair[1] or bytes_left <= 0 then
        break
    end
    bytes_left = bytes_left - #pair[1]
    if string.sub(pair[1], -#payload - 1) == '\n' .. payload then
        return {now, 'dead', score_text(tonumber(pair[2]))}
    end
end
return {now, 'gone', ''}
