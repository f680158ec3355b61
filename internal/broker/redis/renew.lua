-- Renews the lease of the node ARGV[2] for ARGV[3] µs. KEYS[2] are the leases; those that ended
-- ARGV[4] s ago are forgotten. The answer has, after epoch and time, 1 if the lease had ended, and
-- all leases with their ends.
local before = redis.call('ZSCORE', KEYS[2], ARGV[2])
begin()
redis.call('ZADD', KEYS[2], text(now + ARGV[3]), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. text(now - ARGV[4] * 1000000))
redis.call('EXPIRE', KEYS[2], ARGV[4])
local ended = not before or tonumber(before) < now
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
return {epoch, text(now), ended and 1 or 0, leases}
