-- Tells a worker or sweeper whether leases that workers renew may be swept now, and notes that it asked.
-- After Redis was away or frozen, failed over or had its clock set, leases have run out that living workers had no chance
-- to renew. So where nobody asked for half a lease, or time went backwards, they are spared for one lease from now.
-- (At the beginning of an outage at least two thirds are left of each living lease.)
-- KEYS[1]  swept  string: when somebody last asked, and until when renewed leases are spared (Unix ms)
-- ARGV[1]  lease (ms)
-- Returns  1: sweep all; 0: spare the leases that workers renew
-- A crash after it leaves a note that is right. The note expires after ten leases.
local now, lease = now_ms(), tonumber(ARGV[1])
local last, spared_until = string.match(redis.call('get', KEYS[1]) or '', '^(%S+) (%S+)$')
last, spared_until = tonumber(last), tonumber(spared_until)
if not last or now < last or now - last > lease / 2 then
    spared_until = now + lease
end
redis.call('del', KEYS[1]) -- needs no room, see common.lua
redis.call('set', KEYS[1], score_text(now) .. ' ' .. score_text(spared_until), 'PX', string.format('%.0f', lease * 10))
return now >= spared_until and 1 or 0
