-- Orders, stores and pushes messages. KEYS after the first: for each message its head, its
-- stream, and its idempotency key (the head again if it has none). ARGV after the first: the
-- deadline, the number of messages that a stream keeps, for how many ms it keeps them, for how
-- many ms a key is known, for how many seconds a head is known; then for each message its
-- channel, the excluded connection, the digest of its body (empty without a key), its body, and
-- what its stream keeps if that differs: the number of messages (0: the message is not stored),
-- a space, and for how many ms.
-- The answer has, after epoch and time, for each message its offset, "reused", or the position
-- of the first message with its key.
if tonumber(ARGV[2]) < now then return {'late', text(now)} end
local n = (#KEYS - 1) / 3

-- Reads come first: a key of the wrong type ends the script here.
-- final has the last message of each stream: what is the same for all of them is done once.
local heads, keys, final = {}, {}, {}
for i = 1, n do
  local head, stream, key = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  if heads[head] == nil then
    heads[head] = find(head, stream)
    redis.call('XLEN', stream)
  end
  local keyed = ARGV[5 * i + 4] ~= ''
  if not keyed then
    final[stream] = i
  elseif keys[key] == nil then
    keys[key] = redis.call('GET', key)
    if not keys[key] then final[stream] = i end
  end
end

begin()
local answer = {epoch, text(now)}
for i = 1, n do
  local head, stream, key = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local channel, exclude, digest, body, kept = unpack(ARGV, 5 * i + 2, 5 * i + 6)
  local known = digest ~= '' and keys[key]
  if known then
    local position, first = string.match(known, '^(%S+) (.*)$')
    answer[#answer + 1] = first == digest and position or 'reused'
  else
    local before = heads[head] or text(last)
    last = math.max(last + 1, now)
    local offset = text(last)
    heads[head] = offset
    local count, age = ARGV[3], ARGV[4]
    if kept ~= '' then count, age = string.match(kept, '^(%d+) (%d+)$') end
    if count == '0' then
      -- Whoever reads the stream learns from the head that messages are missing.
    elseif i < final[stream] then
      redis.call('XADD', stream, offset .. '-0', 'p', before, 'x', exclude, 'd', body)
    else
      redis.call('XADD', stream, 'MAXLEN', '=', count, offset .. '-0', 'p', before, 'x', exclude, 'd', body)
      redis.call('PEXPIRE', stream, age)
    end
    if i == final[stream] then redis.call('SET', head, offset, 'EX', ARGV[6]) end
    if digest ~= '' then
      local value = epoch .. ':' .. offset .. ' ' .. digest
      keys[key] = value
      redis.call('SET', key, value, 'PX', ARGV[5])
    end
    redis.call('PUBLISH', channel, epoch .. ' ' .. offset .. ' ' .. before .. ' ' .. exclude .. ' ' .. body)
    answer[#answer + 1] = last
  end
end
redis.call('HSET', KEYS[1], 'last', text(last))
return answer
