-- Reads messages of a topic. KEYS after the first: its head and its stream. ARGV after the
-- first: an offset and its epoch (empty: from the oldest message on), "whole" if all messages
-- are wanted when the epoch has ended, the last offset that is wanted, how many of the newest
-- messages are wanted (negative: all), how many to return at most, and for how many seconds a
-- head is known. The answer has, after epoch and time, the last offset of the shard, the offset
-- after which it read, the head (empty: there was none), and the entries.
local head = find(KEYS[2], KEYS[3])
local after, newest = tonumber(ARGV[2]), tonumber(ARGV[6])
if ARGV[3] ~= '' and ARGV[3] ~= epoch and ARGV[4] ~= 'whole' then
  after = began
elseif ARGV[3] ~= epoch or after > last then
  after = 0
end
local entries = {}
if newest < 0 then
  entries = redis.call('XRANGE', KEYS[3], '(' .. text(after) .. '-0', '+', 'COUNT', ARGV[7])
elseif newest > 0 then
  entries = redis.call('XREVRANGE', KEYS[3], ARGV[5], '(' .. text(after) .. '-0', 'COUNT', ARGV[6])
  if ARGV[5] ~= '+' then -- The next one tells whether one before it is missing.
    local next = redis.call('XRANGE', KEYS[3], '(' .. ARGV[5], '+', 'COUNT', 1)
    if next[1] then table.insert(entries, 1, next[1]) end
  end
end
begin()
if not head and newest < 0 and ARGV[4] ~= 'whole' and ARGV[5] == '+' then
  -- A follower catches up, and goes on after the last offset of the shard. The next message of
  -- the topic has to name that one as the one before it.
  redis.call('SET', KEYS[2], text(last), 'EX', ARGV[8])
  redis.call('HSET', KEYS[1], 'last', text(last))
end
return {epoch, text(now), text(last), text(after), head or '', entries}
