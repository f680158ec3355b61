-- Publishes the epoch to the channel ARGV[2]. The answer has, after epoch and time, when the last
-- revocation of a token was added to the list KEYS[2] (0: none is known).
local revoked = redis.call('ZSCORE', KEYS[2], '')
begin()
redis.call('PUBLISH', ARGV[2], epoch)
return {epoch, text(now), revoked or '0'}
