-- Looks at a page of a sorted set of payloads, or of dead letters, and sends the first bytes of each alone.
-- KEYS[1]  members   sorted set: dequeued payload -> end of lease (Unix ms), or dead letter -> its id
-- KEYS[2]  leases    hash: token of a lease that a worker renews -> its holder
-- KEYS[3]  enqueued  sorted set: payload -> allowance (ms)
-- ARGV[1]  rank of the first member
-- ARGV[2]  most members
-- ARGV[3]  how many bytes of each are sent
-- ARGV[4]  most bytes of the members that it looks at; one member is always looked at
-- Returns  {now (Unix ms), {first bytes, size, score, holder, allowance}, ...}; holder and allowance may be empty
-- It only reads.
local found, bytes_left = {score_text(now_ms())}, tonumber(ARGV[4])
for rank = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[2]) - 1 do
    local pair = redis.call('zrange', KEYS[1], rank, rank, 'withscores')
    local member = pair[1]
    if not member or bytes_left <= 0 then
        break
    end
    bytes_left = bytes_left - #member
    local score = score_text(tonumber(pair[2]))
    found[#found + 1] = {string.sub(member, 1, tonumber(ARGV[3])), #member, score,
        redis.call('hget', KEYS[2], score) or '', redis.call('zscore', KEYS[3], member) or ''}
end
return found
