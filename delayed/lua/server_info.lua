-- Tells how the server of a queue is set up: that one of a cluster which holds it.
-- KEYS[1]  waiting  list of payloads; it is not looked at
-- ARGV     none
-- Returns  {now (Unix ms), what INFO tells of the server, of memory, of persistence, and of replication}
-- It only reads.
local told = {score_text(now_ms())}
for _, section in ipairs({'server', 'memory', 'persistence', 'replication'}) do
    told[#told + 1] = redis.call('info', section)
end
return told
