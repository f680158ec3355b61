-- Makes publish.lua put all messages into the stream of all topics for ARGV[2] µs from now. KEYS
-- after the first: the head of that stream, which is kept for ARGV[3] s, and the stream. If it lacks
-- messages that follow the head, it begins anew after the last offset. The answer has, after epoch and
-- time, the head, and the last offset of the shard.
local head = find(KEYS[2], KEYS[3])
redis.call('XLEN', KEYS[3]) -- A key of the wrong type ends the script here.
begin()
if not whole or not head then
  head = text(last)
  redis.call('EXPIRE', KEYS[3], 0)
end
redis.call('SET', KEYS[2], head, 'EX', ARGV[3])
whole = true
redis.call('HSET', KEYS[1], 'until', text(math.max(now + ARGV[2], tonumber(shard[6] or '0'))))
save()
return {epoch, text(now), head, text(last)}
