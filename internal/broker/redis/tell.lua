-- Sets or removes what nodes say about topics, and pushes each change. KEYS after the first: the
-- leases, the numbers of calls, then for each change the hash of its topic, without the epoch.
-- ARGV after the first: for how many seconds a hash is kept, the node, the number of its call,
-- then for each change its channel, field, operation and value. "set" sets the
-- field, "drop" removes it; both push the value. "forget" removes it without a push, unless the
-- value names a node whose lease has not ended. The field v is the offset of the last change.
local function hash(key) return key .. '\0' .. epoch end
redis.call('ZCARD', KEYS[2]) -- A key of the wrong type ends the script here.
local called = redis.call('HGET', KEYS[3], ARGV[3])
for i = 4, #KEYS do redis.call('HLEN', hash(KEYS[i])) end
begin()
-- A call that was under way for long, or is sent twice, must not undo a later one.
if called and tonumber(called) >= tonumber(ARGV[4]) then return {epoch, text(now)} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[2])
for i = 4, #KEYS do
  local key, at = hash(KEYS[i]), 4 * i - 11
  local channel, field, operation, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if operation == 'forget' then
    local lease = value ~= '' and redis.call('ZSCORE', KEYS[2], value)
    if not lease or tonumber(lease) < now then redis.call('HDEL', key, field) end
  else
    local before = redis.call('HGET', key, 'v')
    if not before then -- If Redis has lost the hash, its watchers must notice.
      last = last + 1
      before = text(last)
    end
    last = math.max(last + 1, now)
    redis.call('HSET', key, 'v', text(last))
    if operation == 'set' then
      redis.call('HSET', key, field, value)
    else
      redis.call('HDEL', key, field)
    end
    redis.call('PUBLISH', channel, epoch .. ' ' .. text(last) .. ' ' .. before .. ' ' .. #field .. ' ' .. field .. value)
  end
  redis.call('EXPIRE', key, ARGV[2])
  if redis.call('HLEN', key) == 1 then -- only v
    redis.call('DEL', key)
  end
end
save()
return {epoch, text(now)}
