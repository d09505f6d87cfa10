-- Runs moves of the ledger, each from the same state, and tells what each replied and what it left. Time stands still.
-- KEYS     waiting, notifications, enqueued, dequeued, leases, losses, dead, producer
-- ARGV[1]  the state, as JSON: one list of arguments for each key
-- ARGV[2]  the moves, as JSON: a list of lists of calls {script, keys, args}
-- Returns  for each move two JSON texts: its replies, and the state it left
-- The scripts themselves stand where it says so, each as a function of KEYS and ARGV.
local server = redis
local redis = {call = function(command, ...)
    if command == 'time' then
        return {'%(now_seconds)d', '0'}
    end
    return server.call(command, ...)
end}
local scripts = {}
%(common)s
%(scripts)s

local function restore(state)
    server.call('del', unpack(KEYS))
    for index, command in ipairs({'rpush', 'rpush', 'zadd', 'zadd', 'hset', 'hset', 'zadd', 'set'}) do
        if #state[index] > 0 then
            server.call(command, KEYS[index], unpack(state[index]))
        end
    end
end

-- Servers print scores differently.
local function scored(key)
    local pairs = server.call('zrange', key, 0, -1, 'withscores')
    for index = 2, #pairs, 2 do
        pairs[index] = score_text(pairs[index])
    end
    return pairs
end

local function left()
    return cjson.encode({
        server.call('lrange', KEYS[1], 0, -1), server.call('llen', KEYS[2]), scored(KEYS[3]), scored(KEYS[4]),
        server.call('hgetall', KEYS[5]), server.call('hgetall', KEYS[6]), scored(KEYS[7]), server.call('get', KEYS[8])})
end

local results = {}
local state = cjson.decode(ARGV[1])
for _, calls in ipairs(cjson.decode(ARGV[2])) do
    restore(state)
    local replies = {}
    for index, call in ipairs(calls) do
        local worked, reply = pcall(scripts[call[1]], call[2], call[3])
        replies[index] = worked and reply or not worked and {'error', type(reply) == 'table' and reply.err or reply}
    end
    results[#results + 1] = cjson.encode(replies)
    results[#results + 1] = left()
end
return results
