-- What every script begins with. KEYS[1] is the hash of the shard. ARGV[1] is the epoch that
-- begins if the one in the hash has ended: it is missing, or it belongs to another primary or
-- to another run of this one.
local function text(n) return string.format('%.0f', n) end

local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 1000000 + time[2] -- in µs since 2025-01-01
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local shard = redis.call('HMGET', KEYS[1], 'epoch', 'replid', 'last', 'began', 'announced', 'until')
local epoch, last, began = shard[1], tonumber(shard[3] or '0'), tonumber(shard[4] or '0')
local ended = not epoch or shard[2] ~= replid
if ended then
  -- Offsets follow the clock, so this is beyond all offsets that were lost.
  epoch, last = ARGV[1], math.max(last, now)
  began = last
end
-- Whether the stream of all topics has all messages that follow its head. A script that does not
-- know this stream, or finds a larger offset, makes it false.
local whole = shard[5] and shard[5] == shard[3] and not ended

-- find returns the head of a topic, false if there is none. It raises last to the offset of the
-- last message of the topic, which is larger if the hash was lost and the clock was set back.
local function find(head, stream)
  local offset = redis.call('GET', head)
  local known = offset
  if not known then
    local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    known = top and string.match(top[1], '^%d+')
  end
  if known and tonumber(known) > last then last, whole = tonumber(known), false end
  return offset
end

-- begin writes the new epoch, if there is one. All checks of a script come before it.
local function begin()
  if ended then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'replid', replid, 'last', text(last), 'began', text(began))
  end
end

-- save writes last.
local function save()
  if whole then
    redis.call('HSET', KEYS[1], 'last', text(last), 'announced', text(last))
  else
    redis.call('HSET', KEYS[1], 'last', text(last))
  end
end
