-- Tells a worker or sweeper whether leases that workers renew may be swept now, and notes that it asked.
-- After Redis was away or frozen, failed over or had its clock set, leases have run out that living workers had no chance
-- to renew. So where nobody asked for half a lease, or time went backwards, they are spared for one lease from now.
-- (At the beginning of an outage at least two thirds are left of each living lease.) Half a lease is that of the shortest
-- of those who asked lately: a sweeper knows nothing of the leases of workers.
-- KEYS[1]  swept  string: when somebody last asked, until when renewed leases are spared, the shortest lease of those who
--                 ask, and when one with such a lease asked (all ms)
-- ARGV[1]  lease (ms)
-- Returns  1: sweep all; 0: spare the leases that workers renew
-- A crash after it leaves a note that is right. The note expires after ten leases.
local now, lease = now_ms(), tonumber(ARGV[1])
local last, spared_until, shortest, heard =
    string.match(redis.call('get', KEYS[1]) or '', '^(%S+) (%S+) ?(%S*) ?(%S*)$')
last, spared_until = tonumber(last), tonumber(spared_until)
shortest, heard = tonumber(shortest) or lease, tonumber(heard) or now
if not last or not spared_until or now < last or now - last > math.min(lease, shortest) / 2 then
    spared_until = now + lease
end
if lease <= shortest or math.abs(now - heard) > shortest * 10 then -- or there is no such worker any more
    shortest, heard = lease, now
end
redis.call('del', KEYS[1])
redis.call('set', KEYS[1], string.format('%s %s %s %s', score_text(now), score_text(spared_until), shortest,
    score_text(heard)), 'PX', string.format('%.0f', lease * 10))
return now >= spared_until and 1 or 0
