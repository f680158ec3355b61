-- Returns what the nodes say about a topic. KEYS after the first: the leases, and the hash of the
-- topic, without the epoch. The answer has, after epoch and time, the offset of the last change, the leases with
-- their ends, and the fields with their values.
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local key = KEYS[3] .. '\0' .. epoch
local fields = redis.call('HGETALL', key)
local version = redis.call('HGET', key, 'v')
begin()
return {epoch, text(now), version or text(last), leases, fields}
