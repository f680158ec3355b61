-- Adds revocations of tokens to the list KEYS[2], and removes others. ARGV after the first: how
-- many the list may have, how many are added, these, and those that are removed. If the list
-- would have too many, it stays as it is. The answer has, after epoch and time, 1 if that is so.
-- The score of a revocation is the offset at which it was added. '' has the highest one. It is
-- in the same key as the others, so Redis cannot lose them and keep it.
local most, added = tonumber(ARGV[2]), tonumber(ARGV[3])
local count = redis.call('ZCARD', KEYS[2]) - 1
local new, old = {}, {}
for i = 4, #ARGV do
  local at = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if i >= 4 + added then
    if at then old[#old + 1] = at end
  elseif not at then
    new[#new + 1] = ARGV[i]
  end
end
begin()
if #new > 0 and math.max(count, 0) - #old + #new > most then return {epoch, text(now), 1} end
for _, at in ipairs(old) do redis.call('ZREMRANGEBYSCORE', KEYS[2], at, at) end
if #new > 0 then
  for _, entry in ipairs(new) do
    last = math.max(last + 1, now)
    redis.call('ZADD', KEYS[2], text(last), entry)
  end
  last = last + 1
  redis.call('ZADD', KEYS[2], text(last), '')
  save() -- Offsets of revocations are no messages that the stream of all topics would miss.
end
return {epoch, text(now), 0}
