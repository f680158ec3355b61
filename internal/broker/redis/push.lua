-- Publishes ARGV[3] to the channel ARGV[2]. The answer has, after epoch and time, how many
-- connections got it.
begin()
return {epoch, text(now), redis.call('PUBLISH', ARGV[2], ARGV[3])}
