-- Finds the tasks that a worker's call took although its reply was lost.
-- KEYS[1]  dequeued  sorted set: payload -> end of lease (Unix ms, unique: the fencing token)
-- KEYS[2]  leases    hash: token of a lease that a worker renews -> its holder
-- ARGV[1]  holder: name of the worker and number of that call
-- Returns  {payload, token, payload, token, ...}, or nil if the call took nothing
-- It only reads. One entry for each running task is looked at.
local entries = redis.call('hgetall', KEYS[2])
local taken = {}
for index = 1, #entries, 2 do
    if entries[index + 1] == ARGV[1] then
        local found = redis.call('zrangebyscore', KEYS[1], entries[index], entries[index], 'limit', 0, 1)
        if found[1] then
            taken[#taken + 1], taken[#taken + 2] = found[1], entries[index]
        end
    end
end
return #taken > 0 and taken
