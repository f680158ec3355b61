-- Orders, stores and pushes messages. KEYS after the first: the head and the stream of all topics;
-- then for each message its head, its stream, and its idempotency key (the head again if it has
-- none). ARGV after the first: the deadline, the number of messages that a stream keeps, for how
-- many ms it keeps them, for how many ms a key is known, for how many seconds a head is known, how
-- many bytes half of the stream of all topics has, and the channel of all topics; then for each
-- message its channel, the excluded connection, the digest of its body (empty without a key), its
-- body, and what its stream keeps if that differs: the number of messages (0: the message is not
-- stored), a space, and for how many ms.
-- The answer has, after epoch and time, for each message its offset, "reused", or the position
-- of the first message with its key.
--
-- While a node has asked for that (announce.lua), each message is also in the stream of all topics,
-- and is pushed to their channel with the offset of the message before it, whatever its topic is.
-- The stream is as long as two halves: when the second one is full, the first one is dropped.
if tonumber(ARGV[2]) < now then return {'late', text(now)} end
local n = (#KEYS - 3) / 3

-- Reads come first: a key of the wrong type ends the script here.
-- final has the last message of each stream: what is the same for all of them is done once.
local heads, keys, final = {}, {}, {}
for i = 1, n do
  local head, stream, key = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  if heads[head] == nil then
    heads[head] = find(head, stream)
    redis.call('XLEN', stream)
  end
  local keyed = ARGV[5 * i + 6] ~= ''
  if not keyed then
    final[stream] = i
  elseif keys[key] == nil then
    keys[key] = redis.call('GET', key)
    if not keys[key] then final[stream] = i end
  end
end

-- before is the offset of the message before, among those of all topics. bytes is how much the
-- second half of their stream has, which begins with the offset half.
local before, bytes, half, lacks
local announces = shard[6] and tonumber(shard[6]) >= now
if announces then
  before = find(KEYS[2], KEYS[3])
  redis.call('XLEN', KEYS[3])
  local second = redis.call('HMGET', KEYS[1], 'bytes', 'half')
  bytes, half = tonumber(second[1] or '0'), second[2] or '0'
  lacks = not whole or not before
  if lacks then before, bytes, half = text(last), 0, '0' end
end

-- announce puts a message into the stream of all topics. Their channel ends where the name of a
-- topic begins in the name of its channel.
local function announce(offset, channel, exclude, body)
  local topic = string.sub(channel, #ARGV[8] - 1)
  bytes = bytes + #topic + #body + 200
  if bytes > tonumber(ARGV[7]) then
    redis.call('XADD', KEYS[3], 'MINID', '=', half .. '-0', offset .. '-0', 'p', before, 'x', exclude, 't', topic, 'd', body)
    bytes, half = 0, offset
  else
    redis.call('XADD', KEYS[3], offset .. '-0', 'p', before, 'x', exclude, 't', topic, 'd', body)
  end
  redis.call('PUBLISH', ARGV[8], epoch .. ' ' .. offset .. ' ' .. before .. ' ' .. exclude .. ' ' .. topic .. '\0' .. body)
  before = offset
end

begin()
if lacks then redis.call('EXPIRE', KEYS[3], 0) end -- What is before a gap is of no use.
local answer = {epoch, text(now)}
for i = 1, n do
  local head, stream, key = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  local channel, exclude, digest, body, kept = unpack(ARGV, 5 * i + 4, 5 * i + 8)
  local known = digest ~= '' and keys[key]
  if known then
    local position, first = string.match(known, '^(%S+) (.*)$')
    answer[#answer + 1] = first == digest and position or 'reused'
  else
    local previous = heads[head] or text(last)
    last = math.max(last + 1, now)
    local offset = text(last)
    heads[head] = offset
    local count, age = ARGV[3], ARGV[4]
    if kept ~= '' then count, age = string.match(kept, '^(%d+) (%d+)$') end
    if count == '0' then
      -- Whoever reads the stream learns from the head that messages are missing.
    elseif i < final[stream] then
      redis.call('XADD', stream, offset .. '-0', 'p', previous, 'x', exclude, 'd', body)
    else
      redis.call('XADD', stream, 'MAXLEN', '=', count, offset .. '-0', 'p', previous, 'x', exclude, 'd', body)
      redis.call('PEXPIRE', stream, age)
    end
    if i == final[stream] then redis.call('SET', head, offset, 'EX', ARGV[6]) end
    if digest ~= '' then
      local value = epoch .. ':' .. offset .. ' ' .. digest
      keys[key] = value
      redis.call('SET', key, value, 'PX', ARGV[5])
    end
    redis.call('PUBLISH', channel, epoch .. ' ' .. offset .. ' ' .. previous .. ' ' .. exclude .. ' ' .. body)
    if announces then announce(offset, channel, exclude, body) else whole = false end
    answer[#answer + 1] = last
  end
end
if announces then
  redis.call('SET', KEYS[2], before, 'EX', ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  redis.call('HSET', KEYS[1], 'bytes', text(bytes), 'half', half)
  whole = true
end
save()
return answer
