-- Returns revocations of tokens from the list KEYS[2], oldest first. ARGV after the first: an
-- offset and its epoch, and how many to return at most. They are those that were added after the
-- offset, or the first ones of all if the list may have lost some since then: in another epoch,
-- or if its last addition is missing or before the offset. The answer has, after epoch and time,
-- the offset of the last addition (0: none is known), 1 if these are the first ones of all, and
-- the revocations, each followed by its offset.
local top = redis.call('ZSCORE', KEYS[2], '')
local after, whole = ARGV[2], 0
if ARGV[3] ~= epoch or not top or tonumber(top) < tonumber(after) then after, whole = '0', 1 end
local entries = redis.call('ZRANGE', KEYS[2], '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
begin()
return {epoch, text(now), top or '0', whole, entries}
