-- Reserves ids for a producer, behind those that it has if nobody else was given one since.
-- KEYS[1]  id        string: the last id handed out
-- KEYS[2]  producer  string: number of this producer's last call, and the first of the ids reserved for it; 0: none
-- ARGV[1]  how many
-- ARGV[2]  the last id that the producer has; 0: none
-- Returns  the first id that is reserved now
-- A crash before or after leaves no task; ids may be skipped then, as by a repetition, and none is given twice.
local last_call, reserved = string.match(redis.call('get', KEYS[2]) or '', '^(%d+) (%d+)$')
local last = redis.call('incrby', KEYS[1], ARGV[1])
local before = last - ARGV[1]
if ARGV[2] == '0' or not reserved or reserved == '0' or before ~= tonumber(ARGV[2]) then
    reserved = before + 1
end
redis.call('set', KEYS[2], string.format('%s %.0f', last_call or '0', reserved), 'EX', '600') -- as in enqueue.lua
return tonumber(reserved)
