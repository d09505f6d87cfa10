-- Names payloads by their digests: a page of those of one place.
-- KEYS[1]  waiting   list of payloads, next on the left
-- KEYS[2]  enqueued  sorted set: payload -> allowance (ms)
-- KEYS[3]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- ARGV[1]  the place: `waiting`, `enqueued` or `dequeued`
-- ARGV[2]  how many to leave out
-- ARGV[3]  most payloads
-- ARGV[4]  most bytes of the payloads that it looks at; ten are always looked at
-- Returns  their SHA1 in hexadecimal digits
-- It only reads.
local key = ({waiting = KEYS[1], enqueued = KEYS[2], dequeued = KEYS[3]})[ARGV[1]]
local command = ARGV[1] == 'waiting' and 'lrange' or 'zrange'
local first, count, bytes_left = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local digests = {}
for start = first, first + count - 1, 10 do
    local page = redis.call(command, key, start, math.min(start + 10, first + count) - 1)
    for _, payload in ipairs(page) do
        digests[#digests + 1] = redis.sha1hex(payload)
        bytes_left = bytes_left - #payload
    end
    if #page == 0 or bytes_left <= 0 then
        break
    end
end
return digests
