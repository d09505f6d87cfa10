-- Bounds how long the task that is next has waited, by the notes of which payload was the last when.
-- KEYS[1]  pace      list, newest first; see announce.lua
-- KEYS[2]  enqueued  sorted set: payload -> allowance (ms)
-- KEYS[3]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[4]  waiting   list of payloads, next on the left
-- ARGV     none
-- Returns  {now (Unix ms), when a payload that still waits was noted first, when one that does not was the last one, the
--          last 12 bytes of the payload that is next, which may tell itself}; an empty text for what nothing tells
-- It only reads. What waits in front of one that was noted waits at least since then; what was put behind one that is
-- gone came later.
local waits_since, gone_at = '', ''
for _, note in ipairs(redis.call('lrange', KEYS[1], 0, -1)) do
    local since, till, payload = string.match(note, '^(%S+) (%S+) %S+ %S+\n(.*)$')
    if payload and payload ~= '?' then
        if payload == '' or not redis.call('zscore', KEYS[2], payload) or redis.call('zscore', KEYS[3], payload) then
            gone_at = till
            break
        end
        waits_since = since
    end
end
return {score_text(now_ms()), waits_since, gone_at, string.sub(redis.call('lindex', KEYS[4], 0) or '', -12)}
